"""float16 with loss scaling, and bfloat16, in the step of the training loop."""

from __future__ import annotations

import pytest
import torch

from metaalign_det.coordination import NonFiniteLossError
from metaalign_det.engine.scaler import LossScaler
from tests.engine.step_harness import ON, Harness, assert_same, state, trained
from tests.tiny import batch, tiny_cfg

pytestmark = pytest.mark.usefixtures("double_proposals")


@pytest.mark.parametrize("hook", [True, False])
def test_loss_scaling_changes_nothing_but_range(hook):
    plain = trained(hook=hook, double=True)
    scaled = trained(hook=hook, double=True, scaler=LossScaler(1024.0))
    assert_same(state(scaled), state(plain), 1e-9)


@pytest.mark.parametrize("hook", [True, False])
def test_an_overflow_skips_the_step_and_halves_the_scale(hook):
    scaler = LossScaler(3e38)
    before = state(Harness(tiny_cfg("MODEL.DA.GLOBAL.NORM", ""), [], hook=False))
    h = trained("METAALIGN.META_LR", 1.0, hook=hook, scaler=scaler, steps=1)
    assert_same(state(h), before)
    assert scaler.scale == pytest.approx(1.5e38)
    if hook:
        assert h.source.weights.values() == [1.0, 1.0, 1.0]


class OnlyAtFirst(LossScaler):
    """A scale that no gradient survives in the first step, and none afterwards."""

    def __init__(self):
        super().__init__(float("inf"))

    def update(self, finite):
        super().update(finite)
        self.scale = 1.0


@pytest.mark.parametrize("hook", [True, False])
def test_a_skipped_step_is_counted_and_neither_its_losses_nor_a_part_of_them_recorded(hook):
    # The task's gradient overflows before alignment has been evaluated.
    opts = ("METAALIGN.META_LR", 1.0, "METAALIGN.ROLE", "task", *ON)
    h = trained(*opts, hook=hook, scaler=OnlyAtFirst(), steps=2)
    skipped = h.storage.history("amp/skipped_steps").values()
    assert skipped == [(1, 0), (1, 1)]
    whole = trained(*opts, hook=hook, steps=1).storage
    names = [n for n in whole.histories() if "loss" in n or n.startswith("lookahead/")]
    assert {"total_loss", "loss_cls", "loss_da_local"} <= set(names)
    recorded = {n: h.storage.history(n).values() for n in names}
    assert {n: [i for _, i in values] for n, values in recorded.items()} == dict.fromkeys(
        names, [1]
    )
    losses = {n: values[0][0] for n, values in recorded.items() if n.startswith("loss_")}
    assert recorded["total_loss"][0][0] == pytest.approx(sum(losses.values()))


def test_the_count_of_skipped_steps_is_in_the_state_of_the_loop():
    scaler = OnlyAtFirst()
    h = trained(hook=False, scaler=scaler, steps=1)
    other = Harness(tiny_cfg("MODEL.DA.GLOBAL.NORM", ""), [], hook=False, scaler=LossScaler())
    other._trainer.load_state_dict(h._trainer.state_dict())
    assert other._trainer.scaler.skipped == 1
    other._trainer.scaler.load_state_dict({"scale": 8.0, "good_steps": 3})  # an earlier version's
    assert (other._trainer.scaler.scale, other._trainer.scaler.skipped) == (8.0, 0)


def test_gradients_that_overflow_at_every_scale_end_the_training():
    scaler = LossScaler(4.0)
    cfg = tiny_cfg("MODEL.DA.GLOBAL.NORM", "")
    h = Harness(cfg, [batch(1, 1, seed=0)] * 40, hook=False, scaler=scaler)
    parameter = next(p for p in h.model.parameters() if p.requires_grad)
    parameter.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(NonFiniteLossError, match="SOLVER.AMP.DTYPE bfloat16"):
        h.train(0, 40)
    assert scaler.scale == 1.0 and 15 < h.iter < 40


@pytest.mark.parametrize("order", ["first", "exact"])
@pytest.mark.parametrize("role", ["alignment", "task"])
def test_bfloat16_autocast_keeps_the_looking_objective_in_float32_in_exact_mode(order, role):
    seen = {}

    def spy(module, args, output):
        seen.setdefault(current[0], set()).add(output.dtype)

    current = ["?"]
    cfg = tiny_cfg("METAALIGN.ORDER", order, "METAALIGN.ROLE", role)
    h = Harness(cfg, [batch()], hook=True, autocast=torch.bfloat16)
    h.model.backbone.res4[0].conv1.register_forward_hook(spy)
    for name in ("task_losses", "alignment_terms"):
        method = getattr(h.model, name)

        def wrapped(*a, _m=method, _n=name):
            current[0] = _n
            return _m(*a)

        setattr(h.model, name, wrapped)
    h.train(0, 1)
    looking = "alignment_terms" if role == "alignment" else "task_losses"
    other = "task_losses" if role == "alignment" else "alignment_terms"
    assert seen[other] == {torch.bfloat16}
    assert seen[looking] == ({torch.float32} if order == "exact" else {torch.bfloat16})
    assert all(torch.isfinite(p).all() for p in h.model.parameters())
