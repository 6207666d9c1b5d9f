"""The hook's state: what a resumed training needs is saved once, and gets back to its source."""

from __future__ import annotations

import pytest
import torch
from detectron2.engine import AMPTrainer
from detectron2.engine.train_loop import SimpleTrainer, TrainerBase

from metaalign_det.adaptation.registry import build_gradient_source
from metaalign_det.engine.coordination import CoordinationHook, MetaAlignHook
from metaalign_det.engine.loop import AdaptationLoop
from metaalign_det.engine.optimizers import build_optimizer
from metaalign_det.errors import UserError
from tests.adaptation.harness import Harness, views
from tests.tiny import tiny_cfg, tiny_model

PLAIN = ("MODEL.DA.GLOBAL.NORM", "")
META = (*PLAIN, "METAALIGN.ENABLED", True, "METAALIGN.BETA.LR", 5.0, "EMA.ENABLED", True)


class Foreign(TrainerBase):
    """What matters of a ``DefaultTrainer``: an inner loop, and how its state is kept."""

    def __init__(self, inner, hook=None):
        super().__init__()
        self._trainer = inner
        self.register_hooks([hook])

    @property
    def model(self):
        return self._trainer.model

    def run_step(self):
        self._trainer.iter = self.iter
        self._trainer.run_step()

    def state_dict(self):
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self._trainer.load_state_dict(state["_trainer"])


def batches():
    return [views(i) for i in range(3)]


def joint_with_a_hook(kind):
    """A trainer whose loop has joint gradients, and a hook that brings others."""
    made = Harness(tiny_cfg(*PLAIN), batches())  # registers a CoordinationHook of its own
    trainer, cfg = Foreign(made._trainer), tiny_cfg(*META)
    if kind is MetaAlignHook:
        hook = MetaAlignHook(cfg, made.model)
    else:
        hook = CoordinationHook(build_gradient_source(cfg, made.model))
        trainer.register_hooks([CoordinationHook(made.source)])
    trainer.register_hooks([hook])
    return trainer, hook


def lazy(_):
    """docs/recipes.md: the loop is the trainer, and has the source from the start."""
    cfg = tiny_cfg(*META)
    model = tiny_model(cfg)
    source = build_gradient_source(cfg, model)
    trainer = AdaptationLoop(model, batches(), build_optimizer(cfg, model), seed=0, source=source)
    hook = CoordinationHook(source)
    trainer.register_hooks([hook])
    return trainer, hook


@pytest.mark.parametrize(
    "make, kind",
    [(joint_with_a_hook, MetaAlignHook), (joint_with_a_hook, CoordinationHook), (lazy, None)],
)
def test_a_resumed_training_has_the_sources_state_and_the_average(make, kind):
    first, hook = make(kind)
    first.train(0, 3)
    second, restored = make(kind)
    second.load_state_dict(first.state_dict())
    assert restored.source.weights.values() == hook.source.weights.values() != [1.0] * 3
    assert restored.source.learning.average.started
    for a, b in zip(*(x.source.learning.average.model.parameters() for x in (hook, restored))):
        assert torch.equal(a, b)


def test_the_hook_of_a_source_that_the_trainer_saves_has_no_state():
    h = Harness(tiny_cfg(*PLAIN, "METAALIGN.ENABLED", True), batches())
    assert "hooks" not in h.state_dict()


def mixed_precision(precision, *opts, hook=True):
    cfg = tiny_cfg(*PLAIN, "METAALIGN.ENABLED", True, "SOLVER.AMP.ENABLED", True, *opts)
    model = tiny_model(cfg)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)  # enabled, as on a GPU
    inner = AMPTrainer(
        model, batches(), build_optimizer(cfg, model), precision=precision, grad_scaler=scaler
    )
    return Foreign(inner, MetaAlignHook(cfg, model) if hook else None)


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_with_mixed_precision_is_resumed_with_the_hook_and_without_it():
    for precision in (torch.bfloat16, torch.float16):
        first = mixed_precision(precision)
        first.train(0, 1)
        if first._trainer.scaler is not None:
            first._trainer.scaler.scale, first._trainer.scaler.good_steps = 512.0, 7
        state = first.state_dict()
        with_hook = mixed_precision(precision)
        with_hook.load_state_dict(state)
        assert isinstance(with_hook._trainer, AdaptationLoop)
        without = mixed_precision(precision, hook=False)
        without.load_state_dict(state)
        assert isinstance(without._trainer, AMPTrainer)
        if precision == torch.float16:
            scaler = with_hook._trainer.scaler
            assert (scaler.scale, scaler.good_steps) == (512.0, 7)
            theirs = without._trainer.grad_scaler.state_dict()
            assert theirs["scale"] == 512.0 and theirs["_growth_tracker"] == 7


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("trainers", "key", "taken"),
    [
        (torch.float16, "bfloat16", torch.bfloat16),  # a DefaultTrainer knows float16 alone
        (torch.float16, "float16", torch.float16),
        (torch.bfloat16, "float16", torch.bfloat16),  # built with it, and the key as it comes
    ],
)
def test_the_hook_takes_the_precision_of_the_config(trainers, key, taken):
    trainer = mixed_precision(trainers, "SOLVER.AMP.DTYPE", key)
    trainer.train(0, 1)
    loop = trainer._trainer
    assert loop.autocast_dtype == taken
    assert (loop.scaler is not None) == (taken == torch.float16)
    assert loop.context(0).loss_scale == (None if taken == torch.bfloat16 else loop.scaler.scale)


def test_the_hook_refuses_a_precision_that_does_not_exist():
    with pytest.raises(UserError, match="SOLVER.AMP.DTYPE: 'half' is neither float16 nor bfloat16"):
        mixed_precision(torch.float16, "SOLVER.AMP.DTYPE", "half")


def test_a_checkpoint_from_before_training_can_be_loaded():
    cfg = tiny_cfg(*META)
    model = tiny_model(cfg)

    def trainer():
        inner = SimpleTrainer(model, batches(), build_optimizer(cfg, model))
        return Foreign(inner, MetaAlignHook(cfg, model))

    other = trainer()
    other.load_state_dict(trainer().state_dict())
    other.train(0, 1)


def test_the_loop_that_replaces_a_trainers_own_accumulates_gradients():
    cfg = tiny_cfg(*PLAIN, "METAALIGN.ENABLED", True, "SOLVER.ACCUMULATION_STEPS", 2)
    model, seen = tiny_model(cfg), set()
    model.backbone.register_forward_hook(lambda m, x, y: seen.add(len(x[0])))
    inner = SimpleTrainer(model, batches(), build_optimizer(cfg, model))
    Foreign(inner, MetaAlignHook(cfg, model)).train(0, 1)
    assert seen == {1}  # of two images
    uneven = SimpleTrainer(model, [views(0, 3)], build_optimizer(cfg, model))
    with pytest.raises(UserError, match="3 images in 'source'.*ACCUMULATION_STEPS = 2; make it"):
        Foreign(uneven, MetaAlignHook(cfg, model)).train(0, 1)
    cfg.SOLVER.ACCUMULATION_STEPS = 0
    with pytest.raises(UserError, match="SOLVER.ACCUMULATION_STEPS must be >= 1, got 0"):
        MetaAlignHook(cfg, model)


def test_a_plain_trainers_checkpoint_goes_on_with_the_hook():
    cfg = tiny_cfg(*META)
    model = tiny_model(cfg)
    inner = SimpleTrainer(model, batches(), build_optimizer(cfg, model))
    state = Foreign(inner).state_dict()
    trainer = Foreign(inner, MetaAlignHook(cfg, model))
    trainer.load_state_dict(state)
    trainer.train(0, 1)
    assert isinstance(trainer._trainer, AdaptationLoop)
