"""Numbers that say how two objectives agree, from gradients that a step has anyway.

They cost a reading or two of g, v and theta: no pass through a network, nothing allocated that
is larger than a scalar a tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from .objective import Gradients
from .stages import StageGroups


def inner_products(
    groups: StageGroups, g: Gradients, v: Gradients, params: Mapping[str, Tensor]
) -> Tensor:
    """<g_m, v_m> for each stage group, shape (M,)."""
    rows = []
    for members in groups.stages.values():
        pairs = [(g[n], v[n]) for n in members if g[n] is not None and v[n] is not None]
        zero = params[members[0]].new_zeros(())
        rows.append(sum((torch.dot(a.flatten(), b.flatten()) for a, b in pairs), zero))
    return torch.stack(rows)


def step_telemetry(
    groups: StageGroups,
    g: Gradients,
    v: Gradients,
    params: Mapping[str, Tensor],
    step_size: Mapping[str, float],
) -> dict[str, float]:
    """Per stage group: ``inner`` = <g, v>, ``cosine``, ``step_ratio`` = |alpha beta g| / |theta|.

    Args:
        groups: the stage groups.
        g, v: gradients of the looking and the validating objective, by name.
        params: parameters by name.
        step_size: name -> alpha times its weight.

    Returns:
        dict[str, float]: ``lookahead/<quantity>/<group>``.
    """
    numbers = {}
    products = inner_products(groups, g, v, params).tolist()
    for (group, members), product in zip(groups.stages.items(), products):
        g_norm, v_norm = norm(g[n] for n in members), norm(v[n] for n in members)
        theta = norm(params[n].detach() for n in members)
        numbers[f"lookahead/inner/{group}"] = product
        numbers[f"lookahead/cosine/{group}"] = product / max(g_norm * v_norm, 1e-30)
        numbers[f"lookahead/step_ratio/{group}"] = (
            abs(step_size[members[0]]) * g_norm / max(theta, 1e-30)
        )
    return numbers


def norm(tensors: Iterable[Tensor | None]) -> float:
    """Euclidean norm of all of them as one vector, None being zero."""
    present = [t for t in tensors if t is not None]
    if not present:
        return 0.0
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(present))).item()
