"""BatchNorm's precise statistics, the same in a resumed run as in an uninterrupted one."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.engine.hooks import PreciseBN
from torch import nn


class ResumablePreciseBN(PreciseBN):
    """Detectron2's, with batches that depend on the iteration alone.

    Detectron2's goes on in one loader from update to update, which a resumed run starts anew. Here
    update k, from 0, takes the batches k n to (k + 1) n - 1 of the training data, where n is
    ``TEST.PRECISE_BN.NUM_ITER``: those that Detectron2's takes in a run without interruption.

    Args:
        cfg: with ``TEST.EVAL_PERIOD``, ``TEST.PRECISE_BN`` and the training data.
        model: whose BatchNorm layers in training mode are updated.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module) -> None:
        super().__init__(cfg.TEST.EVAL_PERIOD, model, (), cfg.TEST.PRECISE_BN.NUM_ITER)
        self._cfg = cfg.clone()
        self._cfg.defrost()
        self._cfg.DATALOADER.NUM_WORKERS = 0  # for a few batches at a time

    def update_stats(self) -> None:
        if self._disabled:
            return
        trainer = self.trainer
        earlier = trainer.iter // self._period if self._period > 0 else 0
        # The seed of the run, which a resumed one has from its checkpoint.
        loader = trainer.build_train_loader(
            self._cfg, earlier * self._num_iter, trainer._trainer.streams.seed
        )
        self._data_iter = iter(loader)
        super().update_stats()
