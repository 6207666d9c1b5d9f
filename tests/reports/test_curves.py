"""Reading metrics.json as Detectron2 leaves it, and drawing it."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from metaalign_det.errors import UserError
from metaalign_det.reports import Panel, plot_curves, read_metrics
from metaalign_det.reports.curves import DEFAULT_PANELS, _keys, _running_mean, _short


def write(path, records, tail=""):
    path.write_text("".join(json.dumps(r) + "\n" for r in records) + tail)
    return path


def test_the_last_record_of_an_iteration_counts_and_a_broken_line_is_skipped(tmp_path, caplog):
    path = write(
        tmp_path / "metrics.json",
        [
            {"iteration": 19, "lr": 0.1},
            {"iteration": 39, "lr": 0.2, "voc/AP50_11pt": float("nan")},
            {"iteration": 19, "lr": 0.3, "note": "text"},
        ],
        tail='{"iteration": 59, "l',
    )
    metrics = read_metrics(path)
    assert set(metrics) == {"lr", "voc/AP50_11pt"}
    assert [x.tolist() for x in metrics["lr"]] == [[19, 39], [0.3, 0.2]]
    assert "line 4 is no record" in caplog.text


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(UserError, match="gone.json does not exist"):
        plot_curves({"a": tmp_path / "gone.json"}, tmp_path / "x.png")
    with pytest.raises(UserError, match="empty.json holds no metrics"):
        plot_curves({"a": write(tmp_path / "empty.json", [])}, tmp_path / "x.png")
    other = write(tmp_path / "other.json", [{"iteration": 1, "time": 3.0}])
    with pytest.raises(UserError, match="nothing to plot in .*other.json"):
        plot_curves({"a": other}, tmp_path / "x.png")


def test_every_loss_is_in_one_panel():
    names = ["loss_cls", "loss_rpn_loc", "loss_box_reg", "loss_da_local", "loss_mmd"]
    data = {"run": dict.fromkeys(["total_loss", *names])}
    panels = {p.title: _keys(p, data) for p in DEFAULT_PANELS}
    assert panels["total loss"] == ["total_loss"]
    assert panels["task losses"] == ["loss_box_reg", "loss_cls", "loss_rpn_loc"]
    assert panels["alignment losses"] == ["loss_da_local", "loss_mmd"]


def test_more_scalars_than_a_panel_can_show_are_cut():
    data = {"run": dict.fromkeys(["a/3", "a/1", "a/2"])}
    assert _keys(Panel("t", ("a/*",), most=2), data) == ["a/1", "a/2"]


def test_running_mean_is_over_the_last_values():
    assert _running_mean(np.array([1.0, 3.0, 5.0, 10.0]), 2).tolist() == [1.0, 2.0, 4.0, 7.5]


def test_one_value_that_is_not_finite_does_not_end_the_running_mean():
    mean = _running_mean(np.array([1.0, np.nan, np.inf, 4.0, 6.0]), 2)
    assert mean.tolist() == pytest.approx([1.0, 1.0, np.nan, 4.0, 5.0], nan_ok=True)


def test_legends_drop_what_all_names_share():
    assert _short(["a_test/voc/AP50", "b_test/voc/AP50"]) == ["a_test", "b_test"]
    assert _short(["lookahead/beta/res2", "lookahead/beta/res3"]) == ["res2", "res3"]


def test_the_picture_has_the_colours_of_the_runs(tmp_path):
    runs = {
        label: write(
            tmp_path / f"{label}.json",
            [{"iteration": i, "total_loss": (i + k) / 10} for i in range(20)],
        )
        for k, label in enumerate(("one", "two"))
    }
    plot_curves(runs, tmp_path / "new" / "curves.png", title="t")
    image = cv2.imread(str(tmp_path / "new" / "curves.png"))
    for bgr in ((0xB2, 0x72, 0x00), (0x00, 0x5E, 0xD5)):
        assert (image == bgr).all(axis=-1).sum() > 20
