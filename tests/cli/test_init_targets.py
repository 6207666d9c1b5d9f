"""metaalign-det init: labels of a target that fit, or do not, and folders that are no classes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaalign_det.cli.__main__ import main
from tests.cli.test_init import _here as _here
from tests.cli.test_init import drawings as drawings
from tests.cli.test_init import init, refusal
from tests.data.doctor.test_detect_layouts import make_cityscapes
from tests.data.make_tiny_formats import coco_json, make_tiny_coco, make_tiny_kitti, save_image

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "own-data.md"


def test_a_target_that_shares_no_class_is_taken_without_its_labels(tmp_path, capsys):
    make_tiny_coco(tmp_path / "photos", coco_json(5, ("green box", "Rotes Ding ä")))
    make_tiny_coco(tmp_path / "plates", coco_json(4, ("licence plate",)))
    cfg, domains = init("photos", "plates")
    assert [(d.role, d.name, d.images) for d in domains] == [
        ("source 0", "photos", 5), ("target", "plates", 4)
    ]  # fmt: skip
    assert domains[0].classes == ("green box", "Rotes Ding ä") and not cfg.DATASETS.TEST
    printed = capsys.readouterr().out
    for part in (f"{tmp_path}/photos (green box, Rotes Ding ä)", "plates (licence plate)"):
        assert part in printed
    assert "not even for scores" in printed and "--class-map NAME=CLASS" in printed
    lines = Path("my.yaml").read_text().splitlines()
    assert max(len(line) for line in lines if "#" in line) <= 100
    Path("my.yaml").unlink()
    # The remedy that is named.
    _, domains = init("photos", "plates", "--class-map", "licence plate=green box")
    assert [d.role for d in domains] == ["source 0", "target", "test"]


def test_labels_given_for_scores_that_share_no_class_are_refused(tmp_path, drawings, capsys):
    make_tiny_coco(tmp_path / "photos", coco_json(5, ("automobile", "dog")))
    make_tiny_coco(tmp_path / "scored", coco_json(4, ("car",)))
    said = refusal(capsys, "photos", drawings, "--test", "scored")
    assert f"--test {tmp_path}/scored: no class of {tmp_path}/photos (automobile, dog)" in said
    assert "scored (car)" in said and "--class-map NAME=CLASS" in said
    assert "DATASETS" not in said and "--test out" in said


def test_masks_of_cityscapes_are_no_target_images(tmp_path, capsys):
    make_tiny_coco(tmp_path / "photos", coco_json(5, ("car", "dog")))
    cs = make_cityscapes(tmp_path / "cs", splits=("train",))
    make_cityscapes(tmp_path / "scored")
    for path in cs.glob("gtFine/*/*/*.json"):
        path.unlink()
    _, domains = init("photos", "cs")
    assert [(d.name, d.images) for d in domains] == [("photos", 5), ("cs", 2)]
    printed = capsys.readouterr().out
    assert "cs: cityscapes, 2 images" in printed and f"{cs}/leftImg8bit\n" in printed
    Path("my.yaml").unlink()
    _, domains = init("photos", "scored")
    assert [(d.role, d.name, d.objects) for d in domains] == [
        ("source 0", "photos_", 4), ("target", "scored_train", None), ("test", "scored_val", 2)
    ]  # fmt: skip
    assert domains[0].classes == ("car",)
    said = refusal(capsys, "cs", "photos")
    assert "no polygons of them" in said and "The source must be labelled" in said


def test_street_scenes_are_a_source_too(tmp_path):
    make_tiny_kitti(tmp_path)
    make_cityscapes(tmp_path / "cs")
    _, domains = init("kitti", "cs")
    assert [(d.role, d.name) for d in domains] == [
        ("source 0", "kitti"), ("target", "cs_train"), ("test", "cs_val")
    ]  # fmt: skip
    assert domains[0].classes == ("Car",)


def test_a_classifier_adapts_to_the_images_of_cityscapes_alone(tmp_path):
    for label in ("cat", "dog"):
        save_image(tmp_path / "art" / label / "1.png")
    make_cityscapes(tmp_path / "cs")
    _, domains = init("art", "cs")
    assert [(d.name, d.images) for d in domains] == [("art", 2), ("cs", 4)]


@pytest.mark.parametrize("label", ["1.json", "1.txt"])
def test_labels_that_are_not_read_train_no_classifier(tmp_path, drawings, capsys, label):
    for split in ("train", "val"):
        save_image(tmp_path / "marked" / split / "1.jpg")
        text = '{"shapes": []}' if label == "1.json" else "0 0.5 0.5 0.25 0.5\n"
        (tmp_path / "marked" / split / label).write_text(text)
    said = refusal(capsys, "marked", drawings)
    assert f"labels that are not read: {label} looks like" in said


def test_folders_without_images_are_no_classes(tmp_path, caplog):
    for domain in ("art", "photo"):
        for label in ("cat", "dog"):
            save_image(tmp_path / domain / label / "1.png")
        (tmp_path / domain / "empty").mkdir()
        (tmp_path / domain / "docs").mkdir()
        (tmp_path / domain / "docs" / "readme.txt").write_text("nothing")
    cfg, domains = init("art", "photo")
    assert [(d.role, d.images) for d in domains] == [("source 0", 2), ("target", 2), ("test", 2)]
    assert cfg.MODEL.CLASSIFIER.NUM_CLASSES == 2 and domains[0].classes == ("cat", "dog")
    assert f"{tmp_path}/art: folders without an image are no classes: docs, empty" in caplog.text


def test_the_guide_draws_the_pixels_that_are_read(tmp_path, drawings):
    content = coco_json(2)
    for image in content["images"]:
        image["file_name"] = f"{image['id']}.png"
    make_tiny_coco(tmp_path / "photos", content)
    for path in tmp_path.glob("photos/images/*.png"):  # gray of 16 bits
        Image.fromarray(np.full((60, 80), 20000, np.uint16)).save(path)
    assert main(["init", "photos", drawings]) == 0
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (shown,) = [text for text in blocks if "Visualizer" in text]
    exec(shown, {})
    drawn = np.asarray(Image.open("read_1.png").convert("L"))  # which has no box
    assert abs(drawn.mean() - 20000 * 255 / 65535) < 2
