"""The trainer that a config builds: Detectron2's, with two streams of data."""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, hooks
from detectron2.engine.train_loop import TrainerBase
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter

from ..adaptation.adaptive_bn import adapted_batchnorm, tracking_layers
from ..adaptation.contract import require_adaptable
from ..adaptation.registry import build_gradient_source
from ..coordination import DoubleBackwardError, NonFiniteLossError, UnreachedParameterError
from ..data.catalog.reading import read_once
from ..data.loader.batch_split import check_batches
from ..data.loader.build import (
    AdaptationLoader,
    build_adaptation_train_loader,
    build_target_stream,
    build_test_loader,
)
from ..errors import UserError
from ..evaluation.build import build_evaluator
from .bad_images import SummariseBadImages
from .checkpoint import load_weights
from .continuation import ContinueRun
from .coordination import CoordinationHook
from .durable_checkpointer import DurableCheckpointer
from .ending import EvaluateAtEnd
from .interrupt import SaveOnInterrupt
from .loader_failure import SaveOnLoaderFailure
from .loop import AdaptationLoop, broadcast_model
from .optimizers import build_optimizer
from .precise_bn import ResumablePreciseBN
from .printer import MetricPrinter
from .scaler import LossScaler, mixed_precision
from .scaling import scale_to_processes
from .schedules import build_lr_scheduler, configured_rates
from .selection import with_selection
from .target_pictures import with_target_pictures
from .unread_keys import check_unread_keys
from .values import check_values
from .writers import TrackingWriter, build_extra_writers, check_logging

logger = logging.getLogger(__name__)

#: What can stop a training and is explained by its message alone.
_EXPLAINED = (UserError, NonFiniteLossError, DoubleBackwardError, UnreachedParameterError)


class AdaptationTrainer(DefaultTrainer):
    """Trains any model of ``adaptation/contract.py`` from a config, in one process or several.

    Everything around the step is Detectron2's: hooks, writers, checkpoints, evaluation. The step
    is :class:`~.loop.AdaptationLoop`'s, with joint gradients, or MetaAlign's where
    ``cfg.METAALIGN.ENABLED`` registers :class:`~..adaptation.metaalign.MetaAlignGradients`.

    A run that is interrupted and resumed equals an uninterrupted one: batches and random numbers
    are functions of seed, rank and iteration, and the checkpoint holds the rest.

    Args:
        cfg: of the run.
        overwrite: it replaces the run in ``OUTPUT_DIR``, and is another one at the trackers of
            ``LOGGING``; their ids are kept when it has started (:class:`~.run_folder.StartRun`).
    """

    def __init__(self, cfg: CfgNode, *, overwrite: bool = False) -> None:
        # Not DefaultTrainer's constructor, which wraps the model in DistributedDataParallel.
        TrainerBase.__init__(self)
        self._overwrite = overwrite
        self.trackers: list[TrackingWriter] = []
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        check_length(cfg)
        check_values(cfg)
        logger.info("%s", check_batches(cfg))
        model = self.build_model(cfg)
        check_model(cfg, model)
        broadcast_model(model)
        dtype = mixed_precision(cfg)
        optimizer = self.build_optimizer(cfg, model)
        source = build_gradient_source(cfg, model)
        self._trainer = AdaptationLoop(
            model,
            None,
            optimizer,
            seed=cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed(),
            source=source,
            accumulation=cfg.SOLVER.ACCUMULATION_STEPS,
            autocast=dtype,
            scaler=LossScaler() if dtype == torch.float16 else None,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        average = source.learning.average
        beside: dict[str, Any] = {} if average is None else {"teacher": average}
        self.checkpointer = DurableCheckpointer(
            model, cfg.OUTPUT_DIR, cfg=cfg, trainer=weakref.proxy(self), **beside
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from the newest checkpoint in ``OUTPUT_DIR``, or start from ``MODEL.WEIGHTS``.

        Which settings may differ from the checkpoint's: ``resume_settings.py``.

        Raises:
            UserError: ``resume`` without a checkpoint that this run can go on from; weights that
                are missing or damaged.
        """
        if resume:
            with configured_rates(self.optimizer, self.scheduler):
                self.start_iter = self.checkpointer.resume() + 1
        else:
            load_weights(self.checkpointer, self.cfg.MODEL.WEIGHTS)

    def train(self) -> Any:
        """Train from ``start_iter``; see ``DefaultTrainer.train``.

        Raises:
            UserError: data that cannot be read, a loss that is not finite, an operator without
                second derivatives in exact mode, a parameter that no objective reaches.
        """
        if self.start_iter >= self.max_iter:
            logger.info(
                "nothing to train: the checkpoint is at iteration %d of %d",
                self.start_iter,
                self.max_iter,
            )
        with read_once(), _without_traceback():
            self._trainer.data_loader = self.build_train_loader(
                self.cfg, self.start_iter, self._trainer.streams.seed
            )
            return super().train()

    def evaluate(self) -> dict:
        """Scores of the student, and under "teacher" those of the average of its weights."""
        results = self.test(self.cfg, self.model)
        average = self._trainer.gradient_source.learning.average
        if average is not None and average.started:
            cfg = self.cfg.clone()
            cfg.defrost()
            cfg.OUTPUT_DIR = f"{self.cfg.OUTPUT_DIR}/teacher"
            logger.info("the same for the average of the weights (EMA.ENABLED):")
            results["teacher"] = self.test(cfg, average.model)
        self._last_eval_results = results
        return results

    def build_hooks(self) -> list:
        check_logging(self.cfg)
        evaluation = EvaluateAtEnd(self.cfg.TEST.EVAL_PERIOD, self.evaluate)
        detectron2s = super().build_hooks()
        for place, hook in enumerate(detectron2s):
            if isinstance(hook, hooks.EvalHook):
                detectron2s[place] = evaluation
            elif isinstance(hook, hooks.PreciseBN):
                detectron2s[place] = ResumablePreciseBN(self.cfg, self.model)
            elif isinstance(hook, hooks.PeriodicCheckpointer) and hook.period == 0:
                hook.period = sys.maxsize  # at the end alone, as EVAL_PERIOD 0 does
        ours = [
            SaveOnLoaderFailure(self.checkpointer),
            CoordinationHook(self._trainer.gradient_source),
            *with_selection(detectron2s, self.cfg, self.checkpointer),
            ContinueRun(self.checkpointer, f"{self.cfg.OUTPUT_DIR}/metrics.json"),
            SummariseBadImages(),
            SaveOnInterrupt(self.checkpointer),
        ]
        return with_target_pictures(ours, self.cfg)

    def build_writers(self) -> list:
        printer = MetricPrinter(self.max_iter)
        detectron2s = [
            printer if isinstance(w, CommonMetricPrinter) else w for w in super().build_writers()
        ]
        self.trackers = build_extra_writers(self.cfg, anew=self._overwrite)
        return [*self.trackers, *detectron2s]

    @staticmethod
    def auto_scale_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
        """Detectron2's, for adaptation's settings too: :func:`~.scaling.scale_to_processes`."""
        return scale_to_processes(cfg, num_workers)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> torch.nn.Module:
        """Detectron2's, which also logs it: here that is left to the session."""
        model = build_model(cfg)
        if cfg.MODEL.CHANNELS_LAST:
            model.to(memory_format=torch.channels_last)  # convolutions go by their weights
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: torch.nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(
        cls, cfg: CfgNode, optimizer: torch.optim.Optimizer
    ) -> torch.optim.lr_scheduler.LRScheduler:
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(
        cls, cfg: CfgNode, start_iter: int = 0, seed: int | None = None
    ) -> AdaptationLoader:
        return build_adaptation_train_loader(cfg, start_iter=start_iter, seed=seed)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable:
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        return build_evaluator(cfg, dataset_name)

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: torch.nn.Module,
        evaluators: list[DatasetEvaluator] | None = None,
    ) -> dict:
        """Scores by data set; with ``TEST.ADAPTIVE_BN``, under statistics of the target."""
        context: AbstractContextManager = nullcontext()
        if cfg.TEST.ADAPTIVE_BN:
            images = build_target_stream(cfg, seed=max(cfg.SEED, 0)).batches()
            context = adapted_batchnorm(
                model, images, cfg.TEST.ADAPTIVE_BN, model.backbone_features
            )
        with context:
            return super().test(cfg, model, evaluators)


def check_length(cfg: CfgNode) -> None:
    """There must be something to train; a schedule over no iterations has no value."""
    if cfg.SOLVER.MAX_ITER < 1:
        raise UserError(
            f"SOLVER.MAX_ITER must be >= 1, got {cfg.SOLVER.MAX_ITER}; to evaluate without "
            "training use --eval-only"
        )


def check_model(cfg: CfgNode, model: torch.nn.Module) -> None:
    """The model can be adapted, by what the config asks for, and to images that are there."""
    require_adaptable(model)
    check_unread_keys(cfg)
    views = cfg.INPUT.VIEWS
    if model.aligns and cfg.DATASETS.TARGET and views.TARGET not in (views.SOURCE, "both"):
        raise UserError(
            f"INPUT.VIEWS.SOURCE is {views.SOURCE!r} and INPUT.VIEWS.TARGET {views.TARGET!r}: a "
            "domain discriminator would tell augmentations apart instead of domains; set "
            f"INPUT.VIEWS.TARGET {views.SOURCE!r} or 'both'"
        )
    if model.aligns and not cfg.DATASETS.TARGET and cfg.MODEL.ALIGN.BETWEEN != "sources":
        raise UserError(
            "the model aligns source and target, but DATASETS.TARGET is empty: name a data set "
            "there, or switch alignment off (MODEL.DA.*.ENABLED False, MODEL.ALIGN.METHOD 'none')"
        )
    # Detectron2's hook wants one pass through each layer, of batches as a plain detector gets them.
    once = not model.aligns and views.SOURCE != "strong" and cfg.ADAPTATION.STATISTICS == "both"
    if cfg.TEST.PRECISE_BN.ENABLED and not once and tracking_layers(model):
        raise UserError(
            "TEST.PRECISE_BN.ENABLED takes statistics of weak views of the source alone, not where "
            "a model aligns, INPUT.VIEWS.SOURCE is 'strong' or ADAPTATION.STATISTICS is 'target': "
            "set it to False. TEST.ADAPTIVE_BN takes those of the target"
        )


@contextmanager
def _without_traceback() -> Iterator[None]:
    """Errors that explain themselves become ``UserError``, and Detectron2 logs no traceback."""

    def unexplained(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], _EXPLAINED))

    log = logging.getLogger("detectron2.engine.train_loop")
    log.addFilter(unexplained)
    try:
        yield
    except UserError:
        raise
    except _EXPLAINED as error:
        raise UserError(str(error)) from error
    finally:
        log.removeFilter(unexplained)
