"""Readers of what predict leaves in a folder only ever answer or explain."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from metaalign_det.explain.predict import Classification
from metaalign_det.explain.predict_folder import JOURNAL, RECORD, PredictionFolder
from metaalign_det.explain.predict_journal import Journal
from tests.fuzz.inputs import answers_or_explains, damaged, spoiled


def _lines(*entries) -> bytes:
    return b"".join(json.dumps(e).encode() + b"\n" for e in entries)


WRITTEN = ({"file": "a.json"}, {"file": "a.json", "digest": "0f"}, {"file": "pictures/b.png"})
record = damaged(_lines(*WRITTEN)) | spoiled(WRITTEN[1]).map(lambda e: _lines(e, *WRITTEN))


@given(content=record)
def test_records_of_written_files(tmp_path, content):
    (tmp_path / RECORD).write_bytes(content)
    answers_or_explains(lambda: PredictionFolder(tmp_path))


SETTINGS = {"--threshold": 0.5, "--classes": ["cat"]}
DETECTOR = {
    "image": "a.png", "size": [9, 9], "boxes": [[0.0, 0.0, 4.0, 4.5]], "classes": [1],
    "scores": [0.5],
}  # fmt: skip
CLASSIFIER = {"image": "a.png", "scores": [0.25, 0.75]}


@given(data=st.data(), of=st.sampled_from([DETECTOR, CLASSIFIER]))
def test_journals(tmp_path, data, of):
    state, drawing = ["/in/a.png", 9, 1], ["pictures/a.png", "0f"]
    line = of | {"state": state, "drawing": drawing}
    spoilt = spoiled(line).map(lambda e: _lines(SETTINGS, e))
    content = data.draw(spoilt | damaged(_lines(SETTINGS, line)))
    (tmp_path / JOURNAL).write_bytes(content)
    journal = Journal(tmp_path / JOURNAL, SETTINGS)
    if journal.is_there:
        answers_or_explains(journal.require_same_settings)
    found = journal.result_of("a.png", state, ("cat", "dog"), drawing)
    if isinstance(found, Classification):
        assert found.scores.shape == (2,)
    elif found is not None:
        assert len(found.pred_boxes) == len(found.scores) == len(found.pred_classes)


def test_what_is_whole_is_read(tmp_path):
    """The readers above do not just refuse everything."""
    (tmp_path / RECORD).write_bytes(_lines(*WRITTEN))
    assert list(PredictionFolder(tmp_path).earlier) == ["a.json", "pictures/b.png"]
