"""The lookahead on a plain two-layer network, as a user without Detectron2 would write it."""

from __future__ import annotations


def test_example():
    import torch
    from torch import nn
    from torch.func import functional_call

    from metaalign_det.alignment.terms import AlignmentTerm
    from metaalign_det.lookahead import StageGroups, StageWeights, coordinated_step

    torch.manual_seed(0)
    net = nn.ModuleDict(
        {"body": nn.Linear(2, 8), "head": nn.Linear(8, 1), "critic": nn.Linear(8, 1)}
    )
    source, target = torch.randn(64, 2), torch.randn(64, 2) + 1
    labels = (source[:, :1] > 0).float()
    bce = nn.functional.binary_cross_entropy_with_logits

    def run(name, params, x):
        own = {k.removeprefix(name + "."): v for k, v in params.items() if k.startswith(name)}
        return functional_call(net[name], own, x)

    def task(params):
        return {"loss": bce(run("head", params, run("body", params, source).tanh()), labels)}

    def alignment(params):
        s, t = (run("critic", params, run("body", params, x).tanh()) for x in (source, target))
        loss = bce(s, torch.zeros_like(s)) + bce(t, torch.ones_like(t))
        return {"critic": AlignmentTerm(loss, weight=0.1, owner="critic")}

    params = dict(net.named_parameters())
    groups = StageGroups({"body": ["body.weight", "body.bias"]})
    beta = StageWeights(len(groups))
    optimizer = torch.optim.SGD([*net.parameters(), *beta.parameters()], lr=0.1)
    losses = []
    for _ in range(100):
        step = coordinated_step(
            task, alignment, params, groups, beta.values(), alpha=0.05, order="exact"
        )
        for name, p in params.items():
            p.grad = step.gradients[name]
        beta.set_gradient(step.beta_gradient)
        optimizer.step()
        losses.append(step.losses["loss"].item())

    assert losses[-1] < 0.5 * losses[0]
