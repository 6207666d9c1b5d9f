"""Learning rates by parameter: heads, biases and both at once."""

from __future__ import annotations

import pytest

from metaalign_det.engine.optimizers import build_optimizer
from tests.engine.small import small_cfg
from tests.modeling.test_da_classifier import model_of


def test_biases_of_heads_have_both_factors(tmp_path):
    model = model_of("dann")
    cfg = small_cfg(
        tmp_path, "SOLVER.BASE_LR", 0.001, "SOLVER.HEAD_LR_FACTOR", 10.0,
        "SOLVER.BIAS_LR_FACTOR", 2.0,
    )  # fmt: skip
    names = {id(p): name for name, p in model.named_parameters()}
    rates = {
        names[id(p)]: group["lr"]
        for group in build_optimizer(cfg, model).param_groups
        for p in group["params"]
    }
    assert rates["classifier.weight"] == pytest.approx(0.01)
    assert rates["classifier.bias"] == pytest.approx(0.02)
    own = {n.endswith("bias"): r for n, r in rates.items() if n.startswith("backbone")}
    assert own == pytest.approx({True: 0.002, False: 0.001})
