from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from metaalign_det.alignment.cdan import CDAN, RandomizedMap, multilinear_map
from metaalign_det.alignment.dann import DANN, DANNPE
from metaalign_det.alignment.gvb import GVB
from metaalign_det.alignment.registry import ALIGNMENT_METHODS, build_alignment_method
from metaalign_det.alignment.weighting import entropy_weights
from metaalign_det.loss_term import joint_losses

C, K = 5, 3
SMALL = {"hidden": (6, 6), "dropout": 0.0}
DOMAINS = torch.tensor([0, 0, 0, 1, 1])

ADVERSARIAL = {
    "dann": lambda d=2, **kw: DANN(C, K, d, **SMALL, **kw),
    "dann+e": lambda d=2, **kw: DANN(C, K, d, entropy=True, **SMALL, **kw),
    "dannpe": lambda d=2, **kw: DANNPE(C, K, d, **SMALL, **kw),
    "cdan": lambda d=2, **kw: CDAN(C, K, d, **SMALL, **kw),
    "cdan+e": lambda d=2, **kw: CDAN(C, K, d, entropy=True, **SMALL, **kw),
    "cdan randomised": lambda d=2, **kw: CDAN(
        C, K, d, entropy=True, randomized_above=4, randomized_dim=7, **SMALL, **kw
    ),
    "gvb": lambda d=2, **kw: GVB(C, K, d, **SMALL, **kw),
}
adversarial = pytest.mark.parametrize("name", ADVERSARIAL)


def inputs(n: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    return (
        torch.randn(n, C, dtype=torch.float64, requires_grad=True),
        torch.randn(n, K, dtype=torch.float64, requires_grad=True),
    )


def gradients(loss, tensors) -> list[torch.Tensor]:
    found = torch.autograd.grad(loss, tensors, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, found)]


@adversarial
@pytest.mark.parametrize("weight", [0.3, 1.7])
def test_reversal_equals_signs_put_on_by_hand(name, weight):
    method = ADVERSARIAL[name]().double()
    f, z = inputs()
    players, owned = [f, z], list(method.discriminator.parameters())

    joint = joint_losses(method(f, z, DOMAINS, weight=weight, reverse=True))
    through_reversal = gradients(sum(joint.values()), players + owned)

    terms = method(f, z, DOMAINS, weight=weight, reverse=False).values()
    objective = sum((-t.weight if t.adversarial else t.weight) * t.loss for t in terms)
    by_hand = gradients(objective, players)
    by_hand += gradients(sum(t.loss for t in terms if t.adversarial), owned)
    for a, b in zip(through_reversal, by_hand):
        assert (a - b).abs().max() <= 1e-12
    assert all(g.abs().max() > 0 for g in by_hand[-len(owned) :])


@adversarial
@pytest.mark.parametrize("domains", [2, 3])
def test_gradients_match_finite_differences_without_stop_gradient(name, domains):
    method = ADVERSARIAL[name](domains, stop_gradient=False).double()
    labels = torch.arange(6) % domains

    def value(f, z):
        return sum(t.loss for t in method(f, z, labels, weight=1.0, reverse=False).values())

    assert torch.autograd.gradcheck(value, inputs(6))


@adversarial
def test_weight_zero_trains_the_discriminator_and_nothing_else(name):
    method = ADVERSARIAL[name]().double()
    f, z = inputs()
    for reverse in (False, True):
        (term,) = (
            t for t in method(f, z, DOMAINS, weight=0.0, reverse=reverse).values() if t.adversarial
        )
        players = gradients(term.loss, [f, z])
        assert all(g.abs().max() == 0 for g in players)
        owned = gradients(term.loss, list(method.discriminator.parameters()))
        assert all(g.abs().max() > 0 for g in owned)


@adversarial
def test_descending_the_alignment_objective_confuses_the_discriminator(name):
    method = ADVERSARIAL[name](stop_gradient=False).double()
    f, z = inputs()

    def loss(features, logits):
        terms = method(features, logits, DOMAINS, weight=1.0, reverse=False)
        return sum(t.loss for t in terms.values() if t.adversarial)

    terms = method(f, z, DOMAINS, weight=1.0, reverse=True)
    reversed_loss = sum(t.loss for t in terms.values() if t.adversarial)
    df, dz = gradients(reversed_loss, [f, z])
    assert loss(f - 1e-3 * df, z - 1e-3 * dz) > loss(f, z)


@adversarial
def test_a_discriminator_at_chance_costs_log_of_the_number_of_domains(name):
    for domains in (2, 3):
        method = ADVERSARIAL[name](domains).double()
        for p in method.discriminator.parameters():
            torch.nn.init.zeros_(p)
        labels = torch.arange(6) % domains
        terms = method(*inputs(6), labels, weight=1.0, reverse=False)
        (term,) = (t for t in terms.values() if t.adversarial)
        assert term.loss.item() == pytest.approx(math.log(domains))


@adversarial
def test_the_observer_sees_the_discriminators_logits(name):
    seen = []
    method = ADVERSARIAL[name]().double()
    method(
        *inputs(),
        DOMAINS,
        weight=1.0,
        reverse=True,
        observe=lambda logits, domains: seen.append((logits.shape, domains.tolist())),
    )
    assert seen == [((5, 1), DOMAINS.tolist())]


def test_dann_is_the_mean_of_both_domains_binary_cross_entropy():
    method = DANN(C, K, **SMALL).double()
    f, z = inputs()
    logits = method.discriminator(f)
    expected = sum(
        F.binary_cross_entropy_with_logits(part, torch.full_like(part, d)) / 2
        for d, part in enumerate((logits[:3], logits[3:]))
    )
    found = method(f, z, DOMAINS, weight=1.0, reverse=False)["loss_dann"].loss
    assert found.item() == pytest.approx(expected.item())


def test_dannpe_by_hand():
    # One hidden unit that passes p_0 on: the domain logit is 2 p_0 - 1.
    method = DANNPE(C, 2, hidden=(1,), dropout=0.0).double()
    first, last = method.discriminator.mlp[0], method.discriminator.mlp[-1]
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 0.0]]))
        last.weight.fill_(2.0)
        last.bias.fill_(-1.0)
    z = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [0.0, math.log(3)]], dtype=torch.float64)
    domains = torch.tensor([0, 0, 1])
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    # p_0 = 1/2, 3/4, 1/4; logits 0, 1/2, -1/2. H = log 2, and h for (3/4, 1/4).
    h = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    a, b = 0.5, math.exp(-h)
    source = (a * math.log(2) - b * math.log(1 - sigmoid(0.5))) / (a + b)
    target = -math.log(sigmoid(-0.5))
    terms = method(torch.zeros(3, C), z, domains, weight=1.0, reverse=False)
    assert terms["loss_dannpe"].loss.item() == pytest.approx((source + target) / 2)


def test_gradient_flows_through_the_entropy_weights_and_is_reversed_too():
    method = DANNPE(C, K, **SMALL).double()
    with torch.no_grad():
        method.discriminator.mlp[0].weight.zero_()  # blind to p: only the weights depend on z
        method.discriminator.mlp[-1].bias.fill_(0.3)
    f, z = inputs()
    (plain,) = gradients(method(f, z, DOMAINS, weight=1.0, reverse=False)["loss_dannpe"].loss, [z])
    (turned,) = gradients(method(f, z, DOMAINS, weight=0.4, reverse=True)["loss_dannpe"].loss, [z])
    weights = entropy_weights(z, DOMAINS, stop_gradient=True)
    losses = F.softplus(torch.tensor(0.3, dtype=torch.float64) * (1 - 2 * DOMAINS))
    (expected,) = gradients((weights * losses).sum() / 2, [z])
    assert plain.abs().max() > 1e-3
    assert torch.allclose(plain, expected, rtol=1e-10)
    assert torch.allclose(turned, -0.4 * plain, rtol=1e-12)


def test_multilinear_map_of_one_hot_predictions_selects():
    f = torch.randn(2, C)
    mapped = multilinear_map(f, torch.eye(K)[[2, 0]]).view(2, K, C)
    assert torch.equal(mapped[0, 2], f[0]) and torch.equal(mapped[1, 0], f[1])
    assert mapped.abs().sum().item() == pytest.approx(f.abs().sum().item())


def test_multilinear_map_by_hand():
    f, g = torch.tensor([[2.0, 3.0]]), torch.tensor([[0.25, 0.75]])
    assert multilinear_map(f, g).tolist() == [[0.5, 0.75, 1.5, 2.25]]


def test_randomised_map_keeps_inner_products_on_average():
    f, g = torch.randn(2, C).double(), torch.softmax(torch.randn(2, K), dim=1).double()
    exact = multilinear_map(f, g)
    random = RandomizedMap(C, K, 200_000).double()(f, g)
    assert (random[0] @ random[1]).item() == pytest.approx((exact[0] @ exact[1]).item(), abs=0.05)
    assert (random[0] @ random[0]).item() == pytest.approx((exact[0] @ exact[0]).item(), rel=0.05)


def test_cdan_is_randomised_only_above_the_threshold_and_keeps_its_matrices():
    assert CDAN(C, K, randomized_above=C * K).randomized_map is None
    method = CDAN(C, K, randomized_above=C * K - 1, randomized_dim=7)
    assert method.discriminator.mlp[0].in_features == 7
    assert "randomized_map.features_matrix" in method.state_dict()
    assert "randomized_map.features_matrix" not in dict(method.named_parameters())


def test_published_cdan_takes_predictions_in_the_map_as_constants():
    f, z = inputs()
    for stop, flows in ((True, False), (False, True)):
        method = CDAN(C, K, stop_gradient=stop, **SMALL).double()
        terms = method(f, z, DOMAINS, weight=1.0, reverse=False)
        (grad,) = gradients(terms["loss_cdan"].loss, [z])
        assert bool(grad.abs().max() > 0) == flows


def test_gvb_with_zero_bridges_is_dannpe():
    gvb, dannpe = GVB(C, K, **SMALL).double(), DANNPE(C, K, **SMALL).double()
    with torch.no_grad():
        for bridge in (gvb.bridge, gvb.discriminator.bridge):
            bridge.weight.zero_()
    dannpe.discriminator.mlp.load_state_dict(gvb.discriminator.mlp.state_dict())
    f, z = inputs()
    assert torch.equal(gvb.predict(f, z), z)
    found = gvb(f, gvb.predict(f, z), DOMAINS, weight=0.8, reverse=True)
    expected = dannpe(f, z, DOMAINS, weight=0.8, reverse=True)["loss_dannpe"]
    assert torch.equal(found["loss_gvb"].loss, expected.loss)
    for a, b in zip(gradients(found["loss_gvb"].loss, [z]), gradients(expected.loss, [z])):
        assert torch.equal(a, b)
    assert found["loss_gvb_bridge"].loss.item() == 0.0


def test_gvb_bridges_are_subtracted_and_penalised():
    gvb = GVB(C, K, bridge_generator=0.5, bridge_discriminator=2.0, **SMALL).double()
    f, z = inputs()
    bridge = f @ gvb.bridge.weight.T + gvb.bridge.bias
    assert torch.allclose(gvb.predict(f, z), z - bridge)
    terms = gvb(f, z, DOMAINS, weight=0.3, reverse=False)
    explicit = terms["loss_gvb_bridge"]
    assert (explicit.adversarial, explicit.weight) == (False, 0.5)
    assert explicit.loss.item() == pytest.approx(bridge.abs().mean().item())

    # The discriminator's bridge: the loss is linear in its penalty's weight.
    _, inner = gvb.discriminator.bridged(F.softmax(z, dim=1))
    gvb.bridge_discriminator = 0.0
    without = gvb(f, z, DOMAINS, weight=0.3, reverse=False)["loss_gvb"].loss
    assert (terms["loss_gvb"].loss - without).item() == pytest.approx(2 * inner.abs().mean().item())


def test_a_discriminator_forward_is_what_gvb_scores():
    gvb = GVB(C, K, **SMALL).double()
    p = torch.softmax(inputs()[1], dim=1)
    h = gvb.discriminator.mlp[:-1](p)
    expected = gvb.discriminator.mlp[-1](h) - gvb.discriminator.bridge(h)
    assert torch.equal(gvb.discriminator(p), expected)


@pytest.mark.parametrize("name", ALIGNMENT_METHODS)
@pytest.mark.parametrize("domains", [2, 4])
def test_every_method_is_built_by_name_and_owners_name_its_parameters(name, domains):
    method = build_alignment_method(name, C, K, domains).double()
    f, z = (torch.randn(8, w, dtype=torch.float64, requires_grad=True) for w in (C, K))
    terms = method(f, method.predict(f, z), torch.arange(8) % domains, weight=1.0, reverse=False)
    owners = {t.owner for t in terms.values() if t.adversarial}
    assert owners == set(method.discriminators)
    names = [n for n, _ in method.named_parameters()]
    assert all(any(n.startswith(f"{o}.") for n in names) for o in owners)
    assert sum(t.loss for t in terms.values()).requires_grad


def test_bad_methods_are_named():
    with pytest.raises(ValueError, match="unknown alignment method 'wdgrl'"):
        build_alignment_method("wdgrl", C, K)
    with pytest.raises(ValueError, match="fewer than 2 domains"):
        build_alignment_method("dann", C, K, 1)
    with pytest.raises(ValueError, match="bridge penalties"):
        GVB(C, K, bridge_generator=-1.0)
