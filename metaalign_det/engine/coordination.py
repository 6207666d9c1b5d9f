"""Our gradients in anybody's Detectron2 trainer."""

from __future__ import annotations

import logging

import torch
from detectron2.config import CfgNode
from detectron2.engine import AMPTrainer, HookBase, SimpleTrainer
from torch.nn.parallel import DistributedDataParallel

from .. import modeling  # noqa: F401  (registers what a DefaultTrainer is to build)
from ..adaptation.contract import require_adaptable
from ..adaptation.learning import Learning
from ..adaptation.metaalign import MetaAlignGradients
from ..adaptation.source import GradientSource
from ..errors import UserError
from .loop import AdaptationLoop
from .scaler import LossScaler, mixed_precision

logger = logging.getLogger(__name__)


class CoordinationHook(HookBase):
    """Makes a trainer's gradients those of a source; remove it and the trainer is what it was.

    It works in :class:`~.trainer.AdaptationTrainer` and in any trainer that has an inner
    ``SimpleTrainer`` (``DefaultTrainer`` and its subclasses), whose inner loop it replaces by an
    :class:`AdaptationLoop` over the same model, data and optimizer. Their loader must yield
    named views (``metaalign_det.data.PairedLoader``).

    Args:
        source: of the gradients.
        seed: of the random streams, in a trainer that has none.
        accumulation: micro-batches per step, in a trainer whose inner loop is replaced.
        precision: for mixed precision in place of a replaced ``AMPTrainer``'s; None = as that one
            has it.
    """

    def __init__(
        self,
        source: GradientSource,
        seed: int = 0,
        accumulation: int = 1,
        precision: torch.dtype | None = None,
    ) -> None:
        self.source = source
        self.seed = seed
        self.accumulation = accumulation
        self.precision = precision
        self._brought = False

    def before_train(self) -> None:
        """
        Raises:
            UserError: a trainer without an inner loop to replace, a loader without target images.
        """
        if self._in_charge() is self:
            loop = self._take_over()
            self.source.before_train(loop.context(self.trainer.start_iter), loop.peek())

    def state_dict(self) -> dict:
        """All that a resumed training needs of the source, unless the trainer's own state has it.

        The source's state, the teacher's, and the average of the weights. An ``AdaptationLoop``
        that was built with the source saves the first two, and an ``AdaptationTrainer`` the
        average beside the model.
        """
        learning = self.source.learning
        if self._in_charge() is not self or self._is_saved_by_trainer():
            return {}
        state = {"source": self.source.state_dict(), "learning": learning.state_dict()}
        if learning.average is not None:
            state["average"] = learning.average.state_dict()
        return state

    def load_state_dict(self, state: dict) -> None:
        """Continue from :meth:`state_dict`, in a trainer about to load what its loop has saved."""
        if not state:
            return
        hook = self._in_charge()
        if hook is not self and type(hook) is type(self):  # Detectron2 has found the first by name
            hook.load_state_dict(state)
            return
        self._take_over()  # the loop whose state comes next was ours, with this source
        if "learning" not in state:  # written before there was more to it than the source's
            state = {"source": state, "learning": {}}
        self.source.load_state_dict(state["source"])
        learning = self.source.learning
        learning.load_state_dict(state["learning"])
        if learning.average is not None and "average" in state:
            learning.average.load_state_dict(state["average"])

    def _in_charge(self) -> CoordinationHook:
        """Of several hooks of one trainer, the one that was registered last."""
        registered = getattr(self.trainer, "_hooks", ())
        return next((h for h in reversed(registered) if isinstance(h, CoordinationHook)), self)

    def _is_saved_by_trainer(self) -> bool:
        loop, average = self._found_loop(), self.source.learning.average
        if loop is None:  # not yet ours: a state of the source would not go with its own
            return True
        if self._brought or loop.gradient_source is not self.source:
            return False
        checkpointer = getattr(self.trainer, "checkpointer", None)
        beside = getattr(checkpointer, "checkpointables", {}).values()
        return average is None or any(x is average for x in beside)

    def _take_over(self) -> AdaptationLoop:
        """The trainer's loop, from here on with this source."""
        loop = self._found_loop() or self._replace_loop()
        self._brought |= loop.gradient_source is not self.source
        loop.gradient_source = self.source
        return loop

    def _found_loop(self) -> AdaptationLoop | None:
        for loop in (self.trainer, getattr(self.trainer, "_trainer", None)):
            if isinstance(loop, AdaptationLoop):
                return loop
        return None

    def _replace_loop(self) -> AdaptationLoop:
        inner = getattr(self.trainer, "_trainer", None)
        if not isinstance(inner, SimpleTrainer):
            raise UserError(
                f"{type(self).__name__} has no inner loop to work in: it is registered with a "
                f"{self.trainer.__class__.__name__}. Register it with a DefaultTrainer (or a "
                "subclass), or train with metaalign_det.engine.loop.AdaptationLoop(model, loader, "
                "optimizer, seed=0, source=...) in place of Detectron2's SimpleTrainer"
            )
        model = inner.model
        if isinstance(model, DistributedDataParallel):
            model = model.module  # its hooks do not see gradients taken by autograd.grad
        require_adaptable(model)
        dtype = None
        if isinstance(inner, AMPTrainer):
            dtype = self.precision or inner.precision
        loop = _ReplacementLoop(
            model,
            inner.data_loader,
            inner.optimizer,
            seed=self.seed,
            accumulation=self.accumulation,
            autocast=dtype,
            scaler=LossScaler() if dtype == torch.float16 else None,
        )
        if isinstance(inner, AMPTrainer):
            loop.replaced = inner.grad_scaler
        loop.iter = self.trainer.iter
        self.trainer._trainer = loop
        return loop


class _ReplacementLoop(AdaptationLoop):
    """In the place of a trainer's own loop, which can go on from its state without the hook."""

    #: Of Detectron2's ``AMPTrainer``, if that was the loop; not used here.
    replaced: torch.amp.GradScaler | None = None

    def state_dict(self) -> dict:
        state = super().state_dict()
        if self.replaced is not None:
            theirs = self.replaced.state_dict()  # {} where there is nothing to scale
            if theirs and self.scaler is not None:
                theirs |= {"scale": self.scaler.scale, "_growth_tracker": self.scaler.good_steps}
            state["grad_scaler"] = theirs
        return state


class MetaAlignHook(CoordinationHook):
    """MetaAlign in a Detectron2 trainer, from the config keys ``METAALIGN`` (and ``EMA``, ...).

    ::

        trainer = DefaultTrainer(cfg)  # its loader pairs source and target
        trainer.register_hooks([MetaAlignHook(cfg, trainer.model)])

    Args:
        cfg: with the keys of ``add_metaalign_config``; ``SOLVER.ACCUMULATION_STEPS`` counts too,
            and ``SOLVER.AMP.DTYPE`` ``bfloat16``, which a ``DefaultTrainer`` does not read.
        model: the model to be trained.

    Raises:
        UserError: a value that does not exist or is out of range, or that does not fit the model.
    """

    def __init__(self, cfg: CfgNode, model: torch.nn.Module) -> None:
        model = require_adaptable(getattr(model, "module", model))  # DistributedDataParallel
        source = MetaAlignGradients(cfg, model, Learning.from_config(cfg, model))
        steps = cfg.SOLVER.ACCUMULATION_STEPS
        if steps < 1:
            raise UserError(f"SOLVER.ACCUMULATION_STEPS must be >= 1, got {steps}")
        # float16 is the default of the key and of Detectron2's trainer: one that was built with
        # another precision keeps it.
        precision = mixed_precision(cfg)
        own = precision if precision == torch.bfloat16 else None
        super().__init__(source, max(cfg.SEED, 0), steps, own)
