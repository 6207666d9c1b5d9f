"""Averaging named gradients over processes in one flat all-reduce."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

#: Averages gradients over processes. Gradients are by name, None where this process did not
#: reach the parameter; the result is None only where no process did.
Reducer = Callable[[Sequence[tuple[str, "Tensor | None"]], Mapping[str, Tensor]], "list"]


def keep_local(
    grads: Sequence[tuple[str, Tensor | None]], params: Mapping[str, Tensor]
) -> list[Tensor | None]:
    """The reducer of a single process."""
    return [g for _, g in grads]


class FlatAllReduce:
    """One collective for any number of named gradients, unused parameters included.

    All gradients of a type go into one flat buffer, followed by one flag a parameter that says
    whether this process reached it; the sum of the buffer over processes divided by their number
    is the gradient of the mean of their losses. ``DistributedDataParallel`` cannot do this: it
    acts on ``backward``, which ``autograd.grad`` never calls.

    Args:
        group: process group, default all processes.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group = group
        self.world_size = dist.get_world_size(group)

    def __call__(
        self, grads: Sequence[tuple[str, Tensor | None]], params: Mapping[str, Tensor]
    ) -> list[Tensor | None]:
        """
        Args:
            grads: (name, gradient or None) pairs, the same names in the same order in every
                process; a name may come twice with different gradients.
            params: the parameters of those names, for shapes, types and devices.
        """
        result: list[Tensor | None] = [None] * len(grads)
        by_type: dict[tuple[torch.dtype, torch.device], list[int]] = {}
        for i, (name, _) in enumerate(grads):
            by_type.setdefault((params[name].dtype, params[name].device), []).append(i)
        for (dtype, device), members in by_type.items():
            sizes = [params[grads[i][0]].numel() for i in members]
            flat = torch.zeros(sum(sizes) + len(members), dtype=dtype, device=device)
            pieces = list(flat[: sum(sizes)].split(sizes))
            for k, i in enumerate(members):
                if grads[i][1] is not None:
                    pieces[k].copy_(grads[i][1].reshape(-1))
                    flat[sum(sizes) + k] = 1
            dist.all_reduce(flat, group=self.group)
            reached = flat[sum(sizes) :].tolist()
            flat[: sum(sizes)] /= self.world_size
            for k, i in enumerate(members):
                if reached[k]:
                    result[i] = pieces[k].view_as(params[grads[i][0]])
        return result
