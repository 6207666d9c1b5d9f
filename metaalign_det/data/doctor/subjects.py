"""The data sets that are inspected: those of a config, or named one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from ...errors import BadImageError, UserError
from ..catalog.classes import declared_classes
from ..catalog.domains import (
    domain_kind,
    load_labelled,
    load_unlabelled,
    source_domains,
)
from ..catalog.reading import left_out, read_data_set
from ..formats.problems import collected
from ..loader.bad_images import BadImages
from .inspection import Subject

_GO_ON = (
    "To train without such images, say DATALOADER.ON_BAD_IMAGE skip; metaalign-det check-data "
    "names them all"
)


def data_set_names(cfg: CfgNode, train: bool = True, test: bool = True) -> list[str]:
    """All names in ``DATASETS`` that a run will use.

    Raises:
        UserError: there is none.
    """
    names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TARGET] if train else []
    names += cfg.DATASETS.TEST if test else []
    if not names:
        keys = " and ".join(["DATASETS.TRAIN"] * train + ["DATASETS.TEST"] * test)
        raise UserError(f"{keys} name no data set")
    return names


def subjects_of_config(
    cfg: CfgNode, *, train: bool = True, test: bool = True, strict: bool = True
) -> list[Subject]:
    """The data sets of a run in their roles, read as the run reads them.

    Args:
        cfg: names in ``DATASETS``.
        train: source and target.
        test: test sets.
        strict: the first wrong image or annotation is an error. False collects them all in
            ``Subject.problems``, and has no images where nothing can be read.

    Raises:
        UserError: data that cannot be read, or names that do not go together.
    """
    kind = domain_kind(data_set_names(cfg, train, test))
    BadImages.from_config(cfg)  # an illegal policy is an error before anything is read
    roles: list[tuple[str, str, Callable[..., list[dict]]]] = []
    if train:
        for number, names in enumerate(source_domains(cfg)):
            roles += [(f"source {number}", name, load_labelled) for name in names]
        roles += [("target", name, load_unlabelled) for name in cfg.DATASETS.TARGET]
    if test:
        roles += [("test", name, load_labelled) for name in cfg.DATASETS.TEST]
    return [
        _read(role, name, kind, load, strict, bad=None if role == "test" else left_out(cfg))
        for role, name, load in roles
    ]


def subjects_of_names(names: Sequence[str]) -> list[Subject]:
    """Registered data sets by themselves, with their labels where they have any.

    Raises:
        UserError: an unknown name.
    """
    return [
        _read("data", name, domain_kind([name]), _load_as_registered, strict=False)
        for name in names
    ]


def _load_as_registered(name: str) -> list[dict]:
    labels = MetadataCatalog.get(name).get("labelled", True)
    return read_data_set(name, labels=bool(labels))


def _read(
    role: str,
    name: str,
    kind: str,
    load: Callable[..., list[dict]],
    strict: bool,
    bad: list[BadImageError] | None = None,
) -> Subject:
    failure: UserError | None = None
    if strict:
        try:
            dicts, problems = load(name, bad=bad), []
        except UserError as error:
            image = isinstance(error, BadImageError) or isinstance(error.__cause__, BadImageError)
            if image and role != "test":
                raise UserError(f"{error}. {_GO_ON}") from error
            raise
    else:
        with collected() as problems:
            try:
                dicts = load(name)
            except BadImageError as error:
                dicts = []
                problems.append(error)
            except UserError as error:
                dicts, failure = [], error
    return Subject(role, name, kind, dicts, declared_classes(name), tuple(problems), failure)
