"""An interrupted predict continues: the same files in the end, and no image predicted on twice."""

from __future__ import annotations

import os

import pytest
from PIL import Image

from metaalign_det.errors import UserError
from metaalign_det.explain import export, predict_job
from metaalign_det.explain.predict import Predictor
from metaalign_det.explain.predict_folder import JOURNAL, RECORD
from tests.cli.predict_calls import below, run, write_video
from tests.explain.checkpoints import classifier_cfg, detector_cfg, save_checkpoint, save_images

SIZES = ((90, 60), (60, 90), (90, 60), (50, 50), (90, 60), (60, 60))


def wide_classifier_cfg():
    """Not so narrow that images are tried out before."""
    cfg = classifier_cfg()
    cfg.INPUT.CLASSIFICATION.RESIZE, cfg.INPUT.CLASSIFICATION.CROP = 40, 32
    return cfg


@pytest.fixture(params=[detector_cfg, wide_classifier_cfg], ids=["detector", "classifier"])
def make_cfg(request):
    return request.param


@pytest.fixture
def checkpoint(make_cfg, tmp_path):
    return save_checkpoint(tmp_path / "run", make_cfg())


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
    return {n: (folder / n).read_bytes() for n in below(folder) if n != RECORD}


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


def test_an_interrupted_call_is_not_replaced_by_one_for_other_images(
    tmp_path, checkpoint, monkeypatch
):
    files = save_images(tmp_path / "in", SIZES)
    args = options(checkpoint, tmp_path, "out")
    interrupt(monkeypatch, args, after=5)
    before = content(tmp_path / "out")
    with pytest.raises(UserError, match="another IMAGES: give the same to continue it, another"):
        run(checkpoint, files[0], *args[2:])
    assert content(tmp_path / "out") == before


def test_an_interrupted_call_is_interrupted_and_killed(
    tmp_path, checkpoint, monkeypatch, predicted_on
):
    save_images(tmp_path / "in", SIZES)
    args = options(checkpoint, tmp_path, "out")
    interrupt(monkeypatch, args, after=2)
    journal = tmp_path / "out" / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-20])  # killed while it wrote the second line
    interrupt(monkeypatch, args, after=2)
    predicted_on.clear()
    assert run(*args) == 0
    assert len(predicted_on) == len(SIZES) - 3
    run(*options(checkpoint, tmp_path, "whole"))
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_call_killed_at_its_start_leaves_nothing_in_the_way(tmp_path, checkpoint, monkeypatch):
    save_images(tmp_path / "in", SIZES[:2])
    args = options(checkpoint, tmp_path, "out")
    interrupt(monkeypatch, args, after=0)
    (tmp_path / "out" / JOURNAL).write_text('{"--thresh')
    (picture,) = (tmp_path / "out" / "pictures").iterdir()
    picture.unlink()
    picture.parent.rmdir()
    assert run(*args) == 0


def test_videos_and_a_second_model(tmp_path, make_cfg, checkpoint, monkeypatch):
    """With the output among the images, interrupted in the images and in the second video."""
    save_images(tmp_path / "in", SIZES)
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("a.avi", "b.avi"):
        write_video(clips / name, (20, 120, 220))
    other = save_checkpoint(tmp_path / "other", make_cfg(), seed=1)
    more = (clips, "--compare", other, "--batch-size", 2)
    run(*options(checkpoint, tmp_path, "whole")[:2], *more, "--output", tmp_path / "whole")
    args = (*options(checkpoint, tmp_path, "out")[:2], *more, "--output", tmp_path / "in" / "out")
    interrupt(monkeypatch, args, after=3)
    video, seen = predict_job.PredictJob.video, []

    def broken(job, file):
        seen.append(file.name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        video(job, file)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="the same comma"):
        patch.setattr(predict_job.PredictJob, "video", broken)
        run(*args)
    assert run(*args) == 0
    whole, out = content(tmp_path / "whole"), content(tmp_path / "in" / "out")
    assert out.keys() == whole.keys()
    assert out["predictions.csv"] == whole["predictions.csv"]
    assert out["pictures/image 0.png"] == whole["pictures/image 0.png"]


def test_a_drawing_of_a_removed_image_is_not_kept(tmp_path, checkpoint, monkeypatch):
    """a.bmp is drawn as a.bmp.png.png while there is an a.bmp.png, and as a.bmp.png after."""
    files = save_images(tmp_path / "in", SIZES[:3])
    names = [tmp_path / "in" / n for n in ("a.bmp", "a.bmp.png", "b.png")]
    for file, name in zip(files, names):
        Image.open(file).save(name)
        file.unlink()
    args = options(checkpoint, tmp_path, "out")
    interrupt(monkeypatch, args, after=2)
    names[1].unlink()
    assert run(*args) == 0
    run(*options(checkpoint, tmp_path, "whole"))
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_an_image_that_vanishes_or_changes_after_it_was_read(tmp_path, checkpoint, monkeypatch):
    files = save_images(tmp_path / "in", SIZES)
    args = options(checkpoint, tmp_path, "out")
    read = predict_job.as_rgb

    def then_changed(path):
        pixels = read(path)
        if path == files[0]:
            path.unlink()
        if path == files[1]:
            Image.new("RGB", (80, 70)).save(path)
        return pixels

    with monkeypatch.context() as patch:
        patch.setattr(predict_job, "as_rgb", then_changed)
        interrupt(monkeypatch, args, after=4)
    assert run(*args) == 0
    run(*options(checkpoint, tmp_path, "whole"))
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_failed_export_leaves_a_complete_prediction(tmp_path, checkpoint, monkeypatch):
    save_images(tmp_path / "in", SIZES[:1])
    args = options(checkpoint, tmp_path, "out", "--export", "torchscript")

    def fail(*_):
        raise UserError("cannot be exported")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="cannot be exported"):
        patch.setattr(export, "export", fail)
        run(*args)
    before = content(tmp_path / "out")
    assert JOURNAL not in before and "summary.json" in before
    with pytest.raises(UserError, match="not empty"):
        run(*args)
    assert content(tmp_path / "out") == before


def test_an_export_after_an_interruption_has_its_example(tmp_path, checkpoint, monkeypatch):
    save_images(tmp_path / "in", SIZES[:1])
    args = options(checkpoint, tmp_path, "out", "--export", "torchscript", "--no-pictures")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(predict_job.PredictJob, "write", interrupted)
        run(*args)
    assert run(*args) == 0
    assert "model.ts" in below(tmp_path / "out")
