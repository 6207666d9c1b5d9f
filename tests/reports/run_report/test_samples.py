"""Pictures of a report come from files of any name and shape."""

from __future__ import annotations

import base64
import io
import os

import numpy as np
import pytest
from PIL import Image

from metaalign_det.evaluation.calibration import reliability
from metaalign_det.reports.run_report.diagnosis import Diagnosis
from metaalign_det.reports.run_report.ground_truth import LabelledImages
from metaalign_det.reports.run_report.samples import _picture, choose_samples


@pytest.mark.parametrize("name", [b"a.png", b"caf\xe9.png"])
@pytest.mark.parametrize("size, shown", [((720, 90), (360, 45)), ((3000, 1), (360, 1))])
def test_a_picture_is_embedded(tmp_path, name, size, shown):
    path = tmp_path / os.fsdecode(name)
    Image.new("RGB", size, "red").save(path)
    picture = _picture(str(path))
    assert (picture.width, picture.height) == size
    embedded = Image.open(io.BytesIO(base64.b64decode(picture.data.partition(",")[2])))
    red, green, _ = embedded.getpixel((0, 0))
    assert embedded.size == shown and red > 200 > 60 > green


def test_a_file_that_is_gone_or_damaged_has_no_picture(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    assert [_picture(str(tmp_path / n)) for n in ("gone.png", "bad.png")] == [None, None]
    assert _picture("") is None


def test_samples_of_a_classifier_are_not_all_of_the_first_class():
    labels = ["cat"] * 20 + ["dog"] * 20
    one, other = (
        Diagnosis(
            ["cat", "dog", "bird"],
            reliability([], []),
            np.zeros((3, 3)),
            answers={i: (label, told or label, 0.8) for i, label in enumerate(labels)},
        )
        for told in ("bird", "")
    )
    chosen = choose_samples(one, other, LabelledImages("d", ["cat", "dog"], {}, {}), 6)
    assert {labels[sample.image] for sample in chosen} == {"cat", "dog"}
    assert [(s.before, s.after) for s in chosen] == [(1, 0)] * 6
