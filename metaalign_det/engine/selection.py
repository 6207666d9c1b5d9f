"""Choosing a checkpoint while training, without target labels, and keeping three apart.

``last`` is where training ended; ``selected`` the candidate that a label-free validator prefers;
``oracle`` the best on target labels, an upper bound that nobody without labels can have.
Detectron2's ``BestCheckpointer`` keeps the latter two.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.engine.hooks import BestCheckpointer, EvalHook
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm

from ..errors import UserError
from ..evaluation.label_free import Inputs
from ..evaluation.label_free.collect import check_model
from ..evaluation.label_free.ensemble import ENSV
from ..evaluation.label_free.outcome import PREDICTIONS_FILE, Candidate, Chosen, Outcome
from ..reports.metrics import by_dataset
from .durable_checkpointer import DurableCheckpointer
from .ending import has_ended
from .selection_committee import Committee
from .selection_inputs import SelectionData

logger = logging.getLogger(__name__)

SELECTED, ORACLE = "model_selected", "model_oracle"
_FINAL = "model_final"
#: What an oracle goes by if nothing is said, the first that its data set has.
_ORACLE_METRICS = ("voc/AP50_11pt", "bbox/AP50", "classification/accuracy")


def with_selection(
    hooks: list[HookBase], cfg: CfgNode, checkpointer: DurableCheckpointer
) -> list[HookBase]:
    """The hooks with a :class:`SelectionHook` behind the evaluation, if ``SELECTION.ENABLED``."""
    if not cfg.SELECTION.ENABLED:
        return hooks
    place = next(i for i, h in enumerate(hooks) if isinstance(h, EvalHook)) + 1
    return [*hooks[:place], SelectionHook(cfg, checkpointer), *hooks[place:]]


class SelectionHook(HookBase):
    """Scores the model by label-free validators whenever it is evaluated, and keeps the best.

    Logs ``selection/<validator>``, writes ``selection.json`` (see
    :mod:`~metaalign_det.evaluation.label_free.outcome`), and through ``BestCheckpointer`` the
    weights, without the optimiser, to ``model_selected.pth`` and ``model_oracle.pth``. To be
    registered right behind Detectron2's ``EvalHook``, in all processes.

    Training does not see it: the model's modes, its weights and all random numbers are afterwards
    as they were. What it knows is in the checkpoint, so that a resumed run selects as an
    uninterrupted one does.

    A validator that compares candidates (EnsV, any that needs the ensemble) compares those so far:
    the ensemble grows, all scores are computed anew, and the newest is kept if it beats the one
    that was kept. An earlier one that was dropped cannot come back, since its weights are gone.

    Args:
        cfg: ``SELECTION``, ``TEST.EVAL_PERIOD`` and the data sets are used.
        checkpointer: of the trainer; what is kept is saved as it saves.

    Raises:
        UserError: the config asks for what cannot be, or for what the model does not give.
    """

    def __init__(self, cfg: CfgNode, checkpointer: DurableCheckpointer) -> None:
        self.cfg = cfg
        self._checkpointer = checkpointer
        self.data = SelectionData(cfg)
        check_model(checkpointer.model, self.data.task, self.data.needs)
        self.chooser = self.data.chooser
        self._tests = tuple(cfg.DATASETS.TEST)
        self._oracle = cfg.SELECTION.ORACLE
        if self._oracle and self._oracle not in self._tests:
            raise UserError(
                f"SELECTION.ORACLE: {self._oracle!r} is none of DATASETS.TEST "
                f"({', '.join(self._tests) or 'empty'}): the oracle knows its scores from there"
            )
        self._judged: set[int] = set()  # iterations; known to all processes, unlike the rest
        self._candidates: list[Candidate] = []
        self._comparing = [v for v in self.data.validators if "ensemble" in v.needs]
        self._committee = Committee(classes_alone=all(v is ENSV for v in self._comparing))
        keeper = _weights_only(checkpointer)
        period = cfg.TEST.EVAL_PERIOD
        mode = "max" if self.chooser.higher_is_better else "min"
        metric = f"selection/{self.chooser.name}"
        self._keepers = {SELECTED: BestCheckpointer(period, keeper, metric, mode, SELECTED)}
        if self._oracle:
            self._keepers[ORACLE] = BestCheckpointer(
                period, keeper, "selection/oracle", "max", ORACLE
            )
        if period <= 0:
            logger.info("SELECTION: TEST.EVAL_PERIOD is 0, so the end is the only candidate")

    def before_train(self) -> None:
        for name, keeper in self._keepers.items():
            keeper.trainer = self.trainer
            if keeper.best_iter is not None and not self._is_there(name, keeper.best_iter):
                # The run had gone on behind the checkpoint that it now continues from.
                logger.info(
                    "%s.pth is not the one of iteration %d: forgotten", name, keeper.best_iter
                )
                keeper.best_metric = keeper.best_iter = None

    def after_step(self) -> None:
        # EvalHook's conditions.
        period, done = self.cfg.TEST.EVAL_PERIOD, self.trainer.iter + 1
        if period > 0 and done % period == 0 and done != self.trainer.max_iter:
            self._judge("after_step")

    def after_train(self) -> None:
        if has_ended(self.trainer):
            self._judge("after_train")

    def state_dict(self) -> dict[str, Any]:
        """Candidates, what was kept of them, and the ensemble: plain data."""
        return {
            "candidates": [
                {"iteration": c.iteration, "scores": dict(c.scores), "metrics": dict(c.metrics)}
                for c in self._candidates
            ],
            "kept": {n: (k.best_metric, k.best_iter) for n, k in self._keepers.items()},
            "committee": self._committee.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._candidates = [Candidate(**c) for c in state["candidates"]]
        self._judged = {c.iteration for c in self._candidates}
        self._committee.load_state_dict(state["committee"])
        for name, (value, iteration) in state["kept"].items():
            if name in self._keepers:
                self._keepers[name].best_metric = value
                self._keepers[name].best_iter = iteration

    # ---- one evaluation ------------------------------------------------------------------------

    def _judge(self, moment: str) -> None:
        iteration = self.trainer.storage.iter
        if iteration in self._judged:
            return  # a resumed run may come by again
        self._judged.add(iteration)
        inputs = self.data.collect(self.trainer.model)
        if inputs is not None:
            scores = self._scores(inputs, iteration)
            metrics = self._metrics()
            self._candidates.append(Candidate(iteration, scores, metrics))
            self._rescore()
            for name, value in self._candidates[-1].scores.items():
                self._put(f"selection/{name}", value)
            if self._oracle:
                self._put("selection/oracle", self._oracle_score(metrics))
            for keeper in self._keepers.values():
                getattr(keeper, moment)()
            self._outcome(final=moment == "after_train").write(self.cfg.OUTPUT_DIR)
            self._write_predictions()
        comm.synchronize()

    def _scores(self, inputs: Inputs, iteration: int) -> dict[str, float]:
        if self._comparing:
            self._committee.add(iteration, inputs.target.probabilities)
            inputs = inputs.with_ensemble(self._committee.mean)
        return {v.name: v(inputs) for v in self.data.validators}

    def _rescore(self) -> None:
        """Under a grown ensemble every earlier candidate has another score."""
        keeper = self._keepers[SELECTED]
        for validator in self._comparing:
            scores = self._committee.scores(validator)
            self._candidates = [
                Candidate(c.iteration, {**c.scores, validator.name: scores[c.iteration]}, c.metrics)
                for c in self._candidates
            ]
            if validator is self.chooser and keeper.best_iter is not None:
                keeper.best_metric = scores[keeper.best_iter]
                if not math.isfinite(keeper.best_metric):  # nothing would be better than NaN
                    keeper.best_metric = keeper.best_iter = None

    def _metrics(self) -> dict[str, dict[str, float]]:
        """The evaluation of this iteration; a teacher's scores as ``teacher/<metric>``."""
        results = getattr(self.trainer, "_last_eval_results", None) or {}
        found = by_dataset(flatten_results_dict(results), self._tests)
        return {name: {k: float(v) for k, v in scores.items()} for name, scores in found.items()}

    def _oracle_metric(self, metrics: Mapping[str, Mapping[str, float]]) -> str:
        found = metrics.get(self._oracle, {})
        wanted = self.cfg.SELECTION.ORACLE_METRIC
        if wanted and wanted not in found:
            raise UserError(
                f"SELECTION.ORACLE_METRIC: {self._oracle} has no score {wanted!r}, only "
                f"{', '.join(n for n in found if n.count('/') == 1)}"
            )
        return wanted or next((m for m in _ORACLE_METRICS if m in found), next(iter(found), ""))

    def _oracle_score(self, metrics: Mapping[str, Mapping[str, float]]) -> float:
        return metrics.get(self._oracle, {}).get(self._oracle_metric(metrics), math.nan)

    def _put(self, name: str, value: float) -> None:
        self.trainer.storage.put_scalar(name, value, smoothing_hint=False)

    # ---- what is left behind -------------------------------------------------------------------

    def _outcome(self, final: bool) -> Outcome:
        last = self._candidates[-1]
        metric = self._oracle_metric(last.metrics) if self._oracle else ""
        return Outcome(
            self.chooser.name,
            self.chooser.higher_is_better,
            last=Chosen(f"{_FINAL}.pth" if final else "", last),
            selected=self._kept(SELECTED),
            oracle=self._kept(ORACLE),
            oracle_by=f"{self._oracle}/{metric}" if self._oracle else "",
            candidates=self._candidates,
        )

    def _is_there(self, name: str, iteration: int) -> bool:
        return not comm.is_main_process() or self._checkpointer.is_whole(name, iteration)

    def _kept(self, name: str) -> Chosen | None:
        keeper = self._keepers.get(name)
        if keeper is None or keeper.best_iter is None:
            return None
        candidate = next(c for c in self._candidates if c.iteration == keeper.best_iter)
        return Chosen(f"{name}.pth", candidate)

    def _write_predictions(self) -> None:
        if not len(self._committee):
            return
        kept = self._keepers[SELECTED].best_iter
        self._committee.keep(kept)
        np.savez_compressed(
            Path(self.cfg.OUTPUT_DIR) / PREDICTIONS_FILE,
            last=self._committee.newest.numpy(),
            selected=self._committee.kept.numpy(),
        )


def _weights_only(checkpointer: DurableCheckpointer) -> DurableCheckpointer:
    """One that saves the same model into the same folder, but neither the state of the training
    nor a new ``last_checkpoint``: what is kept is there to be used, not to be resumed from."""
    other = copy.copy(checkpointer)
    other.checkpointables = {k: v for k, v in other.checkpointables.items() if k != "trainer"}
    other.tag_last_checkpoint = lambda name: None  # type: ignore[method-assign, assignment]
    return other
