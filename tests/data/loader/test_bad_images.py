"""Training without the images that cannot be read."""

from __future__ import annotations

import json
import logging
from itertools import islice
from pathlib import Path

import pytest

from metaalign_det.data import (
    build_adaptation_train_loader,
    build_test_loader,
    check_data,
    register_voc_domain,
)
from metaalign_det.data.catalog.domains import load_labelled
from metaalign_det.data.catalog.reading import read_once
from metaalign_det.data.loader.bad_images import BadImages, replacements
from metaalign_det.data.loader.stream import Stream
from metaalign_det.errors import BadImageError, UserError
from tests.data.trees import tiny_cfg


def skipping(output, **datasets):
    cfg = tiny_cfg(**(datasets or {"TRAIN": ("watercolor_train",), "TARGET": ("watercolor_test",)}))
    cfg.DATALOADER.ON_BAD_IMAGE = "skip"
    cfg.OUTPUT_DIR = str(output)
    return cfg


def files(loader, count=8):
    return [[i["file_name"] for k in b for i in b[k]] for b in islice(loader, count)]


def damage(tree, *numbers):
    """Spoil images after they were listed."""
    damaged = [str(tree / "JPEGImages" / f"{number:06d}.jpg") for number in numbers]
    for file in damaged:
        Path(file).write_bytes(b"\xff\xd8 gone")
    return damaged


def orientation(dicts):
    return {d["file_name"]: d["width"] > d["height"] for d in dicts}


def test_another_of_its_kind_takes_the_place_and_the_rest_stays(own_root, tmp_path):
    cfg = skipping(tmp_path / "run")
    loader = build_adaptation_train_loader(cfg)
    before = files(loader)
    (bad,) = damage(own_root / "watercolor", 1)
    after = files(loader)
    assert any(bad in batch for batch in before) and not any(bad in batch for batch in after)
    wide = {}
    for stream in (*loader.sources, loader.target):
        wide |= orientation(stream.images.dicts)
    for old, new in zip(before, after):
        for a, b in zip(old, new):
            assert a == b if a != bad else wide[a] == wide[b]
    (entry,) = json.loads((tmp_path / "run" / "bad_images.json").read_text())
    loader.bad_images.summarise()
    (entry,) = json.loads((tmp_path / "run" / "bad_images.json").read_text())
    assert entry["file"] == bad and "is not an image" in entry["reason"]
    assert entry["replaced"] == sum(batch.count(bad) for batch in before)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_stay_a_function_of_seed_and_iteration(own_root, tmp_path, workers):
    cfg = skipping(tmp_path / "run")
    with read_once():
        reference = build_adaptation_train_loader(cfg)
        cfg.DATALOADER.NUM_WORKERS = workers
        resumed = build_adaptation_train_loader(cfg, start_iter=3)
    damage(own_root / "watercolor", 2, 3)
    assert files(resumed, 5) == files(reference, 8)[3:]


def test_two_processes_still_see_the_batch_of_one():
    dicts = [{"file_name": str(i)} for i in range(6)]

    def mapper(d):
        if d["file_name"] in "024":
            raise BadImageError(d["file_name"], "is gone")
        return d

    def batches(rank, world_size):
        stream = Stream(
            dicts, mapper, 4, seed=1, number=0, group_aspect_ratios=False, rank=rank,
            world_size=world_size, bad_images=BadImages(),
        )  # fmt: skip
        return [[d["file_name"] for d in batch] for batch in islice(stream.batches(), 6)]

    assert [a + b for a, b in zip(batches(0, 2), batches(1, 2))] == batches(0, 1)


def test_by_default_the_first_bad_image_ends_training(own_root, tmp_path):
    cfg = skipping(tmp_path / "run")
    cfg.DATALOADER.ON_BAD_IMAGE = "error"
    loader = build_adaptation_train_loader(cfg)
    damage(own_root / "watercolor", 1, 2, 3, 4)
    with pytest.raises(UserError, match=r"image .*JPEGImages.*\.jpg is not an image"):
        files(loader)
    assert not (tmp_path / "run").exists()


def test_where_no_image_can_be_read_training_ends(own_root, tmp_path):
    loader = build_adaptation_train_loader(skipping(tmp_path, TRAIN=("watercolor_train",)))
    damage(own_root / "watercolor", *range(1, 5))
    with pytest.raises(UserError, match="none of 2 images of one kind can be read; image .*jpg"):
        files(loader)


@pytest.mark.parametrize("remove", [False, True])
def test_what_is_bad_from_the_start_is_left_out_and_listed(own_root, tmp_path, remove):
    cfg = skipping(tmp_path / "run")
    (bad,) = damage(own_root / "watercolor", 2)
    if remove:
        Path(bad).unlink()
    with pytest.raises(UserError, match="000002.jpg"):
        load_labelled("watercolor_train")
    with read_once():
        check_data(cfg, test=False)
        loader = build_adaptation_train_loader(cfg)
    drawn = {file for batch in files(loader) for file in batch}
    assert bad not in drawn and len(drawn) == 7
    (entry,) = json.loads((tmp_path / "run" / "bad_images.json").read_text())
    assert entry["file"] == bad and entry["replaced"] == 0


def test_classes_that_only_the_data_know_are_found_among_the_good_images(
    own_root, tmp_path, catalog
):
    register_voc_domain("unnamed", "watercolor", "train")
    damage(own_root / "watercolor", 2)
    loader = build_adaptation_train_loader(skipping(tmp_path, TRAIN=("unnamed",)))
    assert len(loader.sources[0].images) == 3


def test_scores_are_of_all_images_or_none(own_root, tmp_path):
    loader = build_test_loader(skipping(tmp_path), "watercolor_test")
    damage(own_root / "watercolor", 5)
    with pytest.raises(UserError, match="000005.jpg is not an image"):
        list(loader)


def test_unknown_policy(own_root, tmp_path):
    cfg = skipping(tmp_path)
    cfg.DATALOADER.ON_BAD_IMAGE = "ignore"
    with pytest.raises(UserError, match="ON_BAD_IMAGE must be error or skip, not 'ignore'"):
        build_adaptation_train_loader(cfg)


def test_replacements_are_of_the_same_kind_each_once_and_by_the_draw():
    alike = ["wide", "high"] * 4
    found = list(replacements(2, alike, 1, 0, draw=5))
    assert sorted(found) == [0, 4, 6] and found == list(replacements(2, alike, 1, 0, draw=5))
    orders = {tuple(replacements(2, alike, 1, 0, draw)) for draw in range(20)}
    assert len(orders) > 2
    assert list(replacements(0, ["alone", "other"], 1, 0, 0)) == []


def test_processes_and_resumptions_write_one_list(tmp_path, caplog):
    path = tmp_path / "bad_images.json"
    first, second = BadImages(path), BadImages(path)
    with caplog.at_level(logging.WARNING):
        first.leave_out([BadImageError("a.jpg", "does not exist")])
        for counter in (first, second, second):
            counter.replace([("b.jpg", "is damaged")])
    assert caplog.text.count("training goes on without: image b.jpg is damaged") == 2
    first.summarise()
    second.summarise()
    assert json.loads(path.read_text()) == [
        {"file": "a.jpg", "reason": "does not exist", "replaced": 0},
        {"file": "b.jpg", "reason": "is damaged", "replaced": 3},
    ]
    assert "1 image(s) could not be read; others took their place 2 time(s)" in caplog.text


def test_a_list_that_is_none_is_written_anew(tmp_path):
    path = tmp_path / "bad_images.json"
    path.write_text('{"half')
    BadImages(path).replace([("b.jpg", "is damaged")])
    assert json.loads(path.read_text())[0]["file"] == "b.jpg"
