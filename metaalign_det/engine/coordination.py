"""Our gradients in anybody's Detectron2 trainer."""

from __future__ import annotations

import logging

import torch
from detectron2.config import CfgNode
from detectron2.engine import AMPTrainer, HookBase, SimpleTrainer
from torch.nn.parallel import DistributedDataParallel

from ..adaptation.contract import require_adaptable
from ..adaptation.learning import Learning
from ..adaptation.metaalign import MetaAlignGradients
from ..adaptation.source import GradientSource
from ..errors import UserError
from .loop import AdaptationLoop
from .scaler import LossScaler

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
    """

    def __init__(self, source: GradientSource, seed: int = 0) -> None:
        self.source = source
        self.seed = seed
        self._adopted = False

    def before_train(self) -> None:
        """
        Raises:
            UserError: a trainer without an inner loop to replace, a loader without target images.
        """
        loop = self._adaptation_loop()
        loop.gradient_source = self.source
        self.source.before_train(loop.context(self.trainer.start_iter), loop.peek())

    def state_dict(self) -> dict:
        """What the trainer's own loop would have saved, unless it is ours and has.

        The source's state, the teacher's, and the average of the weights, which an
        ``AdaptationTrainer`` has beside the model.
        """
        if not self._adopted:
            return {}
        learning = self.source.learning
        state = {"source": self.source.state_dict(), "learning": learning.state_dict()}
        if learning.average is not None:
            state["average"] = learning.average.state_dict()
        return state

    def load_state_dict(self, state: dict) -> None:
        if not state:
            return
        if "learning" not in state:  # written before there was more to it than the source's
            state = {"source": state, "learning": {}}
        self.source.load_state_dict(state["source"])
        learning = self.source.learning
        learning.load_state_dict(state["learning"])
        if learning.average is not None and "average" in state:
            learning.average.load_state_dict(state["average"])

    def _adaptation_loop(self) -> AdaptationLoop:
        inner = getattr(self.trainer, "_trainer", None)
        for loop in (self.trainer, inner):
            if isinstance(loop, AdaptationLoop):
                return loop
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
        dtype = inner.precision if isinstance(inner, AMPTrainer) else None
        loop = AdaptationLoop(
            model,
            inner.data_loader,
            inner.optimizer,
            seed=self.seed,
            source=self.source,
            autocast=dtype,
            scaler=LossScaler() if dtype == torch.float16 else None,
        )
        loop.iter = self.trainer.iter
        self.trainer._trainer = loop
        self._adopted = True
        return loop


class MetaAlignHook(CoordinationHook):
    """MetaAlign in a Detectron2 trainer, from the config keys ``METAALIGN`` (and ``EMA``, ...).

    ::

        trainer = DefaultTrainer(cfg)  # its loader pairs source and target
        trainer.register_hooks([MetaAlignHook(cfg, trainer.model)])

    Args:
        cfg: with the keys of ``add_metaalign_config``.
        model: the model to be trained.
    """

    def __init__(self, cfg: CfgNode, model: torch.nn.Module) -> None:
        model = require_adaptable(getattr(model, "module", model))  # DistributedDataParallel
        source = MetaAlignGradients(cfg, model, Learning.from_config(cfg, model))
        super().__init__(source, max(cfg.SEED, 0))
