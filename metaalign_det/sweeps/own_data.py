"""The data sets that configs name, as a benchmark of one task: sweeps without ``--benchmark``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from ..config import load_cfg
from ..config_files import did_you_mean
from ..data import register_builtin
from ..errors import UserError
from ..modeling.model_kind import is_classifier
from .plan import methods_of
from .suites import ACCURACY, DETECTION_METRICS, Benchmark, Column, Task


def own_benchmark(
    configs: Sequence[str | Path], *, overrides: Sequence[str] = (), validation: str = ""
) -> Benchmark:
    """One task with the configs' own ``DATASETS.*``; a column for each name in ``DATASETS.TEST``.

    The task is named after source and target, ``photos→drawings``, of the first config that has a
    target. Training sets may differ between configs, as an oracle's do; the test sets may not.

    Args:
        configs: as for :func:`~.plan.plan_runs`.
        overrides: ``KEY VALUE`` pairs for all runs.
        validation: data set to choose settings by. One that is not in ``DATASETS.TEST`` is
            evaluated beside it and stands in no column.

    Raises:
        UserError: no test set, others in one config than in another, a name that a config does not
            register or that means other data in another config, data without labels, a validation
            set that is the only test, a model that is not registered.
    """
    cfgs = {path: load_cfg(path, overrides) for path in methods_of(configs).values()}
    tests = _tests(cfgs)
    if validation and tests == (validation,):
        raise UserError(
            f"--val {validation} is all that DATASETS.TEST names: a choice by it would be reported "
            "on the labels it was made with. Name another test set, or choose without labels "
            "(--select-by ensv)"
        )
    shown = dict.fromkeys((*tests, *([validation] if validation else [])))
    _check_same_data(cfgs, list(shown))
    first = next(iter(cfgs.values()))
    named = next((cfg for cfg in cfgs.values() if cfg.DATASETS.TARGET), first)
    label = "→".join("+".join(x) for x in (named.DATASETS.TRAIN, named.DATASETS.TARGET) if x)
    beside = validation if validation not in tests else ""
    return Benchmark(
        name=label,
        title=label,
        tasks=(Task(label, validation=(beside,) if beside else (), folder=""),),
        columns=tuple(Column(name, label, name) for name in tests),
        metrics=(ACCURACY,) if is_classifier(first) else DETECTION_METRICS,
        validation="" if beside else validation,
        validation_columns=(Column(beside, label, beside),) if beside else (),
    )


def _tests(cfgs: Mapping[Path, CfgNode]) -> tuple[str, ...]:
    found = {path: tuple(cfg.DATASETS.TEST) for path, cfg in cfgs.items()}
    for path, tests in found.items():
        if not tests:
            raise UserError(f"{path}: DATASETS.TEST is empty, so a sweep has nothing to report")
    (path, tests), *others = found.items()
    for other, names in others:
        if set(names) != set(tests):
            raise UserError(
                f"DATASETS.TEST is {tests} in {path} and {names} in {other}, and one table "
                "compares both: put the same into the configs, or once for all runs after --"
            )
    return tests


def _check_same_data(cfgs: Mapping[Path, CfgNode], names: Sequence[str]) -> None:
    """Each config knows what is scored, and means the same by it: its runs are processes."""
    register_builtin()
    first = next(iter(cfgs))
    for name in names:
        meant = {path: _entries(cfg, name) for path, cfg in cfgs.items()}
        for path, entries in meant.items():
            if not entries and name not in DatasetCatalog:
                known = [str(entry.get("NAME")) for entry in _register(cfgs[path])]
                raise UserError(
                    f"{path}: neither the package nor DATASETS.REGISTER has a data set {name!r}"
                    f"{did_you_mean(name, [*known, *DatasetCatalog.list()])}"
                )
            if any(entry.get("FORMAT") == "images" for entry in entries):
                raise UserError(
                    f"{path}: {name!r} has no labels (FORMAT: images) and cannot be scored; it can "
                    "be a target"
                )
            if entries != meant[first]:
                raise UserError(
                    f"{name!r} in DATASETS.REGISTER is not the same in {path} as in {first}, and "
                    "one table compares both"
                )


def _entries(cfg: CfgNode, name: str) -> list[Mapping]:
    return [entry for entry in _register(cfg) if entry.get("NAME") == name]


def _register(cfg: CfgNode) -> list[Mapping]:
    """The entries that are mappings; what else is there is refused where it is registered."""
    entries = cfg.DATASETS.REGISTER
    return [e for e in entries if isinstance(e, Mapping)] if isinstance(entries, list) else []
