"""What a config's model does is told without its data and without building it."""

from __future__ import annotations

import pytest

from metaalign_det.data import register_image_folder, register_images
from metaalign_det.errors import UserError
from metaalign_det.modeling.model_kind import is_classifier
from tests.explain.toys import register_own
from tests.tiny import tiny_cfg


@pytest.fixture(autouse=True)
def _own(monkeypatch):
    register_own(monkeypatch)


def cfg_of(name, *entries, train=(), target=()):
    cfg = tiny_cfg("MODEL.META_ARCHITECTURE", name)
    cfg.DATASETS.REGISTER = [{"NAME": n, "FORMAT": f, "ROOT": "/none"} for n, f in entries]
    cfg.DATASETS.TRAIN, cfg.DATASETS.TARGET = train, target
    return cfg


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DomainAdaptiveClassifier", True),
        ("OwnClassifier", True),
        ("SWDARCNN", False),
        ("OwnDetector", False),
        ("RetinaNet", False),
    ],
)
def test_the_class_tells_where_the_data_are_unknown(name, expected):
    assert is_classifier(cfg_of(name, train=("nowhere",))) is expected


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([("mine", "folder"), ("other", "images")], True),
        ([("mine", "images"), ("other", "image_list")], True),
        ([("mine", "coco"), ("other", "images")], False),
        ([("mine", "images"), ("other", "voc")], False),
        ([("unused", "folder")], False),
        ([], False),
    ],
)
def test_of_a_model_from_scratch_the_data_that_its_config_registers(entries, expected):
    cfg = cfg_of("FromScratch", *entries, train=("mine",), target=("other",))
    assert is_classifier(cfg) is expected


def test_of_a_model_from_scratch_the_data_that_are_registered(catalog, tmp_path):
    register_images("own_unlabelled", str(tmp_path))
    register_image_folder("own_photos", str(tmp_path))
    cfg = cfg_of("FromScratch", train=("own_unlabelled",), target=("own_photos",))
    assert is_classifier(cfg)
    assert not is_classifier(cfg_of("FromScratch", train=("voc6_2007_trainval",)))


def test_damaged_entries_of_a_config_say_nothing():
    cfg = cfg_of("FromScratch", train=("mine",))
    for damaged in ("text", ["text", {"NAME": "mine"}, {"NAME": "mine", "FORMAT": ["folder"]}]):
        cfg.DATASETS.REGISTER = damaged
        assert not is_classifier(cfg)


def test_a_name_that_nothing_has_is_the_users_to_fix():
    with pytest.raises(UserError, match="'SWDARCN' is not registered; did you mean 'SWDARCNN'"):
        is_classifier(cfg_of("SWDARCN"))
