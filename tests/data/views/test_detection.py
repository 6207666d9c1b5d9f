"""Mappers: labels for the source, none whatever for the target."""

from __future__ import annotations

import logging
import random

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper

from metaalign_det.data import SourceMapper, TargetMapper
from metaalign_det.data.catalog.domains import load_labelled
from metaalign_det.data.loader.randomness import AUGMENTATION, seeded
from metaalign_det.errors import UserError
from tests.data.trees import tiny_cfg

TARGET_OUTPUT = {"image", "height", "width", "file_name", "image_id", "domain"}


@pytest.fixture
def image(datasets):
    return load_labelled("watercolor_train")[0]


class Poison:
    """Fails whatever is done with it."""

    def __deepcopy__(self, memo):
        raise AssertionError("a target label was touched")

    def __getattr__(self, name):
        raise AssertionError("a target label was touched")


def test_source_equals_detectron2s_mapper(image):
    cfg = tiny_cfg()
    with seeded(0, AUGMENTATION, 0, 0):
        ours = SourceMapper(cfg, True)({**image, "domain": 1})
    with seeded(0, AUGMENTATION, 0, 0):
        theirs = DatasetMapper(cfg, True)(image)
    assert ours.pop("domain") == 1
    assert ours.keys() == theirs.keys()
    assert torch.equal(ours["image"], theirs["image"])
    assert torch.equal(ours["instances"].gt_boxes.tensor, theirs["instances"].gt_boxes.tensor)
    assert torch.equal(ours["instances"].gt_classes, theirs["instances"].gt_classes)


def test_boxes_in_whole_numbers_are_scaled_as_those_with_a_point(image):
    box = image["annotations"][0]["bbox"]
    boxes = []
    for numbers in (list(map(int, box)), [float(int(x)) for x in box], np.array(box, int)):
        annotation = {**image["annotations"][0], "bbox": numbers}
        with seeded(0, AUGMENTATION, 0, 0):
            mapped = SourceMapper(tiny_cfg(), True)({**image, "annotations": [annotation]})
        boxes.append(mapped["instances"].gt_boxes.tensor.tolist())
    assert boxes[0] == boxes[1] == boxes[2]


def test_difficult_objects_are_trained_on(image):
    assert image["annotations"][0]["difficult"]
    assert len(SourceMapper(tiny_cfg(), True)(image)["instances"]) == 1


def test_target_output_holds_no_label(image):
    mapped = TargetMapper(tiny_cfg(), True)({**image, "domain": 2})
    assert set(mapped) == TARGET_OUTPUT
    assert mapped["domain"] == 2


def test_poisoned_labels_are_unreachable_and_change_nothing(image):
    cfg = tiny_cfg()
    poisoned = {key: image[key] for key in ("file_name", "image_id", "height", "width")}
    for key in ("annotations", "label", "sem_seg_file_name", "proposal_boxes", "anything_else"):
        poisoned[key] = Poison()
    with seeded(0, AUGMENTATION, 0, 0):
        clean = TargetMapper(cfg, True)(image)
    with seeded(0, AUGMENTATION, 0, 0):
        mapped = TargetMapper(cfg, True)(poisoned)
    assert set(mapped) == TARGET_OUTPUT
    assert torch.equal(mapped["image"], clean["image"])


def test_in_evaluation_no_label_passes(image):
    assert set(SourceMapper(tiny_cfg(), False)(image)) == TARGET_OUTPUT


@pytest.mark.filterwarnings("error:The given NumPy array is not writable")
def test_gray_images_that_no_augmentation_changes_are_the_tensors_own(image):
    cfg = tiny_cfg()
    cfg.merge_from_list(["INPUT.FORMAT", "L", "INPUT.MIN_SIZE_TEST", 0])
    mapped = SourceMapper(cfg, False)(image)
    assert mapped["image"].shape == (1, image["height"], image["width"])
    mapped["image"].zero_()


@pytest.mark.parametrize("mapper", [SourceMapper, TargetMapper])
@pytest.mark.parametrize("content", [None, b"", b"no image"])
def test_unreadable_image_is_named(image, tmp_path, mapper, content):
    path = tmp_path / "broken.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.jpg (does not exist|is not an image)"):
        mapper(tiny_cfg(), True)({**image, "file_name": str(path)})


def test_image_that_was_exchanged_after_the_start(image):
    with pytest.raises(UserError, match="Mismatched image shape"):
        SourceMapper(tiny_cfg(), True)({**image, "width": 7})


def test_seeded_block_repeats_itself_and_restores_the_generators():
    def draw():
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = state()
    with seeded(1, AUGMENTATION, 0, 4):
        first = draw()
    assert state() == before
    with pytest.raises(ZeroDivisionError), seeded(1, AUGMENTATION, 0, 4):
        assert draw() == first
        1 / 0  # noqa: B018
    assert state() == before
    for other in ((2, 0, 4), (1, 1, 4), (1, 0, 5)):
        with seeded(other[0], AUGMENTATION, *other[1:]):
            assert draw() != first


def test_mappers_say_which_augmentations_they_use(caplog):
    with caplog.at_level(logging.INFO):
        TargetMapper(tiny_cfg(), True)
    assert "ResizeShortestEdge" in caplog.text
