"""One class list for a run."""

from __future__ import annotations

import pytest
from detectron2.data import MetadataCatalog

from metaalign_det.config import load_cfg
from metaalign_det.data import build_adaptation_train_loader, check_data, run_classes
from metaalign_det.data.catalog.classes import agree, check_number, renumbered
from metaalign_det.data.catalog.detection import register_coco_domain, register_images
from metaalign_det.data.catalog.domains import load_labelled
from metaalign_det.errors import UserError
from tests.data.make_tiny_formats import coco_json, make_tiny_coco
from tests.data.trees import tiny_cfg

LISTS = {"photo": ("cat", "traffic light", "dog"), "sketch": ("Dog", "Cat", "Traffic_Light")}


def test_order_and_spelling_do_not_matter_and_the_first_counts():
    assert agree(LISTS, None) == agree(LISTS, "") == LISTS["photo"]


def test_intersection_keeps_the_order_of_the_first():
    lists = {**LISTS, "test": ("bird", "DOG", "cat")}
    assert agree(lists, "intersection") == ("cat", "dog")


def test_an_accent_is_the_same_however_it_is_composed():
    assert agree({"mac": ("Cafe\u0301", "tea"), "pc": ("Caf\u00e9",)}, "intersection") == (
        "Cafe\u0301",
    )


def test_a_list_is_taken_as_it_is():
    assert agree(LISTS, ["dog", "cat"]) == ("dog", "cat")


@pytest.mark.parametrize(
    ("lists", "wanted", "message"),
    [
        ({"a": ("cat",), "b": ("dog",)}, None, "'b' lacks cat; 'a' lacks dog.*CLASS_MAP"),
        (
            {"a": ("cat",), "b": ("dog", "cow")},
            "intersection",
            r"a, b have no class in common \(a: cat; b: dog, cow\).*CLASS_MAP",
        ),
        (LISTS, ["cat", "dogs"], "lists dogs, which 'photo' lacks.*did you mean 'dog'"),
        (LISTS, "union", "must be empty, 'intersection' or a list, not 'union'"),
        (LISTS, [], "is a list without any name: name the classes to use"),
        (LISTS, (), "is a list without any name: name the classes to use"),
        (LISTS, [3], "DATASETS.CLASSES must be a list of names; 3 is none"),
    ],
)
def test_lists_that_do_not_go_together(lists, wanted, message):
    with pytest.raises(UserError, match=message):
        agree(lists, wanted)


@pytest.mark.parametrize("value", ["intersection", "['dog', 'cat']", "('dog',)", "None"])
def test_every_legal_value_can_be_set_and_saved(value, tmp_path):
    cfg = load_cfg(opts=["DATASETS.CLASSES", value])
    (tmp_path / "config.yaml").write_text(cfg.dump())
    again = load_cfg(tmp_path / "config.yaml").DATASETS.CLASSES
    assert agree(LISTS, again) == agree(LISTS, cfg.DATASETS.CLASSES)


def test_renumbering_drops_what_is_not_there_and_leaves_the_given_alone():
    given = [{"annotations": [{"category_id": k, "bbox": []} for k in range(3)]}, {"label": 1}]
    kept = renumbered(given, ("cat", "cow", "dog"), ("Dog", "cat"))
    assert [a["category_id"] for a in kept[0]["annotations"]] == [1, 0]
    assert len(kept) == 1  # the image of a cow goes
    assert [a["category_id"] for a in given[0]["annotations"]] == [0, 1, 2]
    assert renumbered(given, ("a", "b", "c"), None) is given


def test_the_number_of_the_model_is_named():
    with pytest.raises(UserError, match="X = 3, but the data have 2 classes .a, b.: set it to 2"):
        check_number(("a", "b"), "X", 3)


@pytest.fixture
def pair(tmp_path, catalog):
    """A source with three classes and a test set with two of them, in another order."""
    for name, names in (("photos", ("cat", "cow", "dog")), ("drawings", ("Dog", "Cat"))):
        json_file = make_tiny_coco(tmp_path / name, coco_json(3, names))
        register_coco_domain(name, tmp_path / name / "images", json_file)
    register_images("unsorted", tmp_path / "drawings")
    cfg = tiny_cfg(TRAIN=("photos",), TARGET=("unsorted",), TEST=("drawings",))
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    return cfg


def test_a_run_on_the_intersection(pair):
    with pytest.raises(UserError, match="'drawings' lacks cow"):
        check_data(pair)
    pair.DATASETS.CLASSES = "intersection"
    assert [r.role for r in check_data(pair)] == ["source 0", "target", "test"]
    assert run_classes(pair) == ("cat", "dog")
    dogs = load_labelled("drawings", run_classes(pair))[0]["annotations"][0]
    assert dogs["category_id"] == 1 and MetadataCatalog.get("drawings").thing_classes[0] == "Dog"
    batch = next(iter(build_adaptation_train_loader(pair)))
    assert all(set(d["instances"].gt_classes.tolist()) == {0, 1} for d in batch["source"])
    assert all("instances" not in d for d in batch["target"])


def test_the_classes_of_a_run_do_not_read_the_target(pair, tmp_path):
    json_file = tmp_path / "unread.json"
    register_coco_domain("unread", tmp_path, json_file)
    pair.DATASETS.TARGET = ("unread",)
    pair.DATASETS.CLASSES = ["dog"]
    assert run_classes(pair) == ("dog",)
