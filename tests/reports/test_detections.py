"""The grid of detections: what is drawn where."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from metaalign_det.errors import UserError
from metaalign_det.reports import draw_detections
from metaalign_det.reports.detections import _COLOURS

IMAGES = [np.full((60, 80, 3), 255, np.uint8), np.full((80, 60, 3), 255, np.uint8)]
NOTHING = ([], [], [])


def count(path, k):
    """Pixels drawn in the colour of class ``k``."""
    rgb = [int(_COLOURS[k][i : i + 2], 16) for i in (1, 3, 5)]
    return int((cv2.imread(str(path)) == rgb[::-1]).all(axis=-1).sum())


def test_boxes_above_the_threshold_are_drawn_in_their_class_colour(tmp_path):
    out = tmp_path / "new" / "grid.png"
    found = ([[10, 10, 40, 40], [5, 5, 20, 20]], [0, 1], [0.9, 0.2])
    draw_detections(IMAGES, {"a": [found, NOTHING]}, ["car", "dog"], out)
    assert count(out, 0) > 100
    assert count(out, 1) == 0
    draw_detections(IMAGES, {"a": [found, NOTHING]}, ["car", "dog"], out, score_threshold=0.1)
    assert count(out, 1) > 100


def test_ground_truth_is_a_row_of_its_own_without_scores(tmp_path):
    rows, truth = {"a": [NOTHING, NOTHING]}, [([[5, 5, 50, 50]], [1]), ([], [])]
    draw_detections(IMAGES, rows, ["car", "dog"], tmp_path / "without.png")
    draw_detections(IMAGES, rows, ["car", "dog"], tmp_path / "with.png", truth)
    assert count(tmp_path / "with.png", 1) > 100
    heights = [cv2.imread(str(tmp_path / f"{n}.png")).shape[0] for n in ("without", "with")]
    assert heights[1] == pytest.approx(2 * heights[0], rel=0.05)


def test_rows_that_do_not_fit_the_images_are_refused(tmp_path):
    with pytest.raises(UserError, match="row 'a' has 1 entries for 2 images"):
        draw_detections(IMAGES, {"a": [NOTHING]}, ["car"], tmp_path / "x.png")
    with pytest.raises(UserError, match="at least one image"):
        draw_detections([], {"a": []}, ["car"], tmp_path / "x.png")


def test_dollars_in_names_are_no_formula(tmp_path):
    found = ([[10, 10, 40, 40]], [0], [0.9])
    draw_detections(IMAGES, {"a": [found, NOTHING]}, [r"$\5 or $10"], tmp_path / "x.png")
    assert count(tmp_path / "x.png", 0) > 100
