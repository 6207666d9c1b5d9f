"""A small detector or classifier in the training loop, on a device of choice.

Everything random is taken out, so that two devices can be compared: weights and images come from
CPU generators, dropout is off, and regions are not sampled, because all of them are taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage
from torch import Tensor

import metaalign_det.modeling  # noqa: F401  (registers)
from benchmarks.step_cost.noise import noise_batch, with_strong_target
from metaalign_det.adaptation.registry import build_gradient_source
from metaalign_det.adaptation.step import Batch, Gradients, split_batch
from metaalign_det.config import load_cfg
from metaalign_det.config_files import find_config
from metaalign_det.engine.loop import AdaptationLoop
from metaalign_det.engine.optimizers import build_optimizer
from metaalign_det.engine.scaler import LossScaler
from metaalign_det.engine.trainer import AdaptationTrainer
from metaalign_det.modeling.backbone.random_start import temper_random_weights

#: Height and width of the images in pixels, by model.
SIZES = {"detector": (128, 128), "classifier": (32, 32)}

#: More than there are anchors and proposals: all of them are taken, none is drawn.
ALL_REGIONS = (
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE", "8192", "MODEL.RPN.POSITIVE_FRACTION", "0.5",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "4096",
)  # fmt: skip
_OPTIONS = {
    "detector": (
        "mini/swda_meta.yaml",
        (
            *ALL_REGIONS, "MODEL.MINI_RESNET.WIDTH", "16", "MODEL.CHANNELS_LAST", "False",
            "SOLVER.IMS_PER_BATCH", "2", "SOLVER.IMS_PER_BATCH_TARGET", "2",
        ),
    ),
    "classifier": (
        "mini_digits/cdan_meta.yaml",
        (
            "MODEL.ALIGN.SCHEDULE", "constant",  # the config's own begins with lambda = 0
            "SOLVER.IMS_PER_BATCH", "8", "SOLVER.IMS_PER_BATCH_TARGET", "8",
        ),
    ),
}  # fmt: skip
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def trial_cfg(model: str, device: str, *opts: str) -> CfgNode:
    """Config of a "detector" or "classifier"; joint training unless ``opts`` say otherwise.

    Args:
        model: key of :data:`SIZES`.
        device: as ``MODEL.DEVICE``.
        opts: KEY, VALUE pairs.
    """
    config, own = _OPTIONS[model]
    shared = ("MODEL.WEIGHTS", "", "METAALIGN.ENABLED", "False", "METAALIGN.META_LR", "1.0")
    return load_cfg(find_config(config), [*own, *shared, "MODEL.DEVICE", device, *opts])


class Trial:
    """A model, its gradient source and its loop.

    Args:
        cfg: see :func:`trial_cfg`.
        size: of the images.
        precision: key of :data:`PRECISIONS`; float16 scales losses.
        batches: of the steps to come; None = one of noise per step.
        seed: of the weights.
    """

    def __init__(
        self,
        cfg: CfgNode,
        size: tuple[int, int],
        *,
        precision: str = "float32",
        batches: Sequence[Batch] | None = None,
        seed: int = 0,
    ) -> None:
        self.cfg = cfg
        self.size = size
        torch.manual_seed(seed)
        self.model = AdaptationTrainer.build_model(cfg).train()
        temper_random_weights(self.model)
        self.optimizer = build_optimizer(cfg, self.model)
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self.source = build_gradient_source(cfg, self.model)
        self.batches = batches
        self.loop = AdaptationLoop(
            self.model,
            self._upcoming(),
            self.optimizer,
            seed=cfg.SEED,
            source=self.source,
            accumulation=cfg.SOLVER.ACCUMULATION_STEPS,
            autocast=PRECISIONS[precision],
            scaler=LossScaler(2.0**10) if precision == "float16" else None,
        )
        self.iteration = 0

    def batch(self) -> Batch:
        """Of the iteration to come."""
        if self.batches is not None:
            return self.batches[self.iteration]
        batch = noise_batch(self.cfg, self.size, self.iteration)
        return with_strong_target(batch) if self.cfg.INPUT.VIEWS.TARGET == "both" else batch

    def _upcoming(self) -> Iterator[Batch]:
        while True:
            yield self.batch()

    def gradients(self) -> Gradients:
        """Of the iteration to come, which stays the one to come."""
        step = self.loop.context(self.iteration)
        with EventStorage(self.iteration):
            self.source.before_train(step, self.batch())
            return self.source(step, split_batch(self.batch(), self.loop.accumulation))

    def train(self, steps: int) -> list[float]:
        """Take some steps; returns the total loss of each."""
        totals = []
        for _ in range(steps):
            with EventStorage(self.iteration) as self.loop.storage:
                self.loop.iter = self.iteration
                self.loop.run_step()
                totals.append(self.loop.storage.history("total_loss").latest())
            self.iteration += 1
        return totals

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers, as they are now."""
        return {k: v.detach().clone() for k, v in self.model.state_dict().items()}
