"""The recipes of docs/recipes.md, run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from detectron2.engine import DefaultTrainer, SimpleTrainer
from torch import nn
from torch.func import functional_call

from metaalign_det.data import build_adaptation_train_loader, register_all
from metaalign_det.engine.coordination import CoordinationHook, MetaAlignHook
from metaalign_det.engine.loop import AdaptationLoop
from metaalign_det.engine.optimizers import build_optimizer
from metaalign_det.engine.trainer import AdaptationTrainer
from metaalign_det.errors import UserError
from metaalign_det.loss_term import LossTerm
from tests.data.trees import make_tiny_voc
from tests.tiny import tiny_cfg, tiny_model

TEXT = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text(encoding="utf-8")


def recipe(title: str) -> str:
    """The code block below a heading."""
    section = TEXT.split(f"## {title}")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    lines = [x for x in code.splitlines() if x.strip() and not x.startswith(("from ", "import "))]
    assert len(lines) <= 15, "a recipe is at most 15 lines, imports apart"
    return code


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_tiny_voc(tmp_path_factory.mktemp("recipes"))


@pytest.fixture
def cfg(root, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    cfg = tiny_cfg(
        "DATASETS.TRAIN", ("voc6_2007_trainval",), "DATASETS.TARGET", ("watercolor_train",),
        "DATASETS.TEST", (), "MODEL.ROI_HEADS.NUM_CLASSES", 6, "INPUT.MIN_SIZE_TRAIN", (64,),
        "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 3, "SOLVER.STEPS", (2,),
        "DATALOADER.NUM_WORKERS", 0, "METAALIGN.ENABLED", True, "METAALIGN.META_LR", 5.0,
        "METAALIGN.TELEMETRY_PERIOD", 1, "OUTPUT_DIR", str(tmp_path),
    )  # fmt: skip
    register_all(cfg)
    return cfg


def recorded(storage) -> set[str]:
    return {k for k in storage.histories() if k.startswith("lookahead/cosine")}


@pytest.mark.parametrize(
    "title",
    ["Detectron2's DefaultTrainer", "A trainer with its own mapper", "LazyConfig, or any loop"],
)
def test_what_a_recipe_imports_has_the_models_registered(title):
    imports = [x for x in recipe(title).splitlines() if x.startswith(("from ", "import "))]
    ask = "from detectron2.modeling import META_ARCH_REGISTRY; META_ARCH_REGISTRY.get('SWDARCNN')"
    subprocess.run([sys.executable, "-W", "ignore", "-c", "\n".join([*imports, ask])], check=True)


def test_default_trainer(cfg):
    names = {"cfg": cfg}
    exec(recipe("Detectron2's DefaultTrainer"), names)
    trainer = names["trainer"]
    assert isinstance(trainer, DefaultTrainer) and not isinstance(trainer, AdaptationTrainer)
    assert trainer.iter == 3 and recorded(trainer.storage)


def test_default_trainer_with_the_hook_takes_the_steps_of_our_trainer(cfg, tmp_path):
    class Ours(DefaultTrainer):
        @classmethod
        def build_train_loader(cls, cfg):
            return build_adaptation_train_loader(cfg)

        @classmethod
        def build_optimizer(cls, cfg, model):
            return build_optimizer(cfg, model)

    torch.manual_seed(0)
    foreign = Ours(cfg)
    foreign.register_hooks([MetaAlignHook(cfg, foreign.model)])
    foreign.train()
    cfg.OUTPUT_DIR = str(tmp_path / "ours")
    torch.manual_seed(0)
    own = AdaptationTrainer(cfg)
    own.train()
    for (name, a), b in zip(foreign.model.state_dict().items(), own.model.state_dict().values()):
        assert torch.equal(a, b), name


def test_own_mapper(cfg):
    names = {"cfg": cfg}
    exec(recipe("A trainer with its own mapper"), names)
    assert recorded(names["trainer"].storage)


def test_lazy_config_loop(cfg):
    model = tiny_model(cfg)
    names = {
        "cfg": cfg,
        "model": model,
        "loader": build_adaptation_train_loader(cfg),
        "optimizer": build_optimizer(cfg, model),
    }
    exec(recipe("LazyConfig, or any loop around SimpleTrainer"), names)
    assert isinstance(names["trainer"], SimpleTrainer) and recorded(names["trainer"].storage)


def test_plain_torch():
    torch.manual_seed(0)
    net = nn.ModuleDict(
        {"body": nn.Linear(2, 8), "head": nn.Linear(8, 1), "critic": nn.Linear(8, 1)}
    )
    source, target = torch.randn(64, 2), torch.randn(64, 2) + 1
    labels = (source[:, :1] > 0).float()
    bce = nn.functional.binary_cross_entropy_with_logits

    def run(name, params, x):
        return functional_call(net[name], {k: params[f"{name}.{k}"] for k in ("weight", "bias")}, x)

    def task(params):
        return {"task": bce(run("head", params, run("body", params, source).tanh()), labels)}

    def alignment(params):
        s, t = (run("critic", params, run("body", params, x).tanh()) for x in (source, target))
        loss = bce(s, torch.zeros_like(s)) + bce(t, torch.ones_like(t))
        return {"critic": LossTerm(loss, weight=0.1, owner="critic")}

    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    before = task(dict(net.named_parameters()))["task"].item()
    names = {"net": net, "task": task, "alignment": alignment, "optimizer": optimizer}
    exec(recipe("Plain torch"), names)
    assert task(dict(net.named_parameters()))["task"].item() < 0.8 * before


# ---- what cannot work says so -----------------------------------------------------------------


def test_a_loader_without_target_images_is_refused_before_training(cfg):
    trainer = DefaultTrainer(cfg)  # Detectron2's own loader: lists of source images
    trainer.register_hooks([MetaAlignHook(cfg, trainer.model)])
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    with pytest.raises(UserError, match="PairedLoader"):
        trainer.train()
    assert all(torch.equal(v, before[k]) for k, v in trainer.model.state_dict().items())


def test_a_simple_trainer_is_told_what_to_use_instead(cfg):
    model = tiny_model(cfg)
    trainer = SimpleTrainer(model, build_adaptation_train_loader(cfg), build_optimizer(cfg, model))
    trainer.register_hooks([MetaAlignHook(cfg, model)])
    with pytest.raises(UserError, match="AdaptationLoop"):
        trainer.train(0, 1)


def test_a_model_that_cannot_be_adapted_is_named(cfg):
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.DA.CONTEXT = False

    class Trainer(DefaultTrainer):
        @classmethod
        def build_train_loader(cls, cfg):
            return build_adaptation_train_loader(cfg)

    trainer = Trainer(cfg)
    with pytest.raises(UserError, match="GeneralizedRCNN cannot be adapted"):
        trainer.register_hooks([MetaAlignHook(cfg, trainer.model)])


def trained_and_restored(cfg):
    """A trainer that the recipe has trained, and the hook of another one with its state."""
    names = {"cfg": cfg}
    exec(recipe("Detectron2's DefaultTrainer"), names)
    first = names["trainer"]
    state = first.state_dict()
    second = type(first)(cfg)
    hook = MetaAlignHook(cfg, second.model)
    second.register_hooks([hook])
    second.load_state_dict(state)
    return first, hook


def test_a_foreign_trainers_checkpoint_restores_what_the_source_keeps(cfg):
    cfg.METAALIGN.BETA.LR = 5.0
    first, hook = trained_and_restored(cfg)
    assert hook.source.weights.values() == first._hooks[-1].source.weights.values() != [1.0] * 3
    assert isinstance(first._trainer, AdaptationLoop) and isinstance(hook, CoordinationHook)


def test_a_foreign_trainers_checkpoint_restores_the_teacher_and_its_average(cfg):
    cfg.EMA.ENABLED = cfg.TEACHER.ENABLED = cfg.TEACHER.CLASS_ODDS.ENABLED = True
    cfg.INPUT.VIEWS.TARGET = "both"
    cfg.TEACHER.THRESHOLD = cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    first, hook = trained_and_restored(cfg)
    here, there = (x.source.learning for x in (hook, first._hooks[-1]))
    assert there.teacher.class_odds.source_counts.sum() > 0
    assert here.teacher.state_dict().keys() == there.teacher.state_dict().keys()
    for a, b in zip(*(x.average.model.state_dict().values() for x in (here, there))):
        assert torch.equal(a, b)
    for a, b in zip(*(x.state_dict()["class_odds"].values() for x in (here, there))):
        assert torch.equal(a, b)
