"""Two processes with half of the data each against one process with all of it."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from metaalign_det.coordination import FlatAllReduce, call_at, keep_local
from tests.coordination.toys import coordinated_step, relative_error, toy
from tests.processes import run

BETA, ALPHA = (0.8, 1.3), 0.3
CASES = [
    (order, role, inner)
    for order in ("first", "exact")
    for role in ("alignment", "task")
    for inner in ("global", "local")
]


def half(t, rows):
    """Both objectives on some of the rows; all losses are means of rows."""
    x, y, s = t.x[:6][rows], t.y[:6][rows], t.target[rows]
    return (
        lambda p: call_at(t.model, p, "task_losses", x, y),
        lambda p: call_at(t.model, p, "alignment_terms", x, s),
    )


def in_one_of_two(rank):
    t = toy(distance=0.0)
    rows = slice(3 * rank, 3 * rank + 3)
    out, calls = {}, []
    all_reduce = dist.all_reduce
    dist.all_reduce = lambda *a, **k: (calls.append(1), all_reduce(*a, **k))[1]
    for order, role, inner in CASES:
        calls.clear()
        r = coordinated_step(
            *half(t, rows), t.params, t.groups, BETA, ALPHA,
            order=order, role=role, inner=inner, reduce=FlatAllReduce(),
        )  # fmt: skip
        grads = {n: g.numpy() for n, g in r.gradients.items() if g is not None}
        out[order, role, inner] = grads, r.beta_gradient.numpy(), len(calls)
    return out


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    results = run(in_one_of_two, store=tmp_path_factory.mktemp("store") / "f")
    assert [r[1] for r in results] == ["ok", "ok"], results
    return [r[2] for r in results]


@pytest.mark.parametrize("order, role, inner", CASES)
def test_two_processes_equal_one_with_all_the_data(both, order, role, inner):
    t = toy(distance=0.0)
    whole = coordinated_step(
        *half(t, slice(0, 6)), t.params, t.groups, BETA, ALPHA, order=order, role=role
    )
    worst = 0.0
    for grads, beta, _ in (b[order, role, inner] for b in both):
        assert grads.keys() == {n for n, g in whole.gradients.items() if g is not None}
        for n, g in grads.items():
            worst = max(worst, relative_error(torch.from_numpy(g), whole.gradients[n]))
        worst = max(worst, relative_error(torch.from_numpy(beta), whole.beta_gradient))
    if inner == "global":
        assert worst < 1e-10
    else:
        assert worst > 1e-5, "a local inner gradient is another objective"


@pytest.mark.parametrize("order, role, inner", CASES)
def test_all_processes_get_the_same_gradients(both, order, role, inner):
    (a, beta_a, _), (b, beta_b, _) = (r[order, role, inner] for r in both)
    assert all((a[n] == b[n]).all() for n in a) and (beta_a == beta_b).all()


@pytest.mark.parametrize("order, role, inner", CASES)
def test_as_few_collectives_as_possible(both, order, role, inner):
    expected = 1 if inner == "local" else {"first": 2, "exact": 3}[order]
    assert both[0][order, role, inner][2] == expected


def unused_on_one(rank):
    p = {"a": torch.zeros(2, requires_grad=True), "b": torch.zeros(3), "c": torch.zeros(1)}
    grads = [
        ("a", torch.full((2,), 1.0 + rank)),
        ("b", torch.ones(3) if rank else None),
        ("c", None),
    ]
    found = FlatAllReduce()(grads, p)
    return [None if g is None else g.tolist() for g in found]


def test_a_parameter_that_one_process_does_not_reach_counts_as_zero_there(tmp_path):
    for _, status, found in run(unused_on_one, store=tmp_path / "f"):
        assert status == "ok"
        assert found == [[1.5, 1.5], [0.5, 0.5, 0.5], None]


def test_a_single_process_keeps_its_gradients():
    g = torch.ones(2)
    assert keep_local([("a", g), ("b", None)], {})[0] is g


def fails_on_one(rank):
    t = toy(distance=0.0)
    if rank == 1:
        raise RuntimeError("this process fails")
    coordinated_step(*half(t, slice(0, 3)), t.params, t.groups, BETA, ALPHA, reduce=FlatAllReduce())


def test_a_process_that_fails_ends_the_others_with_an_error(tmp_path):
    (_, status0, text0), (_, status1, text1) = run(fails_on_one, store=tmp_path / "f", timeout=15)
    assert (status0, status1) == ("error", "error")
    assert "this process fails" in text1
