"""Every alignment method of a classifier goes through the same loop and hook as the detector."""

from __future__ import annotations

import pytest
import torch

from metaalign_det.config import load_cfg
from tests.coordination.toys import relative_error
from tests.engine.step_harness import Harness
from tests.test_configs import CONFIGS

METHODS = ("dann", "dannpe", "cdan", "mmd", "gvb")


def items(count, domain, seed, labelled):
    g = torch.Generator().manual_seed(10 * seed + domain)
    images = torch.rand((count, 3, 16, 16), generator=g, dtype=torch.float64) * 255
    out = [{"image": x, "domain": domain} for x in images]
    if labelled:
        for i, item in enumerate(out):
            item["label"] = i % 10
    return out


def batches(steps, sources=1):
    return [
        {
            "source": [x for d in range(sources) for x in items(6, d, i, True)],
            "target": items(6, sources, i, False),
        }
        for i in range(steps)
    ]


def trained(method, *opts, hook, steps=3, data=None):
    from detectron2.modeling import build_model

    cfg = load_cfg(
        CONFIGS / "mini_digits" / f"{method}.yaml",
        [
            "MODEL.DEVICE", "cpu", "MODEL.DIGITS_NET.CHANNELS", "[4, 6]", "SOLVER.MAX_ITER", "10",
            "MODEL.DIGITS_NET.STRIDE", "1", "MODEL.ALIGN.HIDDEN", "8", "MODEL.ALIGN.DROPOUT", "0.3",
            "MODEL.ALIGN.SCHEDULE", "constant", "METAALIGN.ENABLED", "True", *opts,
        ],
    )  # fmt: skip
    torch.manual_seed(0)
    model = build_model(cfg).train().double()
    h = Harness(cfg, data or batches(steps), hook=hook, model=model)
    h.train(0, steps)
    return h


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("order", ["first", "exact"])
@pytest.mark.parametrize("role", ["alignment", "task"])
def test_alpha_zero_is_joint_training_batch_statistics_included(method, order, role):
    opts = ("METAALIGN.META_LR", "0.0", "METAALIGN.ORDER", order, "METAALIGN.ROLE", role)
    plain = trained(method, *opts, hook=False).model.state_dict()
    ahead = trained(method, *opts, hook=True).model.state_dict()
    for name, value in plain.items():
        assert relative_error(ahead[name].double(), value.double()) < 1e-9, name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("beta", ["frozen", "learned"])
def test_a_lookahead_changes_training_and_stays_finite(method, beta):
    opts = ("METAALIGN.META_LR", "30.0", "METAALIGN.ORDER", "exact", "METAALIGN.BETA.MODE", beta)
    plain = trained(method, hook=False).model.state_dict()
    h = trained(method, *opts, hook=True)
    ahead = h.model.state_dict()
    assert relative_error(ahead["backbone.conv1.weight"], plain["backbone.conv1.weight"]) > 1e-8
    assert all(torch.isfinite(v).all() for v in ahead.values())
    assert (h.source.weights.values() == [1.0, 1.0]) == (beta == "frozen")


def test_domain_generalisation_aligns_the_sources_and_needs_no_target():
    opts = (
        "MODEL.ALIGN.BETWEEN", "sources", "DATASETS.TRAIN", "('a', 'b', 'c')",
        "DATASETS.TRAIN_DOMAINS", "(0, 1, 2)", "DATASETS.TARGET", "()",
    )  # fmt: skip
    data = [{**b, "target": []} for b in batches(2, sources=3)]
    h = trained("dannpe", *opts, hook=True, steps=2, data=data)
    assert {"da/acc_domain0", "da/acc_domain1", "da/acc_domain2"} <= set(h.storage.histories())


def test_several_sources_are_aligned_with_the_target():
    opts = (
        "MODEL.ALIGN.BETWEEN", "domains", "DATASETS.TRAIN", "('a', 'b')",
        "DATASETS.TRAIN_DOMAINS", "(0, 1)",
    )  # fmt: skip
    h = trained("cdan", *opts, hook=True, steps=2, data=batches(2, sources=2))
    assert "da/acc_domain2" in h.storage.histories()


def test_inner_steps_of_heads_have_their_own_factor():
    h = trained("dann", "METAALIGN.SCOPE", "all", "METAALIGN.HEAD_FACTOR", "10.0", hook=True)
    weights = h.source.groups.weight_of(h.source.weights.values())
    assert weights["classifier.weight"] == 10.0
    assert any(n.startswith("alignment.discriminator") for n in h.source.groups.rest)
