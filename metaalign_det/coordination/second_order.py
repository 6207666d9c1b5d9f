"""The Hessian-vector product of exact mode, and a clear word where an operator has none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import Node

from ..loss_term import LossTerm
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
            _contract(look, ahead.graphs.pop(0), cotangent, params, targets, loss_scale, total)
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
            _contract(look, one.graphs.pop(), cotangent, params, targets, loss_scale, total)
    return total


def _contract(
    look: Objective,
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
    operators = _operators(edge.node for edge in outputs)
    if _CUT in operators:  # autograd would not get there, and leave the term out without a word
        reason = "its backward is marked once_differentiable"
        raise _without_second_derivative(_marked_once(look, params), reason)
    graph.convolutions.only_for(params[n] for n in targets)
    try:
        found = torch.autograd.grad(
            outputs,
            [params[n] for n in targets],
            grad_outputs=[cotangent[n] for n in names],
            allow_unused=True,
        )
    except RuntimeError as error:
        raise _explained(error, operators) from error
    for name, h in zip(targets, found):
        if h is not None:
            h = h / loss_scale if loss_scale != 1.0 else h
            total[name] = h if total[name] is None else total[name] + h


#: What torch says of an operator whose backward has no derivative.
_SYMPTOMS = ("not implemented", "once_differentiable", "not supported", "NotImplemented")

#: The node that torch puts behind the gradients of a ``once_differentiable`` backward. Nothing
#: leads on from it.
_CUT = "Error"

_MARKED = once_differentiable(lambda ctx: None).__code__


def _explained(error: RuntimeError, operators: set[str]) -> RuntimeError:
    if not any(symptom in str(error) for symptom in _SYMPTOMS):
        return error
    first_line = str(error).splitlines()[0]
    return _without_second_derivative(operators, first_line)


def _without_second_derivative(operators: Iterable[str], reason: str) -> DoubleBackwardError:
    named = ", ".join(sorted(operators)) or reason
    return DoubleBackwardError(
        f"exact mode needs second derivatives, and an operator has none: {named}. Replace it by "
        "a twice differentiable one (metaalign_det.coordination.ops has RoIAlign), or use order "
        f"'first'. torch says: {reason}"
    )


def _operators(roots: Iterable[Node | None]) -> set[str]:
    """Operators in a graph that are not torch's own, the usual ones without second derivatives.

    :data:`_CUT` among them where a graph ends at one.
    """
    names = (node.name().replace("torch::autograd::", "") for node in _nodes(roots))
    return {n for n in names if n == _CUT or "CppNode" in n or "NotImplemented" in n}


def _marked_once(objective: Objective, params: Mapping[str, Tensor]) -> set[str]:
    """Operators of an objective whose backward is marked ``once_differentiable``.

    They stand in the graph of its losses alone, which is gone by now and is built once more.
    """
    names = set()
    for _, part in objective:
        with torch.enable_grad():
            losses = [LossTerm.of(x).loss for x in part(params).values()]
        for node in _nodes(loss.grad_fn for loss in losses):
            operator = getattr(type(node), "_forward_cls", None)
            backward = getattr(operator, "backward", None)
            if getattr(backward, "__code__", None) is _MARKED:
                names.add(operator.__name__)
    return names


def _nodes(roots: Iterable[Node | None]) -> Iterator[Node]:
    """Every node of a graph once."""
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        stack += [parent for parent, _ in node.next_functions]
