"""The Hessian-vector product of exact mode, and a clear word where an operator has none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from .objective import Evaluation, Gradients, KeptGraph, Objective, evaluate
from .stateless import RandomState


class DoubleBackwardError(RuntimeError):
    """An operator on the way of exact mode cannot be differentiated twice; it is named."""


def second_order_term(
    look: Objective,
    params: Mapping[str, Tensor],
    ahead: Evaluation,
    cotangent: Mapping[str, Tensor],
    scope: Sequence[str],
    *,
    owned: Collection[str] = (),
    loss_scale: float = 1.0,
    again: tuple[RandomState, Callable[[], AbstractContextManager]] | None = None,
) -> Gradients:
    """(dg/dp)^T c for every parameter p, by backward through the looking gradient g.

    g is the gradient *field* of the looking objective: where discriminators are in scope it is
    the gradient of no single function, and the transpose matters.

    Args:
        look: the objective that looks ahead.
        params: all parameters by name.
        ahead: its evaluation; its kept graphs are used up and released one by one.
        cotangent: c by name, alpha beta v over the scope.
        scope: names over which g and c are contracted.
        owned: names that get nothing: parameters that discriminators own.
        loss_scale: the factor that is in the kept graphs.
        again: None to use the kept graphs; else the random state before the first evaluation
            and the replay context, to evaluate part by part once more.

    Raises:
        DoubleBackwardError: an operator has no second derivative.
    """
    targets = [n for n, p in params.items() if p.requires_grad and n not in owned]
    total: Gradients = dict.fromkeys(targets)
    if again is None:
        while ahead.graphs:
            _contract(ahead.graphs.pop(0), cotangent, params, targets, loss_scale, total)
        return total
    state, replay = again
    with state.replayed(), replay():
        for weight, part in look:
            one = evaluate(
                Objective((part,), (weight,)),
                params,
                create_graph=True,
                graph_for=scope,
                graph_only=True,
                only=scope,
                loss_scale=loss_scale,
            )
            _contract(one.graphs.pop(), cotangent, params, targets, loss_scale, total)
    return total


def _contract(
    graph: KeptGraph,
    cotangent: Mapping[str, Tensor],
    params: Mapping[str, Tensor],
    targets: Sequence[str],
    loss_scale: float,
    total: Gradients,
) -> None:
    names = [n for n in graph.edges if n in cotangent]
    if not names:
        return
    outputs = [graph.edges[n] for n in names]
    graph.convolutions.only_for(params[n] for n in targets)
    try:
        found = torch.autograd.grad(
            outputs,
            [params[n] for n in targets],
            grad_outputs=[cotangent[n] for n in names],
            allow_unused=True,
        )
    except RuntimeError as error:
        raise _explained(error, outputs) from error
    for name, h in zip(targets, found):
        if h is not None:
            h = h / loss_scale if loss_scale != 1.0 else h
            total[name] = h if total[name] is None else total[name] + h


#: What torch says of an operator whose backward has no derivative.
_SYMPTOMS = ("not implemented", "once_differentiable", "not supported", "NotImplemented")


def _explained(error: RuntimeError, outputs: Sequence[GradientEdge]) -> RuntimeError:
    if not any(symptom in str(error) for symptom in _SYMPTOMS):
        return error
    first_line = str(error).splitlines()[0]
    named = ", ".join(sorted(_custom_operators(outputs))) or first_line
    return DoubleBackwardError(
        f"exact mode needs second derivatives, and an operator has none: {named}. Replace it by "
        "a twice differentiable one (metaalign_det.coordination.ops has RoIAlign), or use order "
        "'first'. "
        f"torch says: {first_line}"
    )


def _custom_operators(outputs: Sequence[GradientEdge]) -> set[str]:
    """Operators in a graph that are not torch's own, the usual ones without second derivatives."""
    seen: set = set()
    names: set[str] = set()
    stack = [edge.node for edge in outputs]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        name = node.name()
        if "CppNode" in name or "Error" in name or "NotImplemented" in name:
            names.add(name.replace("torch::autograd::", ""))
        stack += [parent for parent, _ in node.next_functions]
    return names
