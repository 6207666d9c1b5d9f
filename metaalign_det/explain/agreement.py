"""Do the gradients of task and alignment agree? Measured offline, batch by batch.

With g = dA/dtheta and v = dL_task/dtheta over the backbone's stage groups m (and over all of them,
"backbone"), at theta and at theta - alpha g:

    cosine           <g_m, v_m> / (|g_m| |v_m|)
    inner            <g_m, v_m>
    change           |v(theta - alpha g) - v| / |v|: how much a lookahead of alpha changes
    task_rise        L_task(theta - alpha g) - L_task
    odd              |v(theta - alpha g) - v(theta + alpha g)| / 2 |v|: what the direction does
    even             |mean of v(theta - alpha g) and v(theta + alpha g), minus v| / |v|: what a look
                     either way does; both for an alpha that is given with both signs
    half_task        |H_task g|: MetaAlign's first-order term with the domain role
    half_alignment   |H_A v|: with the task role; their sum is the gradient of <g, v>
    curvature        g' H_task g / |g|^2: how curved the task is where alignment moves

For reference, the cosine of the *same* objective's gradients on two batches: what noise leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from ..data import build_adaptation_train_loader
from ..errors import UserError
from ..reports.statistics import t_interval
from .objectives import ALIGNMENT, TASK, BatchObjectives, Vector, dot, norm, trainable_stages
from .record import Progress, quietly
from .runs import RunFolder

#: The stage name that stands for all stage groups together.
WHOLE = "backbone"


@dataclass
class Agreement:
    """What was measured of one checkpoint: per batch, to be averaged.

    Args:
        label: of the run.
        iteration: iterations done at the checkpoint.
        stages: names of the stage groups, then :data:`WHOLE`.
        at_theta: stage -> quantity -> one value a batch.
        along: alpha -> stage -> quantity -> one value a batch.
    """

    label: str
    iteration: int
    stages: list[str]
    at_theta: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    along: dict[float, dict[str, dict[str, list[float]]]] = field(default_factory=dict)


def aligns(run: RunFolder) -> bool:
    """Whether a run has an alignment objective and the target data for it."""
    model = run.model()
    if not getattr(model, "aligns", False):
        return False
    return bool(run.cfg.DATASETS.TARGET) or not model.alignment_needs_target


def measure_agreement(
    run: RunFolder,
    iteration: int,
    checkpoint: Any,
    *,
    batches: int,
    alphas: Sequence[float],
    second_order: bool = True,
    seed: int = 0,
    progress: Progress = quietly,
) -> Agreement:
    """Gradients of a checkpoint on the first batches of its training data.

    Args:
        run: one with an alignment objective.
        iteration: iterations done at the checkpoint, for schedules inside the model.
        checkpoint: its path.
        batches: how many; the same ones for every run and checkpoint of one data set.
        alphas: lengths of the step along -g; negative ones go the other way.
        second_order: measure both halves and the curvature.
        seed: of the batches, their augmentation and all samples.
        progress: wraps the batches.

    Raises:
        UserError: no trainable backbone, or an operator without second derivatives.
    """
    model = run.model(checkpoint, trainable=True)
    loader = build_adaptation_train_loader(run.cfg, seed=seed)
    groups = _groups(model)
    result = Agreement(run.label, iteration, list(groups))
    before: tuple[Vector, Vector] | None = None
    drawn = progress(
        list(islice(iter(loader), batches)), f"{run.label}, iteration {iteration}: gradients"
    )
    for number, batch in enumerate(drawn):
        objectives = BatchObjectives(model, batch, seed + number, iteration)
        with objectives.open():
            before = _measure(result, objectives, groups, alphas, second_order, before)
    return result


def _measure(
    result: Agreement,
    objectives: Any,
    groups: Mapping[str, list[str]],
    alphas: Sequence[float],
    second_order: bool,
    before: tuple[Vector, Vector] | None,
) -> tuple[Vector, Vector]:
    v, loss = objectives.gradient(TASK)
    g, _ = objectives.gradient(ALIGNMENT)
    products: dict[str, Vector] = {}
    if second_order:
        products = {
            "half_task": objectives.hessian_vector(TASK, g),
            "half_alignment": objectives.hessian_vector(ALIGNMENT, v),
        }
    for stage, names in groups.items():
        found = _pair(g, v, names)
        found |= {"norm_alignment": norm(g, names), "norm_task": norm(v, names)}
        found |= {name: norm(product, names) for name, product in products.items()}
        if products:
            length = dot(g, g, names)
            curved = dot(g, products["half_task"], names)
            found["curvature"] = curved / length if length else float("nan")
        if before is not None:
            found["cosine_task_batches"] = _cosine(v, before[0], names)
            found["cosine_alignment_batches"] = _cosine(g, before[1], names)
        _append(result.at_theta, stage, found)
    there: dict[float, Vector] = {}
    for alpha in alphas:
        moved = {n: objectives.params[n] - alpha * g[n] for n in objectives.scope}
        v_there, loss_there = objectives.gradient(TASK, moved)
        g_there, _ = objectives.gradient(ALIGNMENT, moved)
        changed = {n: v_there[n] - v[n] for n in objectives.scope}
        there[alpha] = changed
        of_alpha = result.along.setdefault(alpha, {})
        for stage, names in groups.items():
            found = _pair(g_there, v_there, names)
            length = norm(v, names)
            found["change"] = norm(changed, names) / length if length else float("nan")
            if stage == WHOLE:
                found["task_rise"] = loss_there - loss
            _append(of_alpha, stage, found)
    for alpha in (a for a in there if a > 0 and -a in there):
        odd, even = ({n: (ahead + sign * there[-alpha][n]) / 2 for n, ahead in there[alpha].items()}
                     for sign in (-1, 1))  # fmt: skip
        for stage, names in groups.items():
            length = norm(v, names) or float("nan")
            parts = {"odd": norm(odd, names) / length, "even": norm(even, names) / length}
            _append(result.along[alpha], stage, parts)
    return v, g


#: Quantities that are above 0 by nature and vary by factors: their mean is the geometric one.
SIZES = ("norm_alignment", "norm_task", "half_task", "half_alignment", "change", "odd", "even")


def interval(values: Sequence[float], size: bool = False) -> dict[str, float]:
    """Mean over batches with its 95 % interval (Student's t); values not finite are left out.

    Args:
        values: one a batch.
        size: take the geometric mean of positive values, with the interval of their logarithms.

    Returns:
        dict: ``mean``, ``low``, ``high`` and ``batches``; the interval is NaN where
            :func:`.t_interval` knows none.
    """
    kept = np.array([x for x in values if np.isfinite(x) and (x > 0 or not size)])
    if not len(kept):
        return {"mean": np.nan, "low": np.nan, "high": np.nan, "batches": 0}
    kept = np.log(kept) if size else kept
    found = np.array([kept.mean(), *t_interval(kept)])
    mean, low, high = (np.exp(found) if size else found).tolist()
    return {"mean": mean, "low": low, "high": high, "batches": len(kept)}


def averages(measured: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, dict]]:
    """Stage -> quantity -> :func:`interval`."""
    return {
        stage: {name: interval(values, name in SIZES) for name, values in found.items()}
        for stage, found in measured.items()
    }


def _groups(model: Any) -> dict[str, list[str]]:
    groups = trainable_stages(model)
    if not groups:
        raise UserError("no parameter of the backbone is trainable: see MODEL.BACKBONE.FREEZE_AT")
    return {**groups, WHOLE: [n for names in groups.values() for n in names]}


def _pair(g: Vector, v: Vector, names: list[str]) -> dict[str, float]:
    return {"inner": dot(g, v, names), "cosine": _cosine(g, v, names)}


def _cosine(a: Vector, b: Vector, names: list[str]) -> float:
    lengths = norm(a, names) * norm(b, names)
    return dot(a, b, names) / lengths if lengths else float("nan")


def _append(into: dict, stage: str, found: Mapping[str, float]) -> None:
    for name, value in found.items():
        into.setdefault(stage, {}).setdefault(name, []).append(value)
