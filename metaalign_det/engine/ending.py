"""Whether a training has come to its end, and the evaluation that is made there."""

from __future__ import annotations

from detectron2.engine.hooks import EvalHook
from detectron2.engine.train_loop import TrainerBase


def has_ended(trainer: TrainerBase) -> bool:
    """For ``after_train``: all steps are done, the last one with its hooks.

    Detectron2's trainer counts one further behind the last step, and calls ``after_train`` also
    when a step fails or is interrupted.
    """
    return bool(trainer.iter >= trainer.max_iter)


class EvaluateAtEnd(EvalHook):
    """Detectron2's, which takes a training that fails or is stopped in its last step for ended.

    There it would evaluate, however long that takes, before the process ends as it was asked to;
    ``--resume`` makes that evaluation.
    """

    def after_train(self) -> None:
        self._eval_after_train &= has_ended(self.trainer)
        super().after_train()
