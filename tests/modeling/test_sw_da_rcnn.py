from __future__ import annotations

import pytest
import torch
from detectron2.modeling import GeneralizedRCNN, build_model
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage

from metaalign_det.alignment.domain_losses import DOMAIN_LOSSES
from metaalign_det.coordination import (
    Objective,
    RandomStreams,
    StageGroups,
    call_at,
    evaluate,
)
from metaalign_det.errors import UserError
from metaalign_det.modeling import SWDARCNN
from tests.coordination.toys import alignment_value, coordinated_step, relative_error
from tests.tiny import batch, images, tiny_cfg, tiny_model

ALL = ("LOCAL", "GLOBAL", "INSTANCE")

pytestmark = pytest.mark.usefixtures("double_proposals")


@pytest.fixture(autouse=True)
def _storage():
    with EventStorage():
        yield


def with_streams(model):
    model.random_streams = RandomStreams(0)
    return model


def test_without_discriminators_it_is_detectron2s_generalized_rcnn():
    ours = tiny_model(tiny_cfg(discriminators=()))
    theirs = tiny_model(tiny_cfg("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", discriminators=()))
    theirs.load_state_dict(ours.state_dict())
    data = images(2, 0)
    torch.manual_seed(1)
    a = ours({"source": data, "target": images(2, 1, labelled=False)})
    torch.manual_seed(1)
    b = theirs(data)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_it_evaluates_like_any_detectron2_model_with_context_vectors():
    model = tiny_model(tiny_cfg(discriminators=ALL)).eval()
    inputs = [{"image": x["image"], "height": 128, "width": 128} for x in images(3, 1)]
    with torch.no_grad():
        together, alone = model(inputs), [model([x])[0] for x in inputs]
    for a, b in zip(together, alone):
        assert a["instances"].image_size == (128, 128)
        assert torch.allclose(a["instances"].scores, b["instances"].scores, atol=1e-5)


@pytest.mark.parametrize("discriminators", [("GLOBAL",), ("LOCAL", "GLOBAL"), ALL])
def test_joint_training_equals_the_two_contract_methods(discriminators):
    """Sum of losses with gradient reversal == task gradient + signed alignment gradient."""
    cfg = tiny_cfg("MODEL.DA.GLOBAL.LAMBDA", 0.6, discriminators=discriminators)
    model, data = with_streams(tiny_model(cfg, double=True)), batch(double=True)
    params = {n: p for n, p in model.named_parameters() if p.requires_grad}
    losses = model(data)
    joint = torch.autograd.grad(sum(losses.values()), list(params.values()), allow_unused=True)
    task = evaluate(Objective((lambda p: model.task_losses(data["source"]),)), params)
    align = evaluate(
        Objective((lambda p: model.alignment_terms(data["source"], data["target"]),)), params
    )
    for k, value in {**task.losses, **align.losses}.items():
        assert losses[k].item() == pytest.approx(value.item(), rel=1e-12), k
    for (name, _), j in zip(params.items(), joint):
        parts = [g for g in (task.gradients[name], align.gradients[name]) if g is not None]
        assert (j is None) == (not parts), name
        if parts:
            assert relative_error(sum(parts), j) < 1e-10, name


def test_a_backbone_with_dropout_repeats_its_masks_for_both_objectives():
    model, data = with_streams(tiny_model(tiny_cfg(discriminators=("LOCAL",)))), batch()
    forward = model.backbone.forward
    model.backbone.forward = lambda x: {
        k: torch.nn.functional.dropout(f, 0.5) for k, f in forward(x).items()
    }
    generator = torch.get_rng_state()
    joint = model(data)
    task = model.task_losses(data["source"])
    align = model.alignment_terms(data["source"], data["target"])
    assert torch.equal(joint["loss_cls"], task["loss_cls"])
    assert torch.equal(joint["loss_da_local"], align["loss_da_local"].loss)
    assert torch.equal(torch.get_rng_state(), generator)


def test_alignment_is_separable_by_domain():
    model = with_streams(tiny_model(tiny_cfg(discriminators=ALL), double=True))
    data = batch(2, 3, double=True)
    whole = model.alignment_terms(data["source"], data["target"])
    one = model.alignment_terms(data["source"], [])
    other = model.alignment_terms([], data["target"])
    for k, term in whole.items():
        assert (one[k].loss + other[k].loss).item() == pytest.approx(term.loss.item(), rel=1e-12)


@pytest.mark.parametrize("discriminators", [("LOCAL", "GLOBAL"), ALL])
@pytest.mark.parametrize("role", ["alignment", "task"])
@pytest.mark.parametrize("hvp", ["keep_graph", "recompute"])
def test_exact_equals_one_graph_autograd_through_the_whole_detector(role, hvp, discriminators):
    cfg = tiny_cfg("MODEL.DA.GLOBAL.LAMBDA", 0.6, discriminators=discriminators)
    model = with_streams(tiny_model(cfg, double=True))
    data = batch(double=True)
    params = {n: p for n, p in model.named_parameters() if p.requires_grad}
    groups = StageGroups.from_prefixes(model.backbone_stages(), params)
    beta, alpha = [0.7, 1.1, 0.9], 0.05

    def task(p):
        return call_at(model, p, "task_losses", data["source"])

    def part(source, target):
        return lambda p: call_at(model, p, "alignment_terms", source, target)

    alignment = Objective([part(data["source"], []), part([], data["target"])])
    result = coordinated_step(
        task, alignment, params, groups, beta, alpha, role=role, order="exact", hvp=hvp
    )

    def value_of_task(p):
        return sum(task(p).values())

    def value_of_alignment(p):
        return alignment_value(part(data["source"], data["target"])(p))

    look, validate = (value_of_alignment, value_of_task)[:: 1 if role == "alignment" else -1]
    first = look(params)
    g = torch.autograd.grad(first, [params[n] for n in groups.scope], create_graph=True)
    weight = groups.weight_of(beta)
    moved = {n: params[n] - alpha * weight[n] * x for n, x in zip(groups.scope, g)}
    names = [n for n in params if not n.startswith("discriminators")]
    total = first + validate({**params, **moved})
    expected = torch.autograd.grad(total, [params[n] for n in names], allow_unused=True)
    for name, e in zip(names, expected):
        if e is not None:
            assert relative_error(result.gradients[name], e) < 1e-10, name


def test_a_weight_of_zero_trains_the_discriminator_and_aligns_nothing():
    cfg = tiny_cfg("MODEL.DA.LOCAL.LAMBDA", 0.0, discriminators=("LOCAL",), context=False)
    model, data = with_streams(tiny_model(cfg)), batch()
    losses = model(data)
    losses["loss_da_local"].backward()
    assert all(p.grad is None for n, p in model.named_parameters() if n.startswith("backbone"))
    assert model.discriminators["local"].predictor.weight.grad.abs().sum() > 0
    terms = model.alignment_terms(data["source"], data["target"])
    assert not torch.autograd.grad(
        terms["loss_da_local"].loss, [model.backbone.stem.conv1.weight], allow_unused=True
    )[0]


def test_padding_of_smaller_images_does_not_vote():
    """A batch of different sizes: the padded region changes neither loss nor context."""
    model = tiny_model(tiny_cfg(discriminators=("LOCAL",)))
    small, large = images(2, 1, size=[(48, 64), (64, 64)], labelled=False)
    both, features = model._extract([small, large])
    mask = model._valid(both, "res2", features["res2"])
    assert mask[0, 0, :12].all() and not mask[0, 0, 12:].any() and mask[1].all()
    before = model._domain_loss("local", 1, both, features, reverse=False)
    features["res2"] = features["res2"].clone()
    features["res2"][0, :, 12:] += 100.0
    after = model._domain_loss("local", 1, both, features, reverse=False)
    assert torch.equal(before, after)
    context = model._context(both, features)
    features["res2"][0, :, 12:] -= 200.0
    assert torch.equal(context, model._context(both, features))


@pytest.mark.parametrize("n_source, n_target", [(1, 1), (1, 3), (3, 1)])
def test_any_batch_size_per_domain(n_source, n_target):
    model = tiny_model(tiny_cfg(discriminators=ALL))
    data = {
        "source": images(n_source, 0, size=[(64, 64), (48, 80), (64, 32)][:n_source]),
        "target": images(n_target, 1, size=[(32, 64), (48, 80), (64, 32)][:n_target]),
    }
    for x in data["target"]:
        del x["instances"]
    losses = model(data)
    assert {"loss_da_local", "loss_da_global", "loss_da_instance"} < set(losses)
    assert all(torch.isfinite(v) for v in losses.values())


def test_the_backbone_does_not_follow_the_task_through_context_vectors():
    model = tiny_model(tiny_cfg())
    imgs, features = model._extract(images(2, 0))
    assert all(f.requires_grad for f in features.values())
    context = model._context(imgs, features)
    found = torch.autograd.grad(
        context.sum(), [model.backbone.stem.conv1.weight], allow_unused=True
    )
    assert found == (None,)
    assert context.requires_grad, "but the discriminators' hidden layers do"


def test_a_domain_loss_that_a_plug_in_adds_is_a_detectors(monkeypatch):
    monkeypatch.setitem(DOMAIN_LOSSES, "doubled", lambda log_p, gamma: -2 * log_p)
    found = {}
    for name in ("bce", "doubled"):
        model = with_streams(tiny_model(tiny_cfg("MODEL.DA.LOCAL.LOSS", name)))
        found[name] = model(batch())["loss_da_local"].item()
    assert found["doubled"] == pytest.approx(2 * found["bce"])


def test_a_detector_that_aligns_in_a_way_of_its_own_says_that_it_aligns():
    class Own(SWDARCNN):
        def alignment_terms(self, source, target):
            return {}

    plain = tiny_cfg(discriminators=())
    assert not SWDARCNN(plain).aligns
    assert Own(plain).aligns


def test_accuracy_of_discriminators_is_recorded_per_domain():
    model = tiny_model(tiny_cfg(discriminators=ALL))
    with EventStorage() as storage:
        model(batch())
        names = set(storage.latest())
    assert {
        f"da/{k}_acc_{d}" for k in ("local", "global", "instance") for d in ("source", "target")
    } <= names


@pytest.mark.parametrize(
    "opts, message",
    [
        (["MODEL.DA.LOCAL.FEATURE", "res9"], "MODEL.DA.LOCAL.FEATURE: .*no output 'res9'.*res2"),
        (["MODEL.DA.LOCAL.LOSS", "hinge"], "'hinge' is none of.*METAALIGN_PLUGINS has to name"),
        (["MODEL.DA.GLOBAL.LAMBDA", -1.0], "MODEL.DA.GLOBAL.LAMBDA must be >= 0"),
        (["MODEL.DA.GLOBAL.GAMMA", -1.0], "MODEL.DA.GLOBAL.GAMMA must be >= 0"),
        (["MODEL.DA.LOCAL.HIDDEN", [], "MODEL.DA.CONTEXT", False], "MODEL.DA.LOCAL.HIDDEN needs"),
        (["MODEL.DA.GLOBAL.NORM", "IN"], "MODEL.DA.GLOBAL: norm .* must be BN, GN or '', got 'IN'"),
        (["MODEL.DA.GLOBAL.DROPOUT", 2.0], "MODEL.DA.GLOBAL: dropout probability .* 2.0"),
        (
            ["MODEL.DA.INSTANCE.ENABLED", True, "MODEL.DA.INSTANCE.ROIS_PER_IMAGE", 0],
            "MODEL.DA.INSTANCE.ROIS_PER_IMAGE must be >= 1",
        ),
    ],
)
def test_settings_that_cannot_be_are_named(opts, message):
    with pytest.raises(UserError, match=message):
        build_model(tiny_cfg(*opts))


def test_context_without_an_image_discriminator_is_named():
    cfg = tiny_cfg("MODEL.DA.CONTEXT", True, discriminators=("INSTANCE",), context=False)
    with pytest.raises(UserError, match="MODEL.DA.CONTEXT needs"):
        build_model(cfg)


def test_it_trains_in_a_stock_detectron2_trainer():
    from detectron2.engine import SimpleTrainer

    model = tiny_model(tiny_cfg(discriminators=ALL))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    trainer = SimpleTrainer(model, [batch(seed=i) for i in range(3)], optimizer)
    trainer.train(0, 3)
    moved = [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]
    assert any(n.startswith("discriminators.instance") for n in moved)
    assert any(n.startswith("backbone.res2") for n in moved)


def test_pictures_of_a_training_get_labels_on_the_cpu_wherever_a_teacher_made_them(monkeypatch):
    """Detectron2 draws no boxes of another device."""
    moved_to, shown = {}, []
    to = Instances.to

    def remember(self, device):
        moved = to(self, device)
        moved_to[id(moved)] = str(device)
        return moved

    monkeypatch.setattr(Instances, "to", remember)
    monkeypatch.setattr(
        GeneralizedRCNN, "visualize_training", lambda self, inputs, _: shown.extend(inputs)
    )
    model = tiny_model(tiny_cfg("VIS_PERIOD", 1))
    model.task_losses(images(2, 0))
    assert [moved_to.get(id(x["instances"])) for x in shown] == ["cpu", "cpu"]
