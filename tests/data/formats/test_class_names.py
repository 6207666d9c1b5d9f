"""Which names in the data become which classes."""

from __future__ import annotations

import pytest

from metaalign_det.data.formats.class_names import ClassRule
from metaalign_det.errors import UserError

SEEN = {"automobile": "a", "Kitten": "b", "cat": "c", "tree": "d", "Traffic Light": "e"}


def rule(classes=None, ignore=(), **class_map):
    return ClassRule(classes, tuple(class_map.items()), frozenset(ignore))


def test_renamed_merged_and_dropped():
    made = rule(("cat", "car", "traffic_light"), ["tree"], automobile="car", kitten="cat")
    index, numbers = made.number(SEEN)
    assert index.names == ("cat", "car", "traffic_light")
    assert numbers == {"automobile": 1, "Kitten": 0, "cat": 0, "tree": None, "Traffic Light": 2}


def test_everything_else_can_be_dropped():
    assert rule(("cat",), ["*"]).number(SEEN)[1]["tree"] is None


def test_a_name_nobody_mentions_is_an_error_with_its_place_and_the_next_of_kin():
    with pytest.raises(UserError, match="d: class 'tree' is not among them.*did you mean 'trees'"):
        rule(("trees", "cat"), ["automobile", "kitten", "Traffic_Light"]).number(SEEN)


def test_without_classes_they_are_found_after_mapping_and_dropping():
    made = rule(None, ["tree"], automobile="car", kitten="cat")
    assert made.number(SEEN)[0].names == ("car", "cat", "Traffic Light")


def test_names_that_the_data_declare_keep_their_order_and_those_without_objects():
    made = rule(None, ["tree"], kitten="cat")
    declared = ["zebra", "tree", "kitten", "cat", "automobile", "traffic light"]
    assert made.number(SEEN, declared)[0].names == ("zebra", "cat", "automobile", "traffic light")


def test_classes_win_over_ignore():
    assert rule(("cat",), ["cat", "*"]).number({"cat": "a"})[1] == {"cat": 0}


@pytest.mark.parametrize(("one", "other"), [("a", "A"), ("1-1", "11"), ("Red car", "red_car")])
def test_classes_that_differ_in_spelling_only_are_not_quietly_one(one, other):
    seen = {one: "x.xml", "dog": "x.xml", other: "y.xml"}
    for declared in (None, [one, "dog", other]):
        with pytest.raises(UserError, match="differ only in case.*rename one.*CLASS_MAP") as caught:
            rule().number(seen, declared)
        assert f"'{one}' (x.xml)" in str(caught.value) and f"'{other}' (y.xml)" in str(caught.value)


def test_a_spelling_without_an_object_costs_nothing():
    declared = ["Fish", "fish"]  # as some exports list the group and its one class
    index, numbers = rule().number({"fish": "a.json"}, declared)
    assert index.names == ("Fish",) and numbers == {"fish": 0}


def test_spellings_of_a_class_are_one_where_the_settings_say_so():
    seen = {"a": "x", "A": "y", "dog": "z"}
    for made in (rule(("dog", "a")), rule(None, (), A="a"), rule(None, (), a="A")):
        index, numbers = made.number(seen, list(seen))
        assert len(index.names) == 2 and numbers["a"] == numbers["A"] == index.find("a")
    assert rule(None, ["a"]).number(seen)[0].names == ("dog",)
    # Of the names themselves: what others become may be spelled in another way.
    assert rule(None, (), kitten="cat").number({"kitten": "x", "Cat": "y"})[1]["kitten"] == 0


def test_an_accent_is_part_of_its_letter_or_behind_it():
    composed, behind = "Caf\u00e9", "Cafe\u0301"
    assert rule((composed,)).number({behind: "a"})[1] == {behind: 0}
    assert len(rule().number({behind: "a", composed: "b"})[0].names) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((("cat",), (), {"kitten": "cats"}), "makes 'kitten' a 'cats', which is not in CLASSES"),
        ((None, ("*",), {}), "IGNORE '.' drops what is not in CLASSES"),
        ((None, ("Kitten",), {"kitten": "cat"}), "both in CLASS_MAP and in IGNORE"),
        ((("cat", "CAT"), (), {}), "'cat' is listed twice, again as 'CAT'"),
        ((None, (), {"kitten": "cat", "Kitten": "dog"}), "CLASS_MAP names 'Kitten' twice"),
    ],
)
def test_settings_that_contradict_each_other(arguments, message):
    classes, ignore, class_map = arguments
    with pytest.raises(UserError, match=message):
        rule(classes, ignore, **class_map)


def test_no_class_at_all():
    with pytest.raises(UserError, match="no object in any image"):
        rule().number({})
