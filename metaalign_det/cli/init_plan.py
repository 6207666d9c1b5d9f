"""What a config for two folders should say of the data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog

from ..config import load_cfg
from ..data.catalog.classes import INTERSECTION, agree, declared_classes
from ..data.catalog.domains import load_labelled, load_unlabelled
from ..data.catalog.register import register_from_config
from ..data.doctor.found_data import ALL, TEST, TRAIN, VAL, FoundData
from ..data.formats.class_names import OTHERS, ClassIndex, normalise, shorten
from ..data.formats.image_files import class_folders
from ..data.formats.yolo import has_label_files
from ..errors import BadImageError, UserError


@dataclass
class DataPlan:
    """The data sets of a run.

    Attributes:
        kind: "detection" or "classification".
        train, target, test: names; ``test`` may be empty.
        register: entries of ``DATASETS.REGISTER``.
        classes: names in the order of the model's outputs.
        shared: the two have other classes too; those they share are used.
        images: number of images by name.
        boxes (ndarray): width and height of every labelled box of the source, and of its image,
            shape (n, 4), pixels.
        unreadable: images to train on that cannot be read, and are left out.
        remarks: what the user should know about a choice, by the key it is about.
        folders: where the images of a data set are, by its name.
    """

    kind: str
    train: str = ""
    target: str = ""
    test: list[str] = field(default_factory=list)
    register: list[dict[str, Any]] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    shared: bool = False
    images: dict[str, int] = field(default_factory=dict)
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    unreadable: list[BadImageError] = field(default_factory=list)
    remarks: dict[str, str] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)

    def add(self, found: FoundData, split: str) -> str:
        """Add a split to what is registered; its name, which no other data set has."""
        name = re.sub(r"\W+", "_", found.root.name.lower()).strip("_") or "data"
        if "FOGGY_BETA" in found.splits[split]:
            name += "_foggy"
        if split != ALL:
            name = f"{name}_{re.sub(r'[^a-z0-9]+', '_', split.lower())}"
        while name in DatasetCatalog or any(e["NAME"] == name for e in self.register):
            name += "_"
        self.register.append(found.entry(split, name))
        self.folders[name] = found.root
        return name

    def is_train(self, found: FoundData, split: str) -> bool:
        """Whether a split is the one that is trained on."""
        return {**found.entry(split, self.train)} == self.register[0]

    def is_scored(self, found: FoundData, split: str) -> bool:
        """Whether a split is among those that are scored already."""
        return any(found.entry(split, name) in self.register for name in self.test)


def plan_data(
    source: FoundData,
    target: FoundData,
    test: FoundData | None = None,
    class_map: Mapping[str, str] | None = None,
) -> DataPlan:
    """Choose splits and classes; reads the data.

    Training uses the train split of each, or all there is. Scores come from ``test`` (its test or
    validation split, or all of it) where it is given; else from a test or validation split of the
    target if it has labels; if it has labels and no such split, from all of it; from the source's
    as well. The classes are those of the source's training images; where the target's
    labels have others, those that both have; where they have none of them, the target counts as
    unlabelled. ``class_map`` renames and merges them before that,
    name in the labels -> class, in every data set.

    Raises:
        UserError: a source or a test without labels, several splits of which none is called train
            (of ``test``: test), data that cannot be read, no class in common; ``class_map`` names
            what is no class.
    """
    if source.kind == "images" or not any(map(_is_labelled, _entries(source))):
        raise UserError(
            f"{source.root}: {source.why}. The source must be labelled: VOC, COCO, YOLO, "
            "Cityscapes, KITTI, or a folder per class. Are source and target exchanged?"
        )
    plan = DataPlan(source.kind)
    plan.train = plan.add(source, source.choose(*TRAIN))
    scored = None
    class_map = dict(class_map or {})
    if _usable_labels(source, target, class_map):
        split = target.choose(*TRAIN)
        plan.target = plan.add(target, split)
        labelled = _labelled(target)
        if split in labelled.splits:
            plan.remarks["TARGET"] = "its labels are not read in training"
        else:
            plan.register[-1]["LABELLED"] = False
        if test is None:
            held_out = labelled.split(*TEST, *VAL)
            if held_out not in (None, split):
                scored = plan.add(target, held_out)
            elif split in labelled.splits:
                scored = plan.target
                plan.remarks["TEST"] = "the images adapted to: keep some apart to score what is new"
    else:
        # Anything below the folder, whatever it is sorted into.
        place = {ALL: {"ROOT": str(target.images or target.root)}}
        plan.target = plan.add(FoundData(target.root, "images", place, target.why), ALL)
        if target.kind not in ("images", source.kind):
            plan.remarks["TARGET"] = f"its labels, for {target.kind}, are of no use here"
    if test is not None:
        if test.kind != source.kind:
            raise UserError(
                f"--test {test.root}: labels of the source's kind are wanted: {test.why}"
            )
        labelled = _labelled(test)
        scored = plan.add(test, (labelled if labelled.splits else test).choose(*TEST, *VAL))
    plan.test += [scored] if scored else []
    split = _labelled(source).split(*TEST, *VAL)
    if split is not None and not (plan.is_train(source, split) or plan.is_scored(source, split)):
        plan.test.append(plan.add(source, split))
    if class_map:
        _check_map(plan, class_map)
        for entry in plan.register:
            if _is_labelled(entry):
                entry["CLASS_MAP"] = class_map
    _read(plan, scored, given=test is not None)
    return plan


def _check_map(plan: DataPlan, class_map: Mapping[str, str]) -> None:
    """Every name in the map must be one in the labels, which a misspelt one is not."""
    probes = _register(plan, "in its own names")
    names: list[str] = []
    for entry in plan.register:
        if not _is_labelled(entry):
            continue
        name = probes[entry["NAME"]]
        try:
            load_labelled(name, bad=[])
        except UserError:  # it may be what the map is there for; if not, it is raised again
            return
        names += declared_classes(name) or ()
    index = ClassIndex(list({normalise(n): n for n in names}.values()))
    for name in class_map:
        if index.find(name) is None:
            raise UserError(
                f"--class-map: there is no {name!r} in the labels; {index.describe(name)}"
            )


def _register(plan: DataPlan, suffix: str) -> dict[str, str]:
    """Register what the plan has so far, for a look at it; its names -> those it is under."""
    probes = {entry["NAME"]: f"{entry['NAME']} {suffix}" for entry in plan.register}
    cfg = load_cfg()
    cfg.DATASETS.REGISTER = [{**e, "NAME": probes[e["NAME"]]} for e in plan.register]
    register_from_config(cfg)
    return probes


def _read(plan: DataPlan, scored: str | None, given: bool) -> None:
    """Count images, look at boxes, find the classes; they are written into ``plan.register``.

    ``scored`` is what the target is scored on, by a user who ``given`` it or because it has labels.
    """
    probes = _register(plan, "as found")
    labelled = {plan.train: load_labelled(probes[plan.train], bad=plan.unreadable)}
    labelled |= {name: load_labelled(probes[name]) for name in plan.test}
    lists = {name: declared_classes(probes[name]) or () for name in (plan.train, scored) if name}
    if why := _of_no_use(plan, scored, given, labelled, lists):
        plan.test.remove(scored)
        plan.remarks.pop("TEST", None)
        plan.remarks["TARGET"] = why
        del labelled[scored], lists[scored]
        if scored != plan.target:
            plan.register = [e for e in plan.register if e["NAME"] != scored]
        scored = None
    plan.images = {name: len(dicts) for name, dicts in labelled.items()}
    targets = labelled.get(plan.target)
    if targets is None:
        targets = load_unlabelled(probes[plan.target], bad=plan.unreadable)
        plan.images[plan.target] = len(targets)
    if scored and given:
        adapted = {d["file_name"] for d in targets}
        both = sum(d["file_name"] in adapted for d in labelled[scored])
        if both:
            plan.remarks["TEST"] = f"{both} of --test are adapted to: keep some apart"
    try:
        plan.classes = agree(lists, None) or ()
    except UserError:
        plan.classes = agree(lists, INTERSECTION) or ()
        plan.shared = True
        plan.remarks["CLASSES"] = _left_out(lists, plan.classes)
        if plan.kind == "classification" and len(plan.classes) < 2:
            raise UserError(
                f"{' and '.join(lists)} have one class in common, {plan.classes[0]}, and a "
                f"classifier needs two; the others are {plan.remarks['CLASSES']}. Are some spelled "
                "differently? --class-map NAME=CLASS renames"
            ) from None
    plan.boxes = np.array(
        [
            (a["bbox"][2] - a["bbox"][0], a["bbox"][3] - a["bbox"][1], d["width"], d["height"])
            for d in labelled[plan.train]
            for a in d.get("annotations", ())
        ]
    ).reshape(-1, 4)
    _note_images_without_xml(plan, probes)
    if plan.kind == "detection" and not len(plan.boxes):
        raise UserError(f"{plan.train}: no image has a box: there is nothing to learn")
    for entry in plan.register:
        if not _is_labelled(entry):
            continue
        entry["CLASSES"] = list(plan.classes)
        if plan.shared or entry["NAME"] != plan.train:
            entry["IGNORE"] = [OTHERS]
        _drop_unused(entry, plan.classes)
        if entry["FORMAT"] == "folder" and entry["NAME"] != plan.train:
            entry["REQUIRE_ALL"] = False


def _of_no_use(
    plan: DataPlan,
    scored: str | None,
    given: bool,
    labelled: Mapping[str, Sequence[dict]],
    lists: Mapping[str, Sequence[str]],
) -> str:
    """Why the target's labels cannot be scored on; "" if they can.

    Raises:
        UserError: the user has ``given`` them, and they share no class with the source.
    """
    if scored is None:
        return ""
    if not given and not any(d.get("annotations", True) for d in labelled[scored]):
        return "it has labels, but no object in them"  # tools write them before anybody has
    first, second = lists[plan.train], lists[scored]
    if not set(map(normalise, first)).isdisjoint(map(normalise, second)):
        return ""
    source, target = plan.folders[plan.train], plan.folders[scored]
    what = (
        f"no class of {source} ({shorten(first)}) is one of {target} ({shorten(second)}). If one "
        "goes by two names, --class-map NAME=CLASS renames it"
    )
    if given:
        raise UserError(f"--test {target}: {what}; else leave --test out, or give other images")
    plan.remarks["SCORES"] = f"its labels are not used, not even for scores: {what}"
    entry = next(e for e in plan.register if e["NAME"] == plan.target)
    entry["LABELLED"] = False
    entry.pop("CLASS_MAP", None)
    return "no label is read: none is of the source's classes"


def _left_out(lists: Mapping[str, Sequence[str]], classes: Sequence[str]) -> str:
    """Which classes of which data set are none of those that are used."""
    index = ClassIndex(classes)
    others = {name: [c for c in theirs if index.find(c) is None] for name, theirs in lists.items()}
    return "; ".join(f"{shorten(of)} of {name}" for name, of in others.items() if of)


def _drop_unused(entry: dict[str, Any], classes: Sequence[str]) -> None:
    """Take out of its CLASS_MAP what becomes none of the classes: IGNORE drops those objects."""
    index = ClassIndex(classes)
    used = {
        name: becomes
        for name, becomes in entry.pop("CLASS_MAP", {}).items()
        if index.find(becomes) is not None or index.find(name) is not None
    }
    if used:
        entry["CLASS_MAP"] = used


def _note_images_without_xml(plan: DataPlan, probes: dict[str, str]) -> None:
    """Of a VOC tree without lists: they may show no object, or nobody has labelled them."""
    entry = plan.register[0]
    if entry["FORMAT"] != "voc" or entry["SPLIT"] is not None:
        return
    without = len(load_unlabelled(probes[plan.train], bad=[])) - plan.images[plan.train]
    if without > 0:
        entry["NEGATIVES"] = False
        plan.remarks["NEGATIVES"] = (
            f"{without} images have no XML and are left out; true: they show no object"
        )


def _entries(found: FoundData) -> list[dict[str, Any]]:
    return [found.entry(split, "") for split in found.splits]


def _is_labelled(entry: Mapping[str, Any]) -> bool:
    return entry["FORMAT"] != "images" and entry.get("LABELLED") is not False


def _labelled(found: FoundData) -> FoundData:
    """The same without the splits that have no labels, as of a YOLO target they need not."""
    entries = {split: found.entry(split, "") for split in found.splits}
    return replace(found, splits={s: found.splits[s] for s, e in entries.items() if _has_labels(e)})


def _has_labels(entry: Mapping[str, Any]) -> bool:
    if entry["FORMAT"] != "yolo":
        return _is_labelled(entry)
    root = Path(entry["ROOT"])
    return has_label_files(root / entry.get("DATA_YAML", "data.yaml"), root, entry["SPLIT"])


def _usable_labels(source: FoundData, target: FoundData, class_map: Mapping[str, str]) -> bool:
    """Whether the target has labels of the source's kind, which scores can be taken on."""
    if target.kind != source.kind:
        return False
    if target.kind == "detection":
        return bool(_labelled(target).splits)
    # Folders need not be classes: scans are sorted by box, photographs by day.
    becomes = {normalise(name): new for name, new in class_map.items()}
    first, second = (
        {
            normalise(becomes.get(normalise(name), name))
            for entry in found.splits.values()
            for name in class_folders(Path(entry["ROOT"]))
        }
        for found in (source, target)
    )
    return bool(first & second)
