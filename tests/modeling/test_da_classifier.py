from __future__ import annotations

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

import metaalign_det.modeling.backbone.digits
import metaalign_det.modeling.meta_arch.da_classifier  # noqa: F401 (registers)
from metaalign_det.alignment.base import AlignmentMethod
from metaalign_det.alignment.registry import ALIGNMENT_METHODS
from metaalign_det.config import add_metaalign_config
from metaalign_det.coordination.stages import StageGroups, is_under
from metaalign_det.coordination.stateless import RandomStreams
from metaalign_det.errors import UserError
from metaalign_det.loss_term import LossTerm

K = 4
methods = pytest.mark.parametrize("method", ALIGNMENT_METHODS)


def config(method: str = "none", *options):
    cfg = get_cfg()
    add_metaalign_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "DomainAdaptiveClassifier"
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "build_digits_backbone"
    cfg.MODEL.DIGITS_NET.CHANNELS = [4, 6]
    cfg.MODEL.DIGITS_NET.FC_DIM = 8
    cfg.MODEL.CLASSIFIER.IN_FEATURE = "fc"
    cfg.MODEL.CLASSIFIER.NUM_CLASSES = K
    cfg.MODEL.CLASSIFIER.BOTTLENECK = 5
    cfg.MODEL.ALIGN.METHOD = method
    cfg.MODEL.ALIGN.HIDDEN = 6
    cfg.MODEL.ALIGN.SCHEDULE = "constant"
    cfg.MODEL.ALIGN.LAMBDA = 0.7
    cfg.merge_from_list(list(options))
    return cfg


def model_of(method: str = "none", *options):
    return build_model(config(method, *options)).double()


def images(n: int, *, label: bool = True, domains: int = 1, side: int = 16) -> list[dict]:
    return [
        {
            "image": torch.rand(3, side, side, dtype=torch.float64) * 255,
            "domain": i % domains,
            **({"label": i % K} if label else {}),
        }
        for i in range(n)
    ]


def gradients(loss, params) -> dict[str, torch.Tensor]:
    found = torch.autograd.grad(loss, list(params.values()), allow_unused=True, retain_graph=True)
    return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(params.items(), found)}


@methods
@pytest.mark.parametrize(
    ("between", "sources", "toalign"),
    [
        ("target", 1, False),
        ("target", 1, True),
        ("target", 2, False),
        ("domains", 2, False),
        ("domains", 2, True),
        ("sources", 2, False),
    ],
)
def test_joint_training_is_the_task_and_the_alignment_objective_added(
    method, between, sources, toalign
):
    options = ("MODEL.ALIGN.BETWEEN", between, "MODEL.ALIGN.TASK_ORIENTED", toalign)
    domains = str(tuple(range(sources)))
    model = model_of(method, *options, "DATASETS.TRAIN_DOMAINS", domains)
    model.train().random_streams = RandomStreams(0)  # the same dropout in both
    source = images(6, domains=sources)
    target = [] if between == "sources" else images(5, label=False)
    params = dict(model.named_parameters())

    losses = model({"source": source, "target": target})
    joint = gradients(sum(losses.values()), params)

    task = gradients(sum(model.task_losses(source).values()), params)
    terms = model.alignment_terms(source, target)
    objective = sum((-t.weight if t.adversarial else t.weight) * t.loss for t in terms.values())
    aligned = gradients(objective, params)
    for term in terms.values():
        if term.adversarial:
            owned = {n: p for n, p in params.items() if is_under(n, term.owner)}
            aligned.update(gradients(term.loss, owned))
            assert owned and term.owner in model.discriminator_prefixes()
    assert set(losses) == {"loss_cls", *terms}
    for name, grad in joint.items():
        assert (grad - task[name] - aligned[name]).abs().max() <= 1e-12, name
        assert grad.abs().max() > 0, name


@pytest.mark.parametrize("reverse", [True, False], ids=["joint", "coordinated"])
@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda f, w: f.mean(), "returned a Tensor, no dict"),
        (
            lambda f, w: {"loss_x": f.mean()},
            r"'loss_x' is a Tensor; return LossTerm\(loss, weight\)",
        ),
        (lambda f, w: {"": LossTerm(f.mean(), w)}, "'' is no name of a loss.*begin with 'loss_'"),
        (lambda f, w: {"loss_x": LossTerm(f.mean(1), w)}, r"'loss_x' is not a scalar: .*\(10,\)"),
        (lambda f, w: {"loss_x": LossTerm(f.mean(), w, "critic")}, "owned by 'critic'.*has none"),
        (lambda f, w: {"loss_x": LossTerm(f.detach().mean(), w)}, "depends on no parameter"),
    ],
)
def test_an_alignment_of_somebody_elses_that_breaks_the_contract_is_told(made, message, reverse):
    class Odd(AlignmentMethod):
        def forward(self, features, logits, domains, *, weight, **kwargs):
            return made(features, weight)

    model = model_of().train()
    model.alignment = Odd()
    source, target = images(6), images(4, label=False)
    with pytest.raises((TypeError, ValueError), match=rf"^Odd\.forward.*{message}"):
        if reverse:
            model({"source": source, "target": target})
        else:
            model.alignment_terms(source, target)


@methods
def test_toalign_shows_the_alignment_what_the_task_reads_of_the_source(method):
    model = model_of(method, "MODEL.ALIGN.TASK_ORIENTED", "True").train()
    model.random_streams = RandomStreams(0)
    source, target = images(6), images(6, label=False)
    seen = []
    model.alignment.forward, original = (
        lambda features, logits, domains, **kw: (
            seen.append((features, logits)) or original(features, logits, domains, **kw)
        ),
        model.alignment.forward,
    )
    losses = model({"source": source, "target": target})
    model.alignment_terms(source, target)
    ((joint_f, _), (f, z)) = seen
    assert torch.equal(joint_f, f)
    plain_f, plain_z = model._predict(source)
    # The bridge of GVB is linear too: the gradient of a logit is one row of both together.
    rows = model.classifier.weight[[0, 1, 2, 3, 0, 1]]
    if method == "gvb":
        rows = rows - model.alignment.bridge.weight[[0, 1, 2, 3, 0, 1]]
    positive = rows * plain_f
    positive *= plain_f.norm(dim=1, keepdim=True) / positive.norm(dim=1, keepdim=True)
    torch.testing.assert_close(f[:6], positive)
    torch.testing.assert_close(z[:6], model._logits(positive))
    torch.testing.assert_close(f[6:], model._predict(target)[0])
    expected = model._cross_entropy(source, plain_z)["loss_cls"]  # the task is not touched
    torch.testing.assert_close(losses["loss_cls"], expected)


def test_without_a_method_it_trains_the_task_alone():
    model = model_of().train()
    source = images(4)
    assert model.alignment_terms(source, images(4, label=False)) == {}
    for batch in (source, {"source": source, "target": []}):
        losses = model(batch)
        assert set(losses) == {"loss_cls"}
        assert torch.equal(losses["loss_cls"], model.task_losses(source)["loss_cls"])


@methods
def test_target_labels_cannot_be_seen(method):
    model = model_of(method).train()
    model.random_streams = RandomStreams(0)
    source, target = images(4), images(4, label=False)
    poisoned = [{**x, "label": 3, "instances": None, "domain": 9} for x in target]
    clean = model({"source": source, "target": target})
    assert {k: v.item() for k, v in clean.items()} == {
        k: v.item() for k, v in model({"source": source, "target": poisoned}).items()
    }


def test_batch_statistics_are_those_of_each_domain():
    model = model_of("dann", "MODEL.DIGITS_NET.NORM", "BN").train()
    source, target = images(6), images(6, label=False)
    for x in target:
        x["image"] = x["image"] * 0.1
    alone = model.task_losses(source)["loss_cls"]
    joint = model({"source": source, "target": target})["loss_cls"]
    assert torch.equal(alone, joint)


def test_lambda_follows_the_iteration_of_the_training_loop():
    options = ("MODEL.ALIGN.SCHEDULE", "dann", "MODEL.ALIGN.SCHEDULE_STEPS", 100)
    model = model_of("dann", *options).train()
    batch = images(4), images(4, label=False)
    weights = []
    for start in (0, 50):
        with EventStorage(start):
            weights.append(model.alignment_terms(*batch)["loss_dann"].weight)
    assert weights == pytest.approx([0.0, 0.7 * 0.98661], abs=1e-5)
    assert model.alignment_terms(*batch)["loss_dann"].weight == pytest.approx(0.7, rel=1e-3)


def test_lambda_begins_where_burn_in_ends():
    options = ("MODEL.ALIGN.SCHEDULE", "dann", "ADAPTATION.BURN_IN", 40, "SOLVER.MAX_ITER", 140)
    weight = model_of("dann", *options).alignment_weight
    found = [weight.at(i) for i in (0, 40, 90, 140)]
    assert found == pytest.approx([0.0, 0.0, 0.7 * 0.98661, 0.7], rel=1e-3)


def test_weight_zero_lets_the_discriminator_learn_and_leaves_the_backbone_alone():
    model = model_of("dann", "MODEL.ALIGN.LAMBDA", 0.0).train()
    loss = model.alignment_terms(images(4), images(4, label=False))["loss_dann"].loss
    params = dict(model.named_parameters())
    for name, grad in gradients(loss, params).items():
        assert bool(grad.abs().max() > 0) == name.startswith("alignment.discriminator"), name


def test_discriminator_accuracy_is_recorded_by_domain():
    model = model_of("dannpe").train()
    with EventStorage() as storage:
        model.alignment_terms(images(4), images(4, label=False))
    latest = storage.latest()
    assert {"da/acc_source", "da/acc_target"} <= set(latest)
    assert all(0 <= latest[f"da/acc_{d}"][0] <= 1 for d in ("source", "target"))

    model = model_of("dannpe", "MODEL.ALIGN.BETWEEN", "domains", "DATASETS.TRAIN_DOMAINS", "(0, 1)")
    with EventStorage() as storage:
        model.train().alignment_terms(images(4, domains=2), images(4, label=False))
    assert {"da/acc_domain0", "da/acc_domain1", "da/acc_domain2"} <= set(storage.latest())


def test_evaluation_gives_probabilities_whatever_the_batch():
    model = model_of("gvb").eval()
    inputs = [*images(2, label=False), *images(1, label=False, side=20)]
    together = model(inputs)
    for x, out in zip(inputs, together):
        assert out["scores"].shape == out["logits"].shape == (K,)
        assert out["scores"].sum().item() == pytest.approx(1.0)
        assert torch.allclose(model([x])[0]["logits"], out["logits"], rtol=1e-10)


def test_the_generator_bridge_is_part_of_the_prediction_and_learns_from_the_task():
    model = model_of("gvb").eval()
    x = images(3)
    before = model(x)[0]["logits"]
    with torch.no_grad():
        model.alignment.bridge.bias += torch.arange(K)
    assert torch.allclose(model(x)[0]["logits"], before - torch.arange(K))
    model.train().task_losses(x)["loss_cls"].backward()
    assert model.alignment.bridge.weight.grad.abs().max() > 0


@methods
def test_autocast_changes_losses_by_little(method):
    model = model_of(method, "MODEL.ALIGN.DROPOUT", 0.0).float().train()
    source, target = images(4), images(4, label=False)
    for x in (*source, *target):
        x["image"] = x["image"].float() / 255
    exact = model({"source": source, "target": target})
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model({"source": source, "target": target})
    for name, loss in rounded.items():
        assert loss.dtype == torch.float32, name
        assert loss.item() == pytest.approx(exact[name].item(), rel=0.1, abs=0.05), name
    sum(rounded.values()).backward()


def test_label_smoothing_is_off_by_default_and_configurable():
    x = images(4)
    plain = model_of().train()
    smooth = model_of("none", "MODEL.CLASSIFIER.LABEL_SMOOTHING", 0.2).train()
    smooth.load_state_dict(plain.state_dict())
    log_p = torch.stack([o["logits"] for o in plain.eval()(x)]).log_softmax(dim=1)
    right = -log_p[torch.arange(4), torch.arange(4) % K].mean()
    assert plain.train().task_losses(x)["loss_cls"].item() == pytest.approx(right.item())
    expected = 0.8 * right - 0.2 * log_p.mean()
    assert smooth.task_losses(x)["loss_cls"].item() == pytest.approx(expected.item())


def test_stage_groups_of_resnets_and_of_the_digits_network():
    model = model_of("cdan")
    params = dict(model.named_parameters())
    groups = StageGroups.from_prefixes(model.backbone_stages(), params)
    assert groups.names == ("conv1", "conv2", "fc")
    assert set(groups.scope) == {n for n in params if n.startswith("backbone.")}

    resnet = build_model(
        config(
            "none",
            *("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RESNETS.DEPTH", 18),
            *("MODEL.RESNETS.RES2_OUT_CHANNELS", 64, "MODEL.RESNETS.OUT_FEATURES", "('res5',)"),
            *("MODEL.CLASSIFIER.IN_FEATURE", "res5", "MODEL.BACKBONE.FREEZE_AT", 0),
        )
    )
    assert resnet.backbone_stages() == {
        "stem+res2": ("backbone.stem", "backbone.res2"),
        "res3": ("backbone.res3",),
        "res4": ("backbone.res4",),
        "res5": ("backbone.res5",),
    }


def test_the_digits_network_takes_other_image_sizes_and_no_fc():
    model = model_of("none", "MODEL.DIGITS_NET.FC_DIM", 0, "MODEL.CLASSIFIER.IN_FEATURE", "conv2")
    assert "fc" not in model.backbone_stages()
    for side in (8, 33):
        assert model.eval()(images(1, side=side))[0]["scores"].shape == (K,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("MODEL.ALIGN.METHOD", "coral"), "MODEL.ALIGN.METHOD: 'coral' is none of none, dann"),
        (("MODEL.ALIGN.BETWEEN", "all"), "MODEL.ALIGN.BETWEEN: 'all' is none of"),
        (("MODEL.ALIGN.BETWEEN", "sources"), "at least two source domains"),
        (("MODEL.ALIGN.SCHEDULE", "cosine"), "MODEL.ALIGN.SCHEDULE: unknown schedule 'cosine'"),
        (("MODEL.ALIGN.LAMBDA", -1.0), "MODEL.ALIGN.LAMBDA must be >= 0"),
        (("MODEL.CLASSIFIER.IN_FEATURE", "res5"), "no output 'res5', only conv1, conv2, flat, fc"),
        (("MODEL.CLASSIFIER.NUM_CLASSES", 1), "MODEL.CLASSIFIER.NUM_CLASSES must be >= 2"),
        (("MODEL.DIGITS_NET.CHANNELS", "[]"), "MODEL.DIGITS_NET needs"),
        (("MODEL.CLASSIFIER.LABEL_SMOOTHING", 1.5), "MODEL.CLASSIFIER.LABEL_SMOOTHING must be"),
        (("MODEL.ALIGN.DROPOUT", 2.0), "MODEL.ALIGN, METHOD 'dann': dropout probability .* 2.0"),
        (("MODEL.ALIGN.METHOD", "mmd", "MODEL.ALIGN.BANDWIDTH", -1.0), "METHOD 'mmd': .* got -1.0"),
    ],
)
def test_a_config_that_cannot_work_is_refused_at_building(options, message):
    with pytest.raises(UserError, match=message):
        build_model(config("dann", *options))


def test_batches_that_cannot_work_are_refused():
    model = model_of("dann").train()
    source, target = images(4), images(4, label=False)
    with pytest.raises(UserError, match="label 7 .*NUM_CLASSES is 4"):
        model.task_losses([*source, {**source[0], "label": 7}])
    with pytest.raises(UserError, match="no target images: name a data set in DATASETS.TARGET"):
        model({"source": source, "target": []})
    with pytest.raises(UserError, match="different sizes"):
        model({"source": [*source, *images(1, side=20)], "target": target})
    model = model_of("dann", "MODEL.ALIGN.BETWEEN", "domains", "DATASETS.TRAIN_DOMAINS", "(0, 1)")
    with pytest.raises(UserError, match=r"domains \[0, 1, 2\], but DATASETS.TRAIN_DOMAINS names 2"):
        model.train()({"source": images(6, domains=3), "target": target})
