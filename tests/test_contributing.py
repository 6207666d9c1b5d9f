"""The walk-throughs of CONTRIBUTING.md: each example registers, builds from its config, trains."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import torch
import yaml
from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY, build_model

from metaalign_det.adaptation.registry import GRADIENT_SOURCES
from metaalign_det.alignment.registry import ALIGNMENT_METHODS
from metaalign_det.config import load_cfg
from tests.adaptation.harness import Harness, views
from tests.engine.test_classifier_step import batches as digits
from tests.tiny import tiny_cfg, tiny_model

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def registries():
    """What the examples register is forgotten afterwards."""
    all_of_them = (ALIGNMENT_METHODS, GRADIENT_SOURCES, BACKBONE_REGISTRY._obj_map)
    known = [dict(registry) for registry in all_of_them]
    yield
    for registry, entries in zip(all_of_them, known):
        registry.clear()
        registry.update(entries)


def example(name: str) -> dict:
    """Run an example file; the names that it defines."""
    return runpy.run_path(str(ROOT / "docs" / "examples" / name))


def merge(cfg: CfgNode, title: str) -> CfgNode:
    """Put the configuration below a heading of CONTRIBUTING.md on top of ``cfg``."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", section(text, title), flags=re.DOTALL)
    cfg.merge_from_other_cfg(CfgNode(yaml.safe_load(block)))
    return cfg


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def weights(harness: Harness, prefix: str) -> dict[str, torch.Tensor]:
    return {k: v for k, v in harness.state().items() if k.startswith(prefix)}


# ---- a new alignment method -------------------------------------------------------------------


def test_alignment_method():
    coral = example("coral.py")["CORAL"](3, 4)
    x = torch.tensor([[0.0, 0, 0], [2, 0, 0]])
    y = torch.tensor([[0.0, 0, 0], [4, 0, 0]])
    domains = torch.tensor([0, 0, 1, 1])

    def loss(a, b):
        features = torch.cat([a, b])
        return coral(features, features, domains, weight=2.0, reverse=False)["loss_coral"]

    assert loss(x, x + 7).loss == 0  # a shift changes no covariance
    assert loss(x, y).loss == (8 - 2) ** 2 / (4 * 3**2)  # variances 2 and 8 of one feature
    assert loss(x, y).weight == 2.0 and not loss(x, y).adversarial


def test_alignment_method_trains_under_a_lookahead():
    example("coral.py")
    cfg = load_cfg(
        "mini_digits/dann.yaml",
        [
            "MODEL.DEVICE", "cpu", "MODEL.DIGITS_NET.CHANNELS", "[4, 6]", "SOLVER.MAX_ITER", "10",
            "MODEL.ALIGN.SCHEDULE", "constant",
        ],
    )  # fmt: skip
    merge(cfg, "A new alignment method")
    torch.manual_seed(0)
    h = Harness(cfg, digits(2), build_model(cfg).train().double())
    before = weights(h, "backbone.")
    h.train(0, 2)
    assert h.storage.latest()["loss_coral"][0] > 0
    assert any(not torch.equal(v, before[k]) for k, v in weights(h, "backbone.").items())


# ---- a new backbone -----------------------------------------------------------------------------


def test_backbone():
    backbone = example("patch_backbone.py")["PatchMixer"](width=8)
    outputs = backbone(torch.zeros(2, 3, 64, 48))
    for name, shape in backbone.output_shape().items():
        assert outputs[name].shape == (2, shape.channels, 64 // shape.stride, 48 // shape.stride)


def test_backbone_trains_in_exact_mode_with_its_own_stages():
    example("patch_backbone.py")
    cfg = merge(tiny_cfg("MODEL.DA.GLOBAL.NORM", ""), "A new backbone")
    h = Harness(cfg, [views(0), views(1)], tiny_model(cfg))
    assert h.source.groups.names == ("patches", "early", "late")
    trained = {n for n, p in h.model.named_parameters() if n.startswith("backbone.")}
    assert trained == set(h.source.groups.scope)
    before = weights(h, "backbone.")
    h.train(0, 2)
    after = weights(h, "backbone.")
    assert all(torch.isfinite(v).all() for v in after.values())
    assert any(not torch.equal(v, before[k]) for k, v in after.items())


# ---- a new coordinator --------------------------------------------------------------------------


def coordinated(*opts) -> Harness:
    names = example("balanced.py")
    cfg = tiny_cfg("MODEL.DA.GLOBAL.NORM", "")
    names["add_config"](cfg)
    merge(cfg, "A new coordinator").merge_from_list(list(opts))
    h = Harness(cfg, [views(0), views(1)], tiny_model(cfg))
    h.train(0, 2)
    return h


def test_coordinator_trains():
    latest = coordinated().storage.latest()
    assert latest["projection/weight_task/all"][0] == 1.0
    assert latest["projection/weight_alignment/all"][0] > 0


def test_coordinator_without_a_share_trains_the_backbone_on_the_task_alone():
    h = coordinated("BALANCED.SHARE", 0.0)
    cfg = tiny_cfg("MODEL.DA.GLOBAL.NORM", "", "MODEL.DA.LOCAL.LAMBDA", 0.0,
                   "MODEL.DA.GLOBAL.LAMBDA", 0.0)  # fmt: skip
    task_alone = Harness(cfg, [views(0), views(1)], tiny_model(cfg))
    task_alone.train(0, 2)
    expected = weights(task_alone, "backbone.")
    for name, value in weights(h, "backbone.").items():
        assert torch.allclose(value, expected[name], atol=1e-6), name


def test_coordinator_touches_its_file_one_registry_and_one_node():
    text = (ROOT / "docs" / "examples" / "balanced.py").read_text(encoding="utf-8")
    assert re.findall(r"^(\w+)\[", text, flags=re.MULTILINE) == ["GRADIENT_SOURCES"]
    assert re.findall(r"^ +cfg\.(\w+) = CfgNode", text, flags=re.MULTILINE) == ["BALANCED"]
