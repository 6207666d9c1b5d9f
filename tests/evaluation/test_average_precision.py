"""AP: equal to Detectron2's ``voc_eval`` on the same files, and right on cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from detectron2.evaluation.pascal_voc_evaluation import voc_eval

from metaalign_det.evaluation.average_precision import (
    Detected,
    Truth,
    ap_11_point,
    ap_area,
    coco_ap,
    inclusive_iou,
    precision_recall,
)


def truth(boxes, difficult=None, classes=None):
    boxes = np.array(boxes, dtype=float).reshape(-1, 4)
    n = len(boxes)
    return Truth(
        boxes,
        np.array(classes if classes is not None else [0] * n, dtype=int),
        np.array(difficult if difficult is not None else [0] * n, dtype=bool),
    )


def detected(boxes, scores, classes=None):
    boxes = np.array(boxes, dtype=float).reshape(-1, 4)
    return Detected(
        boxes,
        np.array(classes if classes is not None else [0] * len(boxes), dtype=int),
        np.array(scores, dtype=float),
    )


def _write_voc(root, names, truths, found):
    """The same data as files of the VOC devkit: 1-based inclusive pixels."""
    for name, t in zip(names, truths):
        objects = "".join(
            f"<object><name>thing</name><pose>x</pose><truncated>0</truncated>"
            f"<difficult>{int(d)}</difficult><bndbox><xmin>{int(b[0]) + 1}</xmin>"
            f"<ymin>{int(b[1]) + 1}</ymin><xmax>{int(b[2])}</xmax><ymax>{int(b[3])}</ymax>"
            f"</bndbox></object>"
            for b, d in zip(t.boxes, t.difficult)
        )
        (root / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    (root / "split.txt").write_text("\n".join(names) + "\n")
    lines = [
        f"{name} {s!r} {b[0] + 1!r} {b[1] + 1!r} {b[2]!r} {b[3]!r}"
        for name, d in zip(names, found)
        for b, s in zip(d.boxes.tolist(), d.scores.tolist())
    ]
    (root / "thing.txt").write_text("\n".join(lines))


@pytest.mark.parametrize("seed", range(6))
def test_equals_detectron2s_voc_eval_on_random_data(tmp_path, seed):
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(15):
        g = int(rng.integers(0, 5))
        corner = rng.integers(0, 100, (g, 2))
        boxes = np.concatenate([corner, corner + rng.integers(5, 60, (g, 2))], axis=1)
        truths.append(truth(boxes, difficult=rng.random(g) < 0.25))
        # Several noisy copies of each box (duplicates), and boxes that match nothing.
        copies = np.repeat(boxes, 2, axis=0) + rng.normal(0, 4, (2 * g, 4))
        noise = rng.uniform(0, 80, (2, 2))
        copies = np.concatenate([copies, np.concatenate([noise, noise + 30], axis=1)])
        found.append(detected(copies, rng.random(len(copies))))
    _write_voc(tmp_path, [f"im{i}" for i in range(15)], truths, found)
    paths = [str(tmp_path / n) for n in ("{}.txt", "{}.xml", "split.txt")]
    for threshold in (0.5, 0.75):
        curve = precision_recall(truths, found, threshold)
        for ap, is_2007 in ((ap_11_point(curve), True), (ap_area(curve), False)):
            recall, precision, expected = voc_eval(*paths, "thing", threshold, is_2007)
            np.testing.assert_array_equal(curve.recall, recall)
            np.testing.assert_array_equal(curve.precision, precision)
            assert 0 < expected < 1  # a case with something to get wrong
            assert ap == pytest.approx(expected, abs=1e-12)


def test_iou_counts_whole_pixels():
    """Pixels 1-10 against pixels 6-15: 5 of 15 columns are common, not 4 of 14."""
    box, moved = np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 15, 10]])
    assert inclusive_iou(box, moved) == pytest.approx(5 / 15)
    assert inclusive_iou(box, box) == 1.0
    assert inclusive_iou(box, box + 50) == 0.0


def test_perfect_detections_score_one():
    truths = [truth([[0, 0, 10, 10], [20, 20, 50, 40]]), truth([[5, 5, 9, 9]])]
    found = [detected(t.boxes, np.linspace(0.9, 0.5, len(t.boxes))) for t in truths]
    curve = precision_recall(truths, found)
    assert ap_11_point(curve) == pytest.approx(1.0)
    assert ap_area(curve) == pytest.approx(1.0)
    assert coco_ap(truths, found, 1)[0] == pytest.approx(1.0)


def test_half_recall_at_full_precision():
    """One of two boxes found: area 1/2; eleven points 0, 0.1, ..., 0.5 of 11."""
    curve = precision_recall(
        [truth([[0, 0, 10, 10], [20, 20, 40, 40]])], [detected([[0, 0, 10, 10]], [0.9])]
    )
    assert ap_area(curve) == pytest.approx(0.5)
    assert ap_11_point(curve) == pytest.approx(6 / 11)


def test_the_second_detection_of_a_box_is_false_even_if_it_fits_better():
    curve = precision_recall(
        [truth([[0, 0, 10, 10]])], [detected([[0, 0, 10, 9], [0, 0, 10, 10]], [0.9, 0.8])]
    )
    assert curve.precision.tolist() == [1.0, 0.5]


def test_difficult_boxes_are_neither_positives_nor_do_matches_count():
    truths = [truth([[0, 0, 10, 10], [20, 20, 40, 40]], difficult=[1, 0])]
    with_matches = detected([[0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 40, 40]], [0.9, 0.8, 0.7])
    curve = precision_recall(truths, [with_matches])
    assert curve.positives == 1
    assert ap_area(curve) == pytest.approx(1.0)
    assert coco_ap(truths, [with_matches], 1)[0] == pytest.approx(1.0)


def test_without_positives_there_is_no_score():
    for truths in ([truth([])], [truth([[0, 0, 5, 5]], difficult=[1])], []):
        found = [detected([[0, 0, 5, 5]], [0.5]) for _ in truths]
        curve = precision_recall(truths, found)
        assert np.isnan([ap_11_point(curve), ap_area(curve), *coco_ap(truths, found, 1)]).all()


def test_positives_without_detections_score_zero():
    truths, found = [truth([[0, 0, 5, 5]])], [detected([], [])]
    curve = precision_recall(truths, found)
    assert [ap_11_point(curve), ap_area(curve), *coco_ap(truths, found, 1)] == [0, 0, 0]


def test_coco_ap_averages_the_thresholds_and_prints_nothing(capsys):
    """A box of IoU exactly 0.8 with its truth passes 0.5 to 0.8: 7 of 10 thresholds."""
    truths = [truth([[0, 0, 10, 10]])]
    assert coco_ap(truths, [detected([[0, 0, 10, 8]], [0.9])], 1)[0] == pytest.approx(0.7)
    assert capsys.readouterr().out == ""
