"""Which runs a sweep consists of.

A run's folder carries a hash of everything that determines its result, so that a changed config
or override is another run, and nothing of the old one is mixed in or lost.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from ..config import load_cfg, merge_opts
from ..engine.resume_settings import CHANGES_NOTHING
from ..errors import UserError
from .label_free import selection_overrides
from .runs import Run
from .suites import Benchmark, Task

logger = logging.getLogger(__name__)

# Of the keys that change nothing learned, those that a result depends on all the same: where a run
# starts, on what machine, and what is scored. CACHE_MB is none of them, but stands in the configs
# of the embedded sets: left out, it would rename the folders of all that they ever trained.
_COUNTS = re.compile(
    r"MODEL\.(WEIGHTS|DEVICE)|CUDNN_BENCHMARK|DATASETS\.TEST|TEST\..*|INPUT\.\w+_TEST|"
    r"INPUT\.CLASSIFICATION\.CACHE_MB"
)

#: Keys that the sweep sets in every run.
SET_BY_SWEEP = ("OUTPUT_DIR", "SEED")

#: Variants of one method: name -> KEY VALUE pairs on top of its config.
Variants = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Pretraining:
    """What all runs start from: trained once, or once per seed, before them.

    Args:
        config: config file of the first stage.
        per_seed: one for each seed of the sweep; else one, with the seed of its config.
        overrides: ``KEY VALUE`` pairs on top of it.
    """

    config: Path
    per_seed: bool = False
    overrides: tuple[str, ...] = ()


def plan_runs(
    benchmark: Benchmark,
    configs: Sequence[str | Path],
    seeds: Sequence[int],
    output: str | Path,
    *,
    overrides: Sequence[str] = (),
    variants: Mapping[str, Variants] | None = None,
    pretraining: Pretraining | None = None,
    processes: int = 1,
    select_by: str | None = None,
) -> list[Run]:
    """All runs of a sweep, those of the first seed first; pretraining is reached through them.

    Args:
        benchmark: its tasks are run.
        configs: one file per method; ``Base*.yaml`` are left out.
        seeds: of the runs.
        output: folder of the sweep.
        overrides: ``KEY VALUE`` pairs for all runs.
        variants: method, or a pattern of methods (``*_meta``) -> variants of these; "" for those
            of every method that no other name fits.
        pretraining: see there.
        processes: of every run, by which ``SOLVER.REFERENCE_WORLD_SIZE`` scales its settings.
        select_by: label-free validator by which the runs of methods with several variants score
            themselves, without target images on those of the task, or of the first config that has
            any; the runs of other methods are left as they are.

    Raises:
        UserError: a config or key that does not exist, the same name or seed twice, a variant of
            a method that is not there, a validator that is not there or sees no target images.
    """
    methods = methods_of(configs)
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UserError(f"--seeds: different numbers from 0 are wanted, not {list(seeds)}")
    given = _by_method(list(methods), variants or {})
    configured = {method: load_cfg(config) for method, config in methods.items()}
    others_target = next((c.DATASETS.TARGET for c in configured.values() if c.DATASETS.TARGET), ())
    first = None if pretraining is None else load_cfg(pretraining.config)
    runs = []
    for seed in seeds:
        for method, cfg in configured.items():
            for variant, extra in given[method].items():
                for task in benchmark.tasks:
                    pairs = (*overrides, *extra)
                    if select_by and len(given[method]) > 1:
                        target = task.target or others_target
                        without = _merged(methods[method], cfg, pairs)
                        pairs = (*selection_overrides(select_by, method, target, without), *pairs)
                    pretrain = None
                    if pretraining is not None:
                        place = Path(output)
                        pretrain = _plan_pretraining(
                            pretraining, first, task, seed, place, processes
                        )
                    run = _make_run(
                        Path(output) / method / variant,
                        (method, variant, task, seed),
                        (methods[method], cfg, pairs),
                        pretrain,
                        processes,
                    )
                    runs.append(run)
    return runs


def _by_method(methods: Sequence[str], variants: Mapping[str, Variants]) -> dict[str, Variants]:
    """The variants of each method; without any, one of no name.

    Raises:
        UserError: a name that fits no method, or two variants of one method and one name.
    """
    found: dict[str, dict[str, Sequence[str]]] = {method: {} for method in methods}
    for pattern, named in variants.items():
        fitting = [m for m in methods if fnmatchcase(m, pattern)]
        if pattern and not fitting:
            raise UserError(
                f"--variant: {pattern} is no method of this sweep; its methods are named after the "
                f"files in --configs: {', '.join(methods)}"
            )
        for method in fitting:
            if twice := found[method].keys() & named.keys():
                raise UserError(f"--variant: {method} has {', '.join(sorted(twice))} twice")
            found[method].update(named)
    general = variants.get("", {"": ()})
    return {method: own or general for method, own in found.items()}


def with_a_choice(runs: Sequence[Run]) -> list[Run]:
    """Those of methods that have several variants; a method of one is not chosen among."""
    several = {
        method
        for method in {run.method for run in runs}
        if len({run.variant for run in runs if run.method == method}) > 1
    }
    return [run for run in runs if run.method in several]


def methods_of(configs: Sequence[str | Path]) -> dict[str, Path]:
    """The methods that config files stand for, name of the file -> file, without ``Base*.yaml``.

    Raises:
        UserError: two files of one name, or none.
    """
    methods: dict[str, Path] = {}
    for config in map(Path, configs):
        if re.match(r"Base($|[-_.])", config.stem):  # as in configs/office_home/*.yaml
            logger.info("%s is what other configs build on, not a method: left out", config)
            continue
        if config.stem in methods:
            raise UserError(
                f"--configs: {methods[config.stem]} and {config} would be two rows of the name "
                f"{config.stem!r}; rename one, or run them into two folders"
            )
        methods[config.stem] = config
    if not methods:
        raise UserError("--configs: no method is left to run")
    return methods


def _plan_pretraining(
    plan: Pretraining, base: CfgNode, task: Task, seed: int, output: Path, processes: int
) -> Run:
    # The labelled data alone: the same source is trained once for all its targets.
    source = Task("→".join(task.train) or "source", train=task.train)
    own = _merged(plan.config, base, plan.overrides).SEED
    seed = seed if plan.per_seed or own < 0 else own
    return _make_run(
        output / "pretraining" / plan.config.stem,
        ("pretraining", "", source, seed),
        (plan.config, base, plan.overrides),
        None,
        processes,
        keeps_weights=True,
    )


def _make_run(
    folder: Path,
    names: tuple[str, str, Task, int],
    settings: tuple[Path, CfgNode, Sequence[str]],
    pretrain: Run | None,
    processes: int,
    keeps_weights: bool = False,
) -> Run:
    """One run of (method, variant, task, seed), with (config file, what it says, overrides)."""
    method, variant, task, seed = names
    config, base, overrides = settings
    if taken := [key for key in overrides[::2] if key in SET_BY_SWEEP]:
        raise UserError(f"{', '.join(taken)} cannot be overridden: the sweep sets it in each run")
    overrides = (*task.overrides(base), *overrides)
    cfg = _merged(config, base, overrides)
    if beside := [name for name in task.validation if name not in cfg.DATASETS.TEST]:
        overrides = (*overrides, "DATASETS.TEST", repr((*cfg.DATASETS.TEST, *beside)))
        cfg = _merged(config, base, overrides)
    if cfg.SOLVER.REFERENCE_WORLD_SIZE not in (0, processes):
        from ..engine.scaling import scale_to_processes  # as the training will

        cfg = scale_to_processes(cfg, processes, quiet=True)
    decisive = {k: v for k, v in changed_settings(cfg).items() if not _has_no_effect(k)}
    decisive["SEED"] = seed
    if pretrain is not None:
        decisive["MODEL.WEIGHTS"] = f"pretraining {pretrain.identity}"
    text = json.dumps(decisive, sort_keys=True, default=str)
    identity = hashlib.sha256(text.encode()).hexdigest()[:10]
    return Run(
        method,
        variant,
        task,
        seed,
        config,
        tuple(overrides),
        folder / task.slug / f"seed{seed}-{identity}",
        identity,
        cfg.SOLVER.MAX_ITER,
        tuple(cfg.DATASETS.TEST),
        pretrain,
        keeps_weights,
    )


def _merged(config: Path, base: CfgNode, overrides: Sequence[str]) -> CfgNode:
    cfg = base.clone()
    merge_opts(cfg, overrides, f"config {config}")
    return cfg


def _has_no_effect(key: str) -> bool:
    """Whether a key changes no result, so that changing it continues a run and repeats none.

    What ``SOLVER.REFERENCE_WORLD_SIZE`` scales counts by its own key.
    """
    return bool(CHANGES_NOTHING.fullmatch(key)) and not _COUNTS.fullmatch(key)


def changed_settings(cfg: CfgNode) -> dict[str, Any]:
    """The keys, dotted, whose values are not the defaults.

    Only these, so that a key that a later version adds does not make every old result another
    run's.
    """
    defaults = dict(_flat(load_cfg()))
    return {key: value for key, value in _flat(cfg) if defaults.get(key) != value}


def _flat(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, list(value) if isinstance(value, tuple) else value
