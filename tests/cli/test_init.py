"""metaalign-det init: a config for two folders that trains as it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from detectron2.data import MetadataCatalog

from metaalign_det.cli.__main__ import main
from metaalign_det.cli.init_plan import plan_data
from metaalign_det.config import load_cfg
from metaalign_det.data import check_data, register_all
from metaalign_det.data.doctor.detect import detect
from metaalign_det.engine.trainer import AdaptationTrainer
from metaalign_det.errors import UserError
from tests.data.make_tiny_formats import coco_json, make_tiny_coco, make_tiny_yolo, save_image
from tests.data.make_tiny_voc import make_tiny_voc


@pytest.fixture(autouse=True)
def _here(catalog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def drawings(tmp_path):
    """Nested, with spaces, in mixed case, and no label."""
    for n in range(3):
        save_image(tmp_path / "drawings" / "first sheet" / f"{n}.PNG", (90, 70))
    return "drawings"


def refusal(capsys, *arguments):
    """What init says of arguments that it does not take."""
    assert main(["init", *arguments, "--output", "refused.yaml"]) != 0
    assert not Path("refused.yaml").exists()
    return capsys.readouterr().err


def init(source, target, *options):
    """The config that is written, registered and checked."""
    assert main(["init", str(source), str(target), "--output", "my.yaml", *options]) == 0
    cfg = load_cfg("my.yaml")
    register_all(cfg)
    cfg.MODEL.DEVICE = "cpu"
    return cfg, check_data(cfg)


def test_coco_and_a_folder_of_drawings_train_as_they_are(tmp_path, drawings, capsys):
    make_tiny_coco(tmp_path / "photos", coco_json(5))
    cfg, domains = init("photos", drawings)
    assert [(d.role, d.name, d.images) for d in domains] == [
        ("source 0", "photos", 5), ("target", "drawings", 3)
    ]  # fmt: skip
    assert domains[0].classes == ("cat", "dog") and cfg.MODEL.ROI_HEADS.NUM_CLASSES == 2
    assert not cfg.DATASETS.TEST and cfg.SELECTION.ENABLED
    assert cfg.METAALIGN.ENABLED and cfg.MODEL.DA.LOCAL.ENABLED
    printed = capsys.readouterr().out
    assert "coco, 5 images" in printed and "cat, dog" in printed
    for command in ("check-data --config-file my.yaml", "train --config-file my.yaml"):
        assert f"metaalign-det {command}" in printed
    cfg.merge_from_list(["SOLVER.MAX_ITER", 1, "DATALOADER.NUM_WORKERS", 0])
    cfg.merge_from_list(["INPUT.MIN_SIZE_TRAIN", (64,), "OUTPUT_DIR", str(tmp_path / "out")])
    trainer = AdaptationTrainer(cfg)
    trainer.train()
    for name in ("model_final.pth", "model_selected.pth"):  # which predict takes
        assert (tmp_path / "out" / name).is_file()


def test_yolo_scores_on_its_validation_images(tmp_path, drawings):
    make_tiny_yolo(tmp_path / "signs")
    cfg, domains = init("signs/data.yaml", drawings)
    assert [d.name for d in domains] == ["signs_train", "drawings", "signs_val"]
    assert cfg.TEST.EVAL_PERIOD > 0


def test_a_yolo_target_need_not_have_label_files(tmp_path, capsys):
    make_tiny_yolo(tmp_path / "signs")
    for target in ("bare", "tested"):
        make_tiny_yolo(tmp_path / target)
    shutil.rmtree(tmp_path / "bare/labels")
    shutil.rmtree(tmp_path / "tested/labels/train")
    cfg, domains = init("signs", "bare")
    assert [(d.name, d.images) for d in domains] == [
        ("signs_train", 4), ("bare", 8), ("signs_val", 4)
    ]  # fmt: skip
    Path("my.yaml").unlink()
    cfg, domains = init("signs", "tested")
    names = [d.name.rstrip("_") for d in domains]
    assert names == ["signs_train", "tested_train", "tested_val", "signs_val"]
    assert "katt" in refusal(capsys, "signs", "tested", "--class-map", "katt=cat")
    assert "bare/data.yaml, train: none of the 4 images has a label file" in refusal(
        capsys, "bare", "signs"
    )
    Path("my.yaml").unlink()
    shutil.rmtree(tmp_path / "signs/labels/val")  # of the source: it is not scored then
    cfg, domains = init("signs", "bare", "--test", "tested")
    assert [d.name.rstrip("_") for d in domains] == ["signs_train", "bare", "tested_val"]


def test_an_image_that_cannot_be_read_stops_nothing(tmp_path, drawings, capsys):
    make_tiny_coco(tmp_path / "photos", coco_json(4))
    (tmp_path / drawings / "half.jpg").write_bytes(b"\xff\xd8 half")
    (tmp_path / "photos/images/sub/1 a.jpg").write_bytes(b"\xff\xd8 half")
    cfg, domains = init("photos", drawings)
    assert [d.images for d in domains] == [3, 3] and cfg.DATALOADER.ON_BAD_IMAGE == "skip"
    printed = capsys.readouterr().out
    assert "2 images cannot be read; training goes on without them:" in printed
    assert f"{tmp_path}/drawings/half.jpg is not an image" in printed


def test_voc_images_without_xml_are_the_users_decision(tmp_path, drawings, catalog, capsys):
    tree = make_tiny_voc(tmp_path, images=6, trees=("watercolor",)) / "watercolor"
    shutil.rmtree(tree / "ImageSets")
    (tree / "Annotations" / "000001.xml").unlink()
    cfg, domains = init("watercolor", drawings)
    images = domains[0].images
    remark = "1 images have no XML and are left out; true: they show no object"
    assert remark in capsys.readouterr().out
    text = Path("my.yaml").read_text()
    assert f"NEGATIVES: false # {remark}" in text
    Path("my.yaml").write_text(text.replace("NEGATIVES: false", "NEGATIVES: true"))
    catalog.remove("watercolor")
    MetadataCatalog.remove("watercolor")
    cfg = load_cfg("my.yaml")
    register_all(cfg)
    assert check_data(cfg)[0].images == images + 1


def test_a_labelled_target_is_scored_on_the_classes_that_both_have(tmp_path):
    make_tiny_voc(tmp_path, images=8, trees=("VOC2007", "watercolor"))
    cfg, domains = init("VOC2007", "watercolor")
    assert [d.role for d in domains] == ["source 0", "target", "test", "test"]
    # Twenty classes and six; the folder is called as a data set of ours is.
    assert set(domains[0].classes) == {"bicycle", "bird", "car", "cat", "dog", "person"}
    assert len({d.classes for d in domains}) == 1
    assert domains[1].name == "watercolor_train_" and domains[1].objects is None
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 6


def test_folders_per_class_train_a_classifier(tmp_path, drawings):
    for domain, classes in (("art", ("cat", "dog", "yak")), ("photo", ("Dog", "cat"))):
        for label in classes:
            for n in range(3):
                save_image(tmp_path / domain / label / f"{n}.png")
    cfg, domains = init("art", "photo")
    assert cfg.MODEL.META_ARCHITECTURE == "DomainAdaptiveClassifier"
    assert cfg.MODEL.CLASSIFIER.NUM_CLASSES == 2
    assert [(d.role, d.images) for d in domains] == [("source 0", 6), ("target", 6), ("test", 6)]
    AdaptationTrainer.build_model(cfg)
    (tmp_path / "my.yaml").unlink()
    cfg, domains = init("art", drawings, "--model", "resnet50")
    assert cfg.MODEL.CLASSIFIER.NUM_CLASSES == 3 and cfg.MODEL.RESNETS.DEPTH == 50
    assert [d.name for d in domains][1] == "drawings"


def test_classes_that_one_side_lacks_are_named(tmp_path, capsys):
    for domain, classes in (("art", "cat dog yak"), ("photo", "dog cat cow"), ("clip", "cat")):
        for label in classes.split():
            save_image(tmp_path / domain / label / "0.png")
    save_image(tmp_path / "clip" / "pig" / "0.png")
    init("art", "photo")
    assert "left out, since not in both: yak of art; cow of photo" in capsys.readouterr().out
    message = refusal(capsys, "art", "clip")
    assert "one class in common, cat" in message and "pig of clip" in message
    assert "--class-map" in message


def test_a_class_map_renames_and_merges_before_classes_are_compared(tmp_path, capsys):
    make_tiny_coco(tmp_path / "photos", coco_json(5, ("kitten", "Cat", "automobile")))
    make_tiny_coco(tmp_path / "garden", coco_json(4, ("car", "cat", "yak")))
    options = ("--class-map", "kitten=cat", "--class-map", "automobile = car")
    cfg, domains = init("photos", "garden", *options)
    assert {d.classes for d in domains} == {("cat", "car")}
    assert domains[0].objects == 12 and domains[-1].objects == 6  # yaks are dropped
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 2
    head = (tmp_path / "my.yaml").read_text().split("DATASETS")[0]
    assert "--class-map kitten=cat" in " ".join(head.replace("#", "").split())


def test_a_class_map_may_make_classes_that_the_target_lacks(tmp_path):
    make_tiny_coco(tmp_path / "photos", coco_json(5, ("kitten", "lorry")))
    make_tiny_coco(tmp_path / "garden", coco_json(4, ("cat", "yak")))
    cfg, domains = init("photos", "garden", "--class-map", "kitten=cat", "--class-map", "lorry=van")
    assert {d.classes for d in domains} == {("cat",)} and domains[0].objects == 4


def test_a_target_with_label_files_that_nobody_has_filled_is_not_scored(tmp_path):
    make_tiny_coco(tmp_path / "photos", coco_json(5))
    content = coco_json(4, ("object",))
    content["annotations"] = []
    make_tiny_coco(tmp_path / "garden", content)
    cfg, domains = init("photos", "garden")
    assert [(d.role, d.images) for d in domains] == [("source 0", 5), ("target", 4)]
    assert domains[0].classes == ("cat", "dog") and not cfg.DATASETS.TEST
    assert "it has labels, but no object in them" in Path("my.yaml").read_text()


def test_a_class_map_settles_two_spellings_of_a_class(tmp_path, drawings, capsys):
    for folder in ("photos", "again"):
        make_tiny_coco(tmp_path / folder, coco_json(5, ("cat", "Cat", "dog")))
    assert main(["init", "photos", drawings]) == 2
    assert "differ only in case" in capsys.readouterr().err
    _, domains = init("again", drawings, "--class-map", "Cat=cat")
    assert domains[0].classes == ("cat", "dog") and domains[0].objects == 12


def test_a_class_map_makes_a_folder_per_class_usable_for_scores(tmp_path):
    for domain, classes in (("art", ("cat", "dog")), ("photo", ("Katze", "Hund"))):
        for label in classes:
            save_image(tmp_path / domain / label / "1.png")
    cfg, domains = init("art", "photo", "--class-map", "Katze=cat", "--class-map", "Hund=dog")
    assert [d.role for d in domains] == ["source 0", "target", "test"]
    assert domains[-1].classes == ("cat", "dog") and cfg.MODEL.CLASSIFIER.NUM_CLASSES == 2


def test_splits_in_capitals_are_trained_and_tested_on_as_they_are_called(tmp_path, drawings):
    for split, images in (("Test", 1), ("Train", 3)):
        for label in ("cat", "dog"):
            for n in range(images):
                save_image(tmp_path / "photos" / split / label / f"{n}.png")
    _, domains = init("photos", drawings)
    assert [(d.role, d.name, d.images) for d in domains] == [
        ("source 0", "photos_train", 6), ("target", "drawings", 3), ("test", "photos_test", 2)
    ]  # fmt: skip


def test_what_to_train_on_is_not_guessed(tmp_path, drawings, capsys):
    for split in ("val", "test"):
        for label in ("cat", "dog"):
            save_image(tmp_path / "photos" / split / label / "1.png")
    assert main(["init", "photos", drawings]) == 2
    assert "none is called train: give the folder that is meant" in capsys.readouterr().err
    assert main(["init", "photos/val", drawings]) == 0


def test_folders_of_a_target_that_are_no_classes_are_just_folders(tmp_path):
    for label in ("cat", "dog"):
        save_image(tmp_path / "art" / label / "1.png")
        save_image(tmp_path / "scans" / f"box {label}" / "1.png")
    cfg, domains = init("art", "scans")
    assert not cfg.DATASETS.TEST and [d.images for d in domains] == [2, 2]


def test_classes_of_a_target_that_is_only_sorted_are_of_no_use_to_a_detector(tmp_path):
    make_tiny_coco(tmp_path / "photos", coco_json(3))
    for label in ("cat", "dog"):
        save_image(tmp_path / "sorted" / label / "1.png")
    _, domains = init("photos", "sorted")
    assert [(d.name, d.images) for d in domains] == [("photos", 3), ("sorted", 2)]
    assert "its labels, for classification, are of no use here" in Path("my.yaml").read_text()


def test_every_choice_is_explained_and_nothing_is_overwritten(tmp_path, drawings, capsys):
    make_tiny_coco(tmp_path / "photos")
    init("photos", drawings)
    lines = (tmp_path / "my.yaml").read_text().splitlines()
    comments = [line for line in lines if "#" in line]
    assert len(comments) > 20 and max(map(len, comments)) <= 100
    assert main(["init", "photos", drawings, "--output", "my.yaml"]) == 2
    assert "my.yaml exists already" in capsys.readouterr().err
    assert (tmp_path / "my.yaml").read_text().splitlines() == lines
    assert main(["init", "photos", drawings]) == 0
    assert load_cfg("photos2drawings.yaml").OUTPUT_DIR == "./output/photos2drawings"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("drawings", "photos"), "The source must be labelled"),
        (("gone", "drawings"), "gone does not exist"),
        (("photos", "drawings", "--model", "vit"), "--model must be auto or one of"),
        (("photos", "drawings", "--output", "no/my.yaml"), "there is no folder"),
        (("photos", "drawings", "--class-map", "cat"), "--class-map cat: give a name in the"),
        (("photos", "drawings", "--class-map", "dgo=cat"), "no 'dgo' in the labels; the 2 class"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, drawings, capsys, arguments, message):
    make_tiny_coco(tmp_path / "photos")
    assert main(["init", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error


def test_labelled_images_for_scores_alone_stand_in_a_folder_of_their_own(tmp_path, drawings):
    make_tiny_coco(tmp_path / "photos", coco_json(5))
    make_tiny_coco(tmp_path / "scored", coco_json(2, ("Dog", "Cat", "cow")))
    cfg, domains = init("photos", drawings, "--test", "scored")
    assert [(d.role, d.name, d.images) for d in domains] == [
        ("source 0", "photos", 5), ("target", "drawings", 3), ("test", "scored", 2)
    ]  # fmt: skip
    assert domains[-1].classes == ("cat", "dog")
    with pytest.raises(UserError, match="--test .*drawings: labels of the source's kind"):
        plan_data(detect("photos"), detect("drawings"), detect("drawings"))


@pytest.mark.parametrize("where", ["source", "target", "output", "class"])
def test_a_name_that_is_not_utf8_is_refused_and_leaves_nothing(tmp_path, drawings, where, capsys):
    odd = os.fsdecode(b"caf\xe9")
    source = odd if where == "source" else "photos"
    for name in ("cat", odd if where == "class" else "dog"):
        for n in range(4):
            save_image(tmp_path / source / name / f"{n}.png", (40, 40))
    if where == "target":
        (tmp_path / drawings).rename(tmp_path / odd)
    output = f"{odd}.yaml" if where == "output" else "my.yaml"
    target = odd if where == "target" else drawings
    assert main(["init", source, target, "--output", output]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and r"caf\udce9" in said and "is not UTF-8" in said
    assert not list(tmp_path.glob("*.yaml")) and not list(tmp_path.glob(".*"))


def test_an_output_below_nobodys_home_is_a_folder_that_is_not_there(tmp_path, drawings, capsys):
    make_tiny_coco(tmp_path / "photos", coco_json(5))
    assert main(["init", "photos", drawings, "--output", "~nobody_here/my.yaml"]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_labelled_images_that_are_adapted_to_are_told(tmp_path):
    make_tiny_coco(tmp_path / "photos", coco_json(5))
    make_tiny_coco(tmp_path / "garden", coco_json(4))
    init("photos", "garden", "--test", "garden/instances.json")
    assert "4 of --test are adapted to: keep some apart" in Path("my.yaml").read_text()


def test_a_test_of_the_source_is_scored_once(tmp_path, drawings):
    make_tiny_yolo(tmp_path / "signs")
    _, domains = init("signs", drawings, "--test", "signs")
    assert [d.name for d in domains] == ["signs_train", "drawings", "signs_val"]
