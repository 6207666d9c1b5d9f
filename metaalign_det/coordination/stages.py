"""Which parameters look ahead, in which groups, and with which learnable weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn


def is_under(name: str, prefix: str) -> bool:
    """Whether a parameter is called ``prefix`` or belongs to the module of that name."""
    return name == prefix or name.startswith(prefix + ".")


class StageGroups:
    """A partition of named parameters into stage groups, each with its own weight beta_m.

    Args:
        stages: group name -> names of its parameters, all trainable, no name in two groups.
        rest: names of parameters that look ahead too, with the fixed weight ``rest_factor``
            instead of a learnable one (heads and discriminators where the scope is everything).
        rest_factor: their inner step relative to alpha, >= 0.
    """

    def __init__(
        self,
        stages: Mapping[str, Sequence[str]],
        rest: Sequence[str] = (),
        rest_factor: float = 1.0,
    ) -> None:
        self.stages = {name: tuple(members) for name, members in stages.items()}
        self.rest = tuple(rest)
        self.rest_factor = float(rest_factor)
        if not self.stages:
            raise ValueError("a lookahead needs at least one stage group")
        owner: dict[str, str] = {}
        for group, members in [*self.stages.items(), ("rest", self.rest)]:
            if not members and group != "rest":
                raise ValueError(f"stage group {group!r} has no trainable parameter; leave it out")
            for name in members:
                if name in owner:
                    raise ValueError(
                        f"stage groups {owner[name]!r} and {group!r} overlap: both hold {name!r}"
                    )
                owner[name] = group

    @classmethod
    def from_prefixes(
        cls,
        stages: Mapping[str, Iterable[str]],
        params: Mapping[str, Tensor],
        *,
        drop_frozen: bool = False,
        rest: bool = False,
        rest_factor: float = 1.0,
    ) -> StageGroups:
        """Groups of the trainable parameters whose names lie under the given prefixes.

        Args:
            stages: group name -> prefixes, for example ``{"res3": ["backbone.res3"]}``.
            params: all parameters by name; those with ``requires_grad`` are trainable.
            drop_frozen: leave a group without trainable parameters out instead of raising. A
                frozen group must never stay in: its beta gets no gradient from the objective
                and would satisfy the constraint on the sum for free.
            rest: put every other trainable parameter into ``rest``.

        Raises:
            ValueError: a prefix names no parameter, a group has no trainable parameter, or two
                groups overlap.
        """
        found: dict[str, list[str]] = {}
        for group, prefixes in stages.items():
            members = []
            for prefix in prefixes:
                matched = [name for name in params if is_under(name, prefix)]
                if not matched:
                    tops = sorted({".".join(name.split(".")[:2]) for name in params})
                    raise ValueError(
                        f"stage group {group!r}: no parameter is called {prefix!r} or lies under "
                        f"it; the parameters lie under {', '.join(tops)}"
                    )
                members += [name for name in matched if params[name].requires_grad]
            if members or not drop_frozen:
                found[group] = members
        taken = {name for members in found.values() for name in members}
        others = [n for n, p in params.items() if p.requires_grad and n not in taken]
        return cls(found, others if rest else (), rest_factor)

    @staticmethod
    def parse(specs: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """``["stem+res2=backbone.stem+backbone.res2", ...]`` -> ``{"stem+res2": (...), ...}``."""
        stages: dict[str, tuple[str, ...]] = {}
        for spec in specs:
            name, _, prefixes = spec.partition("=")
            parts = tuple(p.strip() for p in prefixes.split("+") if p.strip())
            if not name.strip() or not parts:
                raise ValueError(
                    f"cannot read stage group {spec!r}; write it as name=prefix+prefix, for "
                    "example 'stem+res2=backbone.stem+backbone.res2'"
                )
            if name.strip() in stages:
                raise ValueError(f"stage group {name.strip()!r} is given twice")
            stages[name.strip()] = parts
        return stages

    def __len__(self) -> int:
        """M, the number of groups with a learnable weight."""
        return len(self.stages)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.stages)

    @property
    def scope(self) -> tuple[str, ...]:
        """Names of all parameters that take the inner step."""
        return tuple(n for members in self.stages.values() for n in members) + self.rest

    def weight_of(self, beta: Sequence[float]) -> dict[str, float]:
        """Parameter name -> its weight in the inner step: beta_m, or ``rest_factor``."""
        if len(beta) != len(self):
            raise ValueError(f"{len(self)} stage groups need as many beta, got {len(beta)}")
        weights = {n: b for members, b in zip(self.stages.values(), beta) for n in members}
        weights.update(dict.fromkeys(self.rest, self.rest_factor))
        return weights


class StageWeights(nn.Module):
    """The stage weights beta and their regulariser L_beta = w * |sum(beta) - B|.

    The paper writes the constraint as a penalty; its public code has it commented out. As a
    module it goes into checkpoints and optimisers like any other.

    Args:
        num_groups: M.
        mode: ``"learned"`` by gradient descent; ``"frozen"`` at B/M each; ``"normalised"``:
            learned, and rescaled to sum to B wherever they are used.
        total: B; None = M, so that each starts at 1.
        weight: w >= 0. Not used where the sum is fixed anyway.
    """

    MODES = ("learned", "frozen", "normalised")

    def __init__(
        self,
        num_groups: int,
        *,
        mode: str = "learned",
        total: float | None = None,
        weight: float = 0.01,
    ) -> None:
        super().__init__()
        if mode not in self.MODES:
            raise ValueError(f"unknown beta mode {mode!r}; choose one of {', '.join(self.MODES)}")
        if weight < 0:
            raise ValueError(f"the weight of L_beta must be >= 0, got {weight}")
        self.mode = mode
        self.total = float(num_groups if total is None else total)
        self.weight = float(weight)
        start = torch.full((num_groups,), self.total / num_groups)
        self.raw = nn.Parameter(start, requires_grad=mode != "frozen")

    @torch.no_grad()
    def values(self) -> list[float]:
        """beta as used by the inner step, M numbers."""
        raw = self.raw.detach().double().cpu()
        if self.mode == "normalised":
            raw = raw * (self.total / raw.sum())
        return raw.tolist()

    @torch.no_grad()
    def set_gradient(self, beta_grad: Tensor) -> None:
        """Put d(objective)/d(raw) into ``raw.grad`` from d(objective)/d(beta).

        Args:
            beta_grad (Tensor): shape (M,), without L_beta, averaged over processes. The
                subgradient of L_beta is added here, after the averaging, because it is the same
                in every process.
        """
        if self.mode == "frozen":
            return
        grad = beta_grad.detach().to(self.raw)
        if self.mode == "normalised":
            # beta_m = B raw_m / sum(raw): the direction along beta itself has no effect.
            total = self.raw.sum()
            beta = self.raw * (self.total / total)
            grad = (self.total * grad - (grad * beta).sum()) / total
        else:
            grad = grad + self.weight * torch.sign(self.raw.sum() - self.total)
        self.raw.grad = grad
