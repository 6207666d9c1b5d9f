"""metaalign-det predict: pictures and files out of a checkpoint and a messy folder."""

from __future__ import annotations

import csv
import json
import os

import cv2
import pytest

from metaalign_det.errors import UserError
from metaalign_det.explain import export, predict_statistics
from metaalign_det.explain.predict_folder import RECORD, PredictionFolder
from metaalign_det.explain.predict_inputs import find_inputs
from metaalign_det.explain.predict_job import PredictJob
from tests.cli.predict_calls import below, run, write_video
from tests.explain.checkpoints import classifier_cfg, detector_cfg, save_checkpoint, save_images


@pytest.fixture
def checkpoint(tmp_path):
    return save_checkpoint(tmp_path / "run", detector_cfg())


def test_pictures_and_every_format_and_what_could_not_be_read(tmp_path, checkpoint, capsys):
    files = save_images(tmp_path / "in")
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8")
    out = tmp_path / "out"
    opts = ("--format", "coco,voc,yolo,csv", "--threshold", 0.0, "--batch-size", 2)
    assert run(checkpoint, tmp_path / "in", "--output", out, *opts) == 0
    for file in files:
        assert cv2.imread(str(out / "pictures" / file.name)) is not None
    summary = json.loads((out / "summary.json").read_text())
    assert summary["images"] == 3 and list(summary["unreadable"]) == ["broken.jpg"]
    assert "broken.jpg is not an image" in capsys.readouterr().err
    for name in ("coco.json", "voc", "yolo", "predictions.csv"):
        assert (out / name).exists()
    coco = json.loads((out / "coco.json").read_text())
    assert [i["file_name"] for i in coco["images"]] == [f.name for f in files]
    assert coco["annotations"]


def test_an_output_folder_is_not_overwritten_silently(tmp_path, checkpoint):
    (file,) = save_images(tmp_path / "in", sizes=[(90, 60)])
    out = tmp_path / "out"
    assert run(checkpoint, file, "--output", out) == 0
    with pytest.raises(UserError, match="not empty: choose another folder, or --overwrite"):
        run(checkpoint, file, "--output", out)
    assert run(checkpoint, file, "--output", out, "--overwrite") == 0


def test_overwrite_leaves_one_prediction_and_what_is_the_users(tmp_path, checkpoint):
    files = save_images(tmp_path / "in")
    out = tmp_path / "out"
    opts = ("--threshold", 0.0, "--output", out, "--overwrite")
    formats = "coco,voc,yolo,csv"
    assert run(checkpoint, tmp_path / "in", *opts, "--format", formats) == 0
    mine = {"notes.txt", "pictures/mine.png", "yolo/images/image 0.png"}
    for name in mine:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    assert run(checkpoint, files[0], *opts, "--format", "yolo") == 0
    ours = {
        *("pictures/image 0.png", "yolo/data.yaml", "yolo/labels/image 0.txt"),
        *("summary.json", RECORD),
    }
    assert set(below(out)) == ours | mine
    assert all((out / name).read_text() == "mine" for name in mine)


@pytest.mark.parametrize("broken_at", ["images", "write"])
def test_overwrite_after_an_interruption_leaves_one_prediction(
    tmp_path, checkpoint, monkeypatch, broken_at
):
    files = save_images(tmp_path / "in")
    out = tmp_path / "out"

    def interrupted(*_, **__):
        with PredictionFolder(out).writing("coco.json") as path:
            path.write_text("half of it")
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PredictJob, broken_at, interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(checkpoint, tmp_path / "in", "--output", out)
    assert run(checkpoint, files[1], "--output", out, "--overwrite") == 0
    assert below(out) == [RECORD, "pictures/image 1.png", "predictions.csv", "summary.json"]


def test_labels_corrected_by_hand_survive_overwrite(tmp_path, checkpoint):
    files = save_images(tmp_path / "in")
    out = tmp_path / "out"
    args = ("--output", out, "--format", "yolo", "--overwrite")
    assert run(checkpoint, tmp_path / "in", *args) == 0
    before = below(out)
    (out / "yolo/labels/image 1.txt").write_text("0 .5 .5 .2 .2\n")
    with pytest.raises(UserError, match="changed since predict wrote it: .*image 1.txt; move"):
        run(checkpoint, files[0], *args)
    assert below(out) == before


def test_originals_in_a_folder_called_pictures_are_not_drawn_over(
    tmp_path, checkpoint, monkeypatch
):
    (file,) = save_images(tmp_path / "pictures", sizes=[(90, 60)])
    before = file.read_bytes()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="in the way, .*: pictures/image 0.png; move"):
        run(checkpoint, "pictures", "--output", ".", "--overwrite")
    assert file.read_bytes() == before


def test_an_output_below_the_images_is_not_predicted_on(tmp_path, checkpoint):
    save_images(tmp_path / "in", sizes=[(90, 60)])
    out = tmp_path / "in" / "out"
    for _ in range(2):
        assert run(checkpoint, tmp_path / "in", "--output", out, "--overwrite") == 0
        assert below(out / "pictures") == ["image 0.png"]


def test_an_output_that_cannot_be_made_ends_a_call_before_the_work(
    tmp_path, checkpoint, monkeypatch
):
    """Also where nothing is written before the end."""
    (file,) = save_images(tmp_path / "in", sizes=[(90, 60)])
    there = []
    out = tmp_path / "deep" / "out"
    monkeypatch.setattr(PredictJob, "run", lambda *_: there.append(out.is_dir()))
    run(checkpoint, file, "--output", out, "--no-pictures")
    assert there == [True]


def test_what_is_printed_is_what_was_written(tmp_path, checkpoint, capsys):
    save_images(tmp_path / "in", sizes=[(90, 60)])
    classifier = save_checkpoint(tmp_path / "classifier", classifier_cfg())
    for model, formats, expected in (
        (checkpoint, "coco", "coco.json, coco_results.json"),
        (checkpoint, "voc,yolo,csv", "voc/, yolo/, predictions.csv"),
        (classifier, "csv,json", "predictions.csv, predictions.json"),
    ):
        out = tmp_path / formats
        assert run(model, tmp_path / "in", "--output", out, "--format", formats) == 0
        printed = capsys.readouterr().out
        assert printed == f"1 images; written to {out}: pictures/, {expected}, summary.json\n"
        there = {p.name + "/" * p.is_dir() for p in out.iterdir()} - {RECORD}
        assert there == {"pictures/", *expected.split(", "), "summary.json"}
        listed = json.loads((out / "summary.json").read_text())["files"]
        assert listed == ["pictures/", *expected.split(", ")]


def test_yolo_labels_have_five_numbers_and_six_where_asked_for(tmp_path, checkpoint):
    (file,) = save_images(tmp_path / "in", sizes=[(90, 60)])
    args = ("--format", "yolo", "--threshold", 0.0, "--no-pictures", "--output")
    for numbers, opts in ((5, ()), (6, ("--yolo-scores",))):
        out = tmp_path / f"out {numbers}"
        assert run(checkpoint, file, *args, out, *opts) == 0
        lines = (out / "yolo/labels/image 0.txt").read_text().splitlines()
        assert lines and {len(line.split()) for line in lines} == {numbers}
    with pytest.raises(UserError, match="--yolo-scores is for --format yolo"):
        run(checkpoint, file, "--output", tmp_path / "o2", "--yolo-scores")


def test_predictions_are_reported_where_a_model_cannot_be_exported(
    tmp_path, checkpoint, monkeypatch, capsys
):
    def fail(*_):
        raise UserError("cannot be exported")

    (file,) = save_images(tmp_path / "in", sizes=[(90, 60)])
    monkeypatch.setattr(export, "export", fail)
    out = tmp_path / "out"
    with pytest.raises(UserError, match="cannot be exported"):
        run(checkpoint, file, "--output", out, "--export", "torchscript")
    assert "pictures/, predictions.csv, summary.json\n" in capsys.readouterr().out
    assert (out / "summary.json").is_file()


def test_two_models_side_by_side(tmp_path, checkpoint):
    other = save_checkpoint(tmp_path / "source", detector_cfg(), seed=1)
    (file,) = save_images(tmp_path / "in", sizes=[(90, 60)])
    assert run(checkpoint, file, "--output", tmp_path / "one") == 0
    assert run(checkpoint, file, "--output", tmp_path / "two", "--compare", other.parent) == 0
    one = cv2.imread(str(tmp_path / "one" / "pictures" / file.name))
    two = cv2.imread(str(tmp_path / "two" / "pictures" / file.name))
    assert two.shape[1] > 2 * one.shape[1] and two.shape[0] > one.shape[0]


def test_a_classifier_writes_its_top_k(tmp_path):
    path = save_checkpoint(tmp_path / "run", classifier_cfg())
    save_images(tmp_path / "in", sizes=[(40, 30), (30, 40)])
    out = tmp_path / "out"
    assert run(path, tmp_path / "in", "--output", out, "--top-k", 2, "--format", "csv,json") == 0
    with (out / "predictions.csv").open() as file:
        assert [r["rank"] for r in csv.DictReader(file)] == ["1", "2"] * 2
    assert len(json.loads((out / "predictions.json").read_text())["image 0.png"]) == 2
    assert cv2.imread(str(out / "pictures" / "image 0.png")).shape[0] > 360
    with pytest.raises(UserError, match="'coco' is none of csv, json"):
        run(path, tmp_path / "in", "--output", tmp_path / "o2", "--format", "coco")


def test_a_video_becomes_a_video(tmp_path, checkpoint):
    clip = write_video(tmp_path / "clip.avi", (20, 120, 220))
    out = tmp_path / "out"
    assert run(checkpoint, clip, "--output", out, "--format", "coco") == 0
    capture = cv2.VideoCapture(str(out / "pictures" / "clip.mp4"))
    assert capture.isOpened() and int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 3
    capture.release()
    coco = json.loads((out / "coco.json").read_text())
    assert [i["file_name"] for i in coco["images"]][-1] == "clip/frame_000002.jpg"


def test_videos_of_one_stem_do_not_overwrite_each_other(tmp_path, checkpoint):
    clips = [write_video(tmp_path / "clip.avi", (20, 120))]
    clips.append(write_video(tmp_path / "clip.mkv", (220,)))
    out = tmp_path / "out"
    assert run(checkpoint, *clips, "--output", out, "--format", "coco") == 0
    drawn = sorted(p.name for p in (out / "pictures").iterdir())
    assert drawn == ["clip.avi.mp4", "clip.mkv.mp4"]
    images = json.loads((out / "coco.json").read_text())["images"]
    assert [i["file_name"] for i in images] == [
        "clip.avi/frame_000000.jpg",
        "clip.avi/frame_000001.jpg",
        "clip.mkv/frame_000000.jpg",
    ]


def test_originals_stay_as_they_are_where_names_collide(tmp_path, checkpoint, monkeypatch):
    (ours,) = save_images(tmp_path / "work" / "project" / "photos", sizes=[(90, 60)])
    (theirs,) = save_images(tmp_path / "archive" / "photos", sizes=[(90, 60)])
    before = theirs.read_bytes()
    monkeypatch.chdir(ours.parents[1])
    out = tmp_path / "predictions"
    args = ("photos", "../../archive/photos", "--output", out, "--format", "voc,yolo")
    assert run(checkpoint, *args) == 0
    assert theirs.read_bytes() == before
    assert len(list((out / "pictures").rglob("*.png"))) == 2
    assert len(list((out / "voc").rglob("*.xml"))) == 2
    assert sorted(p.name for p in theirs.parents[1].rglob("*")) == ["image 0.png", "photos"]


def test_a_name_that_is_not_utf8_is_a_name_like_any_other(tmp_path, checkpoint, capsys):
    (file,) = save_images(tmp_path / "in", sizes=[(90, 60)])
    name = os.fsdecode(b"caf\xe9.jpg")
    file.rename(file.with_name(name))
    (file.parent / os.fsdecode(b"caf\xe9.mp4")).touch()
    out = tmp_path / os.fsdecode(b"\xe9")
    assert run(checkpoint, file.parent, "--output", out, "--format", "csv,voc") == 0
    assert (out / "pictures" / name).read_bytes().startswith(b"\xff\xd8")
    captured = capsys.readouterr()
    assert "written to" in captured.out and "caf\\udce9.mp4: the path is not" in captured.err


def test_export_goes_beside_the_predictions(tmp_path, checkpoint, capsys):
    (file,) = save_images(tmp_path / "in", sizes=[(90, 60)])
    out = tmp_path / "out"
    assert run(checkpoint, file, "--output", out, "--export", "torchscript", "--no-pictures") == 0
    assert "predictions.csv, model.ts, model.json, summary.json\n" in capsys.readouterr().out
    assert (out / "model.ts").is_file() and (out / "model.json").is_file()
    assert not (out / "pictures").exists()


def test_nothing_readable_is_a_failure(tmp_path, checkpoint, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8")
    assert run(checkpoint, tmp_path / "broken.jpg", "--output", tmp_path / "out") == 1
    assert capsys.readouterr().out.endswith("out: summary.json\n")


def test_statistics_are_of_frames_of_the_whole_video(tmp_path, monkeypatch):
    monkeypatch.setattr(predict_statistics, "MOST_IMAGES", 8)
    clip = write_video(tmp_path / "clip.avi", range(0, 240, 16))  # 15 frames
    seen = [
        pixels.mean() for pixels in predict_statistics._images(find_inputs([str(clip)]), bad=[])
    ]
    assert len(seen) == 8 and seen[-1] > 200


def test_statistics_of_images_are_the_models_own_not_those_of_the_one_compared(tmp_path, capsys):
    cfg = classifier_cfg()
    cfg.MODEL.DIGITS_NET.NORM = "BN"
    path = save_checkpoint(tmp_path / "run", cfg)
    save_images(tmp_path / "in", sizes=[(40, 30)] * 4)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8")
    clip = write_video(tmp_path / "clip.avi", (20, 120, 220))

    def scores(name, *args):
        out = tmp_path / name
        assert run(path, tmp_path / "in", "--output", out, "--format", "json", *args) == 0
        return json.loads((out / "predictions.json").read_text()), json.loads(
            (out / "summary.json").read_text()
        )

    plain, summary = scores("plain")
    assert summary["statistics_of"] is None
    of = ("--statistics-of", tmp_path / "in", clip)
    adapted, summary = scores("adapted", *of, "--compare", path.parent)
    assert adapted != plain and list(summary["statistics_of"]) == ["images", "unusable"]
    assert (
        summary["statistics_of"]["images"] == 7 and len(summary["statistics_of"]["unusable"]) == 1
    )
    assert "statistics are those of 7 images (1 could not be used)" in capsys.readouterr().out
    shape = cv2.imread(str(tmp_path / "plain" / "pictures" / "image 0.png")).shape
    both = cv2.imread(str(tmp_path / "adapted" / "pictures" / "image 0.png")).shape
    assert both[1] > 1.5 * shape[1]
    again, _ = scores("again", *of)
    assert again == adapted
