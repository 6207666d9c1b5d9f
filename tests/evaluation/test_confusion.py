"""What is taken for what."""

from __future__ import annotations

import numpy as np

from metaalign_det.evaluation.average_precision import Detected, Truth
from metaalign_det.evaluation.confusion import detection_confusion

A, B, C, D = [0, 0, 9, 9], [50, 50, 59, 59], [100, 100, 109, 109], [150, 150, 159, 159]


def confusion(objects, detections, difficult=(), **kwargs):
    truth = Truth(
        np.array([b for b, _ in objects], float).reshape(-1, 4),
        np.array([k for _, k in objects], int),
        np.array([i in difficult for i in range(len(objects))], bool),
    )
    found = Detected(
        np.array([b for b, _, _ in detections], float).reshape(-1, 4),
        np.array([k for _, k, _ in detections], int),
        np.array([s for _, _, s in detections], float),
    )
    return detection_confusion([truth], [found], 2, **kwargs).tolist()


def test_right_wrong_missed_and_invented():
    objects = [(A, 0), (B, 0), (C, 1)]
    found = [(A, 0, 0.9), (B, 1, 0.8), (D, 1, 0.7)]
    assert confusion(objects, found) == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]


def test_detections_below_the_threshold_are_left_out():
    assert confusion([(A, 0)], [(A, 0, 0.4)]) == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert confusion([(A, 0)], [(A, 0, 0.4)], score_threshold=0.3)[0][0] == 1


def test_a_box_is_taken_once_and_its_own_class_goes_first():
    # Two objects in one place: each detection takes the one of its class.
    objects = [(A, 0), (A, 1)]
    assert confusion(objects, [(A, 1, 0.9), (A, 0, 0.8)]) == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    # A third has nothing left.
    third = [(A, 1, 0.9), (A, 0, 0.8), (A, 0, 0.7)]
    assert confusion(objects, third)[2] == [1, 0, 0]


def test_difficult_boxes_are_neither_missed_nor_found():
    assert confusion([(A, 0)], [(A, 0, 0.9)], difficult=[0]) == [[0] * 3] * 3
    assert confusion([(A, 0)], [], difficult=[0]) == [[0] * 3] * 3
