"""The loader of several streams: reproducible from anywhere, and blind to target labels."""

from __future__ import annotations

import random
from itertools import islice

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from metaalign_det.data import SourceMapper, build_adaptation_train_loader, build_test_loader
from metaalign_det.data.catalog.domains import load_labelled
from metaalign_det.data.loader.stream import Stream
from metaalign_det.errors import UserError
from tests.data.trees import make_tiny_voc, tiny_cfg

PAIR = {"TRAIN": ("voc6_2007_trainval", "voc6_2012_trainval"), "TARGET": ("watercolor_train",)}


def take(loader, count):
    return list(islice(loader, count))


def content(image: dict) -> tuple:
    """Everything in a mapped image, comparable."""
    objects = image.get("instances")
    boxes = None if objects is None else objects.gt_boxes.tensor.tolist()
    classes = None if objects is None else objects.gt_classes.tolist()
    rest = {k: v for k, v in image.items() if k not in ("image", "instances")}
    return image["image"].tolist(), boxes, classes, sorted(rest.items())


def contents(batches) -> list:
    return [{k: [content(i) for i in images] for k, images in b.items()} for b in batches]


def test_batch_format(datasets):
    cfg = tiny_cfg(**PAIR)
    cfg.SOLVER.IMS_PER_BATCH_TARGET = 3
    for batch in take(build_adaptation_train_loader(cfg), 3):
        assert [image["domain"] for image in batch["source"]] == [0, 0]
        assert [image["domain"] for image in batch["target"]] == [1, 1, 1]
        assert all(len(image["instances"]) for image in batch["source"])
        for image in batch["target"]:
            assert set(image) == {"image", "height", "width", "file_name", "image_id", "domain"}


def test_without_target_the_list_is_empty(datasets):
    (batch,) = take(build_adaptation_train_loader(tiny_cfg(TRAIN=PAIR["TRAIN"])), 1)
    assert len(batch["source"]) == 2 and batch["target"] == []


def test_data_sets_of_the_config_need_no_other_registration(datasets, catalog):
    own = {"NAME": "own_target", "FORMAT": "images", "ROOT": "watercolor/JPEGImages"}
    cfg = tiny_cfg(**{**PAIR, "TARGET": ("own_target",), "REGISTER": [own]})
    (batch,) = take(build_adaptation_train_loader(cfg), 1)
    assert batch["target"] and "own_target" in catalog


def test_target_changes_nothing_for_the_source(datasets):
    alone = contents(take(build_adaptation_train_loader(tiny_cfg(TRAIN=PAIR["TRAIN"])), 4))
    both = contents(take(build_adaptation_train_loader(tiny_cfg(**PAIR)), 4))
    assert [b["source"] for b in alone] == [b["source"] for b in both]


@pytest.mark.parametrize("start", [1, 6])
def test_resumed_equals_uninterrupted(datasets, start):
    cfg = tiny_cfg(**PAIR)
    whole = contents(take(build_adaptation_train_loader(cfg), start + 3))
    resumed = contents(take(build_adaptation_train_loader(cfg, start_iter=start), 3))
    assert resumed == whole[start:]


def test_iterating_again_starts_again(datasets):
    loader = build_adaptation_train_loader(tiny_cfg(**PAIR))
    assert contents(take(loader, 2)) == contents(take(loader, 2))


def test_number_of_workers_changes_nothing(datasets):
    cfg = tiny_cfg(**PAIR)
    here = contents(take(build_adaptation_train_loader(cfg), 3))
    cfg.DATALOADER.NUM_WORKERS = 2
    assert contents(take(build_adaptation_train_loader(cfg), 3)) == here


@pytest.mark.parametrize("workers", [0, 1])
def test_global_generators_are_neither_used_nor_changed(datasets, workers):
    def state():
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    cfg = tiny_cfg(**PAIR)
    cfg.DATALOADER.NUM_WORKERS = workers
    before = state()
    loader = build_adaptation_train_loader(cfg)
    first = contents(take(loader, 2))
    list(build_test_loader(cfg, "watercolor_test"))
    assert state() == before
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    assert contents(take(loader, 2)) == first


def test_images_of_a_batch_are_augmented_apart(datasets):
    cfg = tiny_cfg(**PAIR)
    sizes = {
        tuple(i["image"].shape)
        for b in take(build_adaptation_train_loader(cfg), 8)
        for i in b["target"]
    }
    assert len(sizes) > 2  # both orientations and several of the lengths of the shorter side


def test_seed_argument_and_config_agree(datasets):
    cfg = tiny_cfg(**PAIR)
    by_argument = contents(take(build_adaptation_train_loader(cfg, seed=11), 2))
    assert by_argument != contents(take(build_adaptation_train_loader(cfg), 2))
    cfg.SEED = 11
    assert by_argument == contents(take(build_adaptation_train_loader(cfg), 2))


def test_negative_seed_is_drawn_and_recorded(datasets):
    cfg = tiny_cfg(**PAIR)
    cfg.SEED = -1
    loader = build_adaptation_train_loader(cfg)
    again = build_adaptation_train_loader(cfg, seed=loader.seed)
    assert loader.seed >= 0
    assert contents(take(loader, 1)) == contents(take(again, 1))


def test_two_processes_see_the_batch_of_one(datasets):
    cfg = tiny_cfg()
    dicts = load_labelled("watercolor_train")
    mapper = SourceMapper(cfg, True)

    def batches(rank, world_size):
        stream = Stream(dicts, mapper, 4, seed=1, number=0, rank=rank, world_size=world_size)
        return [[content(i) for i in batch] for batch in islice(stream.batches(), 4)]

    halves = zip(batches(0, 2), batches(1, 2))
    assert [first + second for first, second in halves] == batches(0, 1)


def test_wide_and_high_images_do_not_meet(datasets):
    cfg = tiny_cfg(**PAIR)
    orientations = set()
    for batch in take(build_adaptation_train_loader(cfg), 12):
        for images in batch.values():
            (wide,) = {image["width"] > image["height"] for image in images}
            orientations.add(wide)
    assert orientations == {True, False}
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False
    # Not seed 3, under which, one in 10,000, no batch of the first 12 is mixed by chance.
    mixed = [
        {image["width"] > image["height"] for image in batch["source"]}
        for batch in take(build_adaptation_train_loader(cfg, seed=4), 12)
    ]
    assert {True, False} in mixed


def test_fewer_images_than_a_batch(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(make_tiny_voc(tmp_path, images=1)))
    cfg = tiny_cfg(TRAIN=("watercolor_test",), TARGET=("watercolor_train",))
    cfg.SOLVER.IMS_PER_BATCH = 4
    for batch in take(build_adaptation_train_loader(cfg), 2):
        assert len(batch["source"]) == len(batch["target"]) == 4


def test_several_sources_share_the_batch(datasets):
    cfg = tiny_cfg(
        TRAIN=("voc6_2007_trainval", "watercolor_train", "voc6_2012_trainval"),
        TRAIN_DOMAINS=(0, 1, 0),
        TARGET=("watercolor_test",),
    )
    cfg.SOLVER.IMS_PER_BATCH = 4
    seen = {0: set(), 1: set(), 2: set()}
    for batch in take(build_adaptation_train_loader(cfg), 10):
        assert [i["domain"] for i in batch["source"]] == [0, 0, 1, 1]
        assert [i["domain"] for i in batch["target"]] == [2] * 4
        for image in batch["source"] + batch["target"]:
            seen[image["domain"]].add(image["file_name"].split("/")[-3])
    assert seen == {0: {"VOC2007", "VOC2012"}, 1: {"watercolor"}, 2: {"watercolor"}}


def test_batch_that_cannot_be_split_over_domains(datasets):
    cfg = tiny_cfg(TRAIN=PAIR["TRAIN"], TRAIN_DOMAINS=(0, 1))
    cfg.SOLVER.IMS_PER_BATCH = 3
    with pytest.raises(UserError, match=r"IMS_PER_BATCH = 3 cannot be split over 2 source domains"):
        build_adaptation_train_loader(cfg)


def test_poisoned_target_labels_change_nothing(datasets, catalog):
    """On disk they are not read; from a data set of somebody else's they are removed."""
    cfg = tiny_cfg(**PAIR)
    clean = contents(take(build_adaptation_train_loader(cfg), 3))

    def poisoned():
        dicts = load_labelled("watercolor_train")
        for d in dicts:
            d.update(annotations=[{"bbox": [float("nan")] * 4, "category_id": 10**9}], label="?")
        return dicts

    catalog.register("poisoned", poisoned)
    cfg.DATASETS.TARGET = ("poisoned",)
    assert contents(take(build_adaptation_train_loader(cfg), 3)) == clean


def test_poisoned_target_files_change_nothing(own_root):
    cfg = tiny_cfg(**{**PAIR, "TRAIN": PAIR["TRAIN"][:1]})
    clean = contents(take(build_adaptation_train_loader(cfg), 3))
    for path in (own_root / "watercolor" / "Annotations").glob("*.xml"):
        path.write_text("<annotation><object><name>poison</name></object></annotation>")
    assert contents(take(build_adaptation_train_loader(cfg), 3)) == clean


def test_target_mapper_of_a_user_is_given_no_label(datasets):
    given = []
    cfg = tiny_cfg(**PAIR)
    loader = build_adaptation_train_loader(cfg, target_mapper=lambda d: given.append(d) or d)
    take(loader, 2)
    assert {key for d in given for key in d} == {
        "file_name",
        "image_id",
        "height",
        "width",
        "domain",
    }


def test_source_images_without_objects_follow_the_config(datasets, catalog):
    def some_empty():
        dicts = load_labelled("watercolor_train")
        for d in dicts[2:]:
            d["annotations"] = []
        return dicts

    catalog.register("some_empty", some_empty)
    cfg = tiny_cfg(TRAIN=("some_empty",))
    with_objects = {d["file_name"] for d in some_empty()[:2]}

    def drawn():
        batches = take(build_adaptation_train_loader(cfg), 20)
        return {image["file_name"] for batch in batches for image in batch["source"]}

    assert drawn() == with_objects
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    assert len(drawn()) == 6


def test_nothing_to_learn_from(datasets, catalog):
    catalog.register(
        "empty", lambda: [{**d, "annotations": []} for d in load_labelled("watercolor_train")]
    )
    with pytest.raises(UserError, match="no image of empty has an object"):
        build_adaptation_train_loader(tiny_cfg(TRAIN=("empty",)))


@pytest.mark.parametrize("workers", [0, 1])
def test_image_that_breaks_during_training_is_named(own_root, workers):
    cfg = tiny_cfg(TRAIN=("watercolor_train",))
    cfg.DATALOADER.NUM_WORKERS = workers
    loader = build_adaptation_train_loader(cfg)
    for path in (own_root / "watercolor" / "JPEGImages").iterdir():
        path.write_bytes(b"gone")
    with pytest.raises(UserError) as caught:
        take(loader, 1)
    # One sentence, also from a worker process.
    assert str(caught.value).startswith("image ") and "Traceback" not in str(caught.value)


def test_test_loader_sees_every_image_once_and_no_label(datasets):
    cfg = tiny_cfg()
    batches = list(build_test_loader(cfg, "watercolor_test"))
    assert [len(batch) for batch in batches] == [1] * 6
    expected = [d["image_id"] for d in load_labelled("watercolor_test")]
    assert [batch[0]["image_id"] for batch in batches] == expected
    assert not {"annotations", "instances"} & {key for (image,) in batches for key in image}


def test_balanced_source_is_for_classification(datasets, catalog):
    cfg = tiny_cfg(**PAIR)
    cfg.DATALOADER.BALANCED_SOURCE = True
    with pytest.raises(UserError, match="BALANCED_SOURCE"):
        build_adaptation_train_loader(cfg)


@pytest.fixture
def classes(catalog):
    """A classification data set of 9 images of class 0 and 1 of class 1, never opened."""
    labels = [0] * 9 + [1]
    DatasetCatalog.register(
        "classes", lambda: [{"file_name": str(i), "label": c} for i, c in enumerate(labels)]
    )
    MetadataCatalog.get("classes").set(evaluator_type="classification", thing_classes=["a", "b"])


@pytest.mark.parametrize(("balanced", "share"), [(True, 20), (False, 4)])
def test_classification_source_balanced_or_not(classes, balanced, share):
    cfg = tiny_cfg(TRAIN=("classes",), TARGET=("classes",))
    cfg.DATALOADER.BALANCED_SOURCE = balanced
    loader = build_adaptation_train_loader(
        cfg, source_mapper=lambda d: d, target_mapper=lambda d: d
    )
    batches = take(loader, 20)
    assert sum(d["label"] for batch in batches for d in batch["source"]) == share
    assert all("label" not in d for batch in batches for d in batch["target"])
