"""An interrupted predict continues: the same files in the end, and no image predicted on twice."""

from __future__ import annotations

import os

import pytest
from PIL import Image

from metaalign_det.cli import predict
from metaalign_det.errors import UserError
from metaalign_det.explain import predict_job
from metaalign_det.explain.predict import Predictor
from metaalign_det.explain.predict_folder import RECORD
from metaalign_det.explain.predict_journal import JOURNAL
from tests.cli.predict_calls import below, run
from tests.explain.checkpoints import classifier_cfg, detector_cfg, save_checkpoint, save_images

SIZES = ((90, 60), (60, 90), (90, 60), (50, 50), (90, 60), (60, 60))


def wide_classifier_cfg():
    """Not so narrow that images are tried out before."""
    cfg = classifier_cfg()
    cfg.INPUT.CLASSIFICATION.RESIZE, cfg.INPUT.CLASSIFICATION.CROP = 40, 32
    return cfg


@pytest.fixture(params=[detector_cfg, wide_classifier_cfg], ids=["detector", "classifier"])
def checkpoint(request, tmp_path):
    return save_checkpoint(tmp_path / "run", request.param())


def options(checkpoint, tmp_path, out, *more):
    return (checkpoint, tmp_path / "in", "--threshold", 0.0, "--output", tmp_path / out, *more)


def interrupt(monkeypatch, args, after):
    """Stop a call while it saves the drawing after ``after`` others; half of it is there."""
    saved = []
    save = predict_job._save

    def broken(path, pixels):
        saved.append(path)
        if len(saved) > after:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        save(path, pixels)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(predict_job, "_save", broken)
        run(*args)


@pytest.fixture
def predicted_on(monkeypatch):
    """How many images went through a model."""
    count = []
    of = Predictor.run
    monkeypatch.setattr(Predictor, "run", lambda *a, **k: count.extend(a[1]) or of(*a, **k))
    return count


def content(folder):
    left_out = {RECORD, "summary.json"}
    return {n: (folder / n).read_bytes() for n in below(folder) if n not in left_out}


def test_the_same_command_continues(tmp_path, checkpoint, monkeypatch, capsys, predicted_on):
    save_images(tmp_path / "in", SIZES)
    (tmp_path / "in" / "a.jpg").write_bytes(b"\xff\xd8")
    run(*options(checkpoint, tmp_path, "whole"))
    args = options(checkpoint, tmp_path, "out")
    interrupt(monkeypatch, args, after=4)
    assert JOURNAL in below(tmp_path / "out")
    predicted_on.clear()
    capsys.readouterr()
    assert run(*args) == 0
    assert len(predicted_on) == len(SIZES) - 4
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert "6 images; written to" in capsys.readouterr().out
    assert JOURNAL not in below(tmp_path / "out")
    with pytest.raises(UserError, match="not empty"):
        run(*args)


def test_what_changed_since_is_predicted_on_again(tmp_path, checkpoint, monkeypatch, predicted_on):
    files = save_images(tmp_path / "in", SIZES)
    args = options(checkpoint, tmp_path, "out")
    interrupt(monkeypatch, args, after=4)
    Image.new("RGB", (80, 70)).save(files[0])
    files[1].unlink()
    (tmp_path / "out" / "pictures" / files[2].name).unlink()
    predicted_on.clear()
    assert run(*args) == 0
    assert len(predicted_on) == 4  # 0 and 2 again, 4 and 5
    run(*options(checkpoint, tmp_path, "whole"))
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_other_settings_do_not_continue(tmp_path, checkpoint, monkeypatch, predicted_on):
    save_images(tmp_path / "in", SIZES)
    interrupt(monkeypatch, options(checkpoint, tmp_path, "out"), after=4)
    before = content(tmp_path / "out")
    with pytest.raises(UserError, match="another --threshold and another --top-k: give the same"):
        run(*options(checkpoint, tmp_path, "out", "--threshold", 0.1, "--top-k", 2))
    os.utime(checkpoint, (1, 1))
    with pytest.raises(UserError, match="another CHECKPOINT_OR_RUN: give the same"):
        run(*options(checkpoint, tmp_path, "out"))
    assert content(tmp_path / "out") == before
    predicted_on.clear()
    assert run(*options(checkpoint, tmp_path, "out", "--overwrite")) == 0
    assert len(predicted_on) == len(SIZES)


def test_damaged_lines_are_predicted_on_again(tmp_path, checkpoint, monkeypatch, predicted_on):
    save_images(tmp_path / "in", SIZES)
    args = options(checkpoint, tmp_path, "out", "--no-pictures")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(predict_job.PredictJob, "write", interrupted)
        run(*args)
    journal = tmp_path / "out" / JOURNAL
    settings, *lines = journal.read_text().splitlines()
    lines[1] = "[]"
    lines[2] = lines[2].replace('"scores": [', '"scores": [0.5, ')
    journal.write_text("\n".join([settings, *lines[:-1], lines[-1][:50]]))
    predicted_on.clear()
    assert run(*args) == 0
    assert len(predicted_on) == 3
    run(*options(checkpoint, tmp_path, "whole", "--no-pictures"))
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_an_export_after_an_interruption_has_its_example(tmp_path, checkpoint, monkeypatch):
    save_images(tmp_path / "in", SIZES[:1])
    args = options(checkpoint, tmp_path, "out", "--export", "torchscript", "--no-pictures")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(predict, "_export", interrupted)
        run(*args)
    assert run(*args) == 0
    assert "model.ts" in below(tmp_path / "out")
