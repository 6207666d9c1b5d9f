"""Single steps and single operators on the device against the CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu_check.rows import Check, relative_difference
from benchmarks.gpu_check.trial import SIZES, Trial, trial_cfg
from metaalign_det.adaptation.registry import GRADIENT_SOURCES
from metaalign_det.adaptation.step import Gradients
from metaalign_det.coordination import RandomState, RandomStreams
from metaalign_det.coordination.ops.convolution import FastSecondDerivatives
from metaalign_det.coordination.ops.roi_align import roi_align

#: Of gradients in float32. Sums of up to 1e5 products in another order differ by 1e-6 to 1e-5;
#: on a CPU, weights moved by 1e-6 (relative) move the gradients by 4e-6. A wrong sign or a missing
#: term is 0.1 and more.
FLOAT32 = (2e-3, "another order of summation in float32")
#: A second derivative passes every rounding twice. With _EXACT's alpha, order "first" is more than
#: ten times this away from it.
EXACT = (1e-2, "float32, every rounding twice")
#: 8 bits of mantissa, 0.4 % an operation, some thirty operations one behind the other; regions near
#: an IoU of 0.5 or of NMS's threshold change sides. On a CPU: 0.12 (detector), 0.04.
BFLOAT16 = (0.35, "8 bits of mantissa, and regions that change sides")
#: 11 bits: an eighth of bfloat16's rounding, the same regions at the edge. On a CPU: 0.02, 0.01.
FLOAT16 = (0.25, "11 bits of mantissa, and regions that change sides")

_EXACT = (
    "METAALIGN.ENABLED", "True", "METAALIGN.ALPHA", "constant", "METAALIGN.META_LR", "0.3",
    "METAALIGN.ORDER", "exact", "METAALIGN.ROLE",
)  # fmt: skip


def step_checks(device: str) -> Iterator[Check]:
    """The step in each precision and memory layout, exact mode, and every coordinator."""
    for model in SIZES:
        for precision, (tolerance, why) in (
            ("float32", FLOAT32),
            ("bfloat16", BFLOAT16),
            ("float16", FLOAT16),
        ):
            measure = partial(against_cpu, model, device, precision=precision)
            name = f"{model}, {precision}" + (", scaled" if precision == "float16" else "")
            yield Check("step", name, measure, tolerance, why)
        measure = partial(against_cpu, model, device, "MODEL.CHANNELS_LAST", "True", plain=True)
        yield Check("step", f"{model}, channels last", measure, *FLOAT32)
        for role in ("alignment", "task"):
            for hvp in ("keep_graph", "recompute"):
                opts = (*_EXACT, role, "METAALIGN.HVP", hvp)
                measure = partial(against_cpu, model, device, *opts)
                yield Check("exact", f"{model}, role {role}, {hvp}", measure, *EXACT)
        for coordinator in GRADIENT_SOURCES:
            opts = ("ADAPTATION.COORDINATOR", coordinator, "METAALIGN.ENABLED", "False")
            measure = partial(against_cpu, model, device, *opts)
            yield Check("coordinator", f"{model}, {coordinator}", measure, *FLOAT32)


def against_cpu(
    model: str, device: str, *opts: str, precision: str = "float32", plain: bool = False
) -> float:
    """Relative difference of gradients or of losses, the larger of both, from the CPU in float32.

    Args:
        model: "detector" or "classifier".
        device: as ``MODEL.DEVICE``.
        opts: KEY, VALUE pairs.
        precision: on the device.
        plain: the CPU is without ``opts``.
    """
    expected = _on_cpu(model, () if plain else opts)
    trial = Trial(trial_cfg(model, device, *opts), SIZES[model], precision=precision)
    found = trial.gradients()
    kinds = {g.device.type for g in found.by_name.values() if g is not None}
    if kinds != {torch.device(device).type}:
        raise AssertionError(f"gradients are on {sorted(kinds)} instead of {device}")
    if not found.finite:
        return math.inf
    return max(
        relative_difference(found.by_name, expected.by_name),
        relative_difference(found.losses, expected.losses),
    )


@cache
def _on_cpu(model: str, opts: tuple[str, ...]) -> Gradients:
    return Trial(trial_cfg(model, "cpu", *opts), SIZES[model]).gradients()


# ---- operators --------------------------------------------------------------------------------


def operator_checks(device: str) -> Iterator[Check]:
    """RoIAlign and the fast convolution, forward, backward and double backward."""
    for dtype, tolerance, why in (
        (torch.float32, 1e-4, "float32, sums by atomic additions in any order"),
        (torch.float64, 1e-10, "float64, sums by atomic additions in any order"),
    ):
        for order in range(3):
            measure = partial(_of_order, _regions, order, dtype, device)
            name = f"RoIAlign, derivative {order}, {str(dtype).removeprefix('torch.')}"
            yield Check("operator", name, measure, tolerance, why)
    for name, options in (
        ("3x3", {"padding": 1}),
        ("1x1, stride 2", {"stride": 2}),
        ("3x3, grouped, dilated", {"padding": 2, "dilation": 2, "groups": 2}),
    ):
        size = 1 if name.startswith("1x1") else 3
        function = partial(_convolved, size, options)
        for order in (1, 2):
            measure = partial(_of_order, function, order, torch.float32, device)
            yield Check(
                "operator", f"convolution {name}, derivative {order}", measure, 1e-4, "float32"
            )


def _of_order(
    function: Callable[[Tensor], Tensor], order: int, dtype: torch.dtype, device: str
) -> float:
    """Relative difference of a derivative of ``function`` (N, 4, 12, 12) on device and CPU."""

    def derivative(where: str) -> Tensor:
        g = torch.Generator().manual_seed(1)
        x = torch.randn(2, 4, 12, 12, generator=g, dtype=dtype).to(where).requires_grad_()
        u = torch.randn(2, 4, 12, 12, generator=g, dtype=dtype).to(where)
        y = function(x)
        if order == 0:
            return y
        (first,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=order == 2)
        return first if order == 1 else torch.autograd.grad((first * u).sum(), x)[0]

    return relative_difference({"": derivative(device)}, {"": derivative("cpu")})


def _regions(x: Tensor) -> Tensor:
    rois = torch.tensor(
        [[0, 1.3, 2.1, 30.7, 40.2], [1, 0, 0, 47.9, 47.9], [1, 20.4, 3.3, 33.0, 9.8]],
        dtype=x.dtype,
        device=x.device,
    )
    return roi_align(x, rois, (3, 5), spatial_scale=0.25, sampling_ratio=0)


def _convolved(size: int, options: dict, x: Tensor) -> Tensor:
    groups = options.get("groups", 1)
    g = torch.Generator().manual_seed(2)
    weight = torch.randn(6, 4 // groups, size, size, generator=g, dtype=x.dtype).to(x.device)
    with FastSecondDerivatives():
        return F.conv2d(x, weight.requires_grad_(), None, **options)


# ---- random numbers -----------------------------------------------------------------------------


def random_checks(device: str) -> Iterator[Check]:
    """Replay by streams and by states of the generator; each counts what differs and should not."""
    reason = "number of masks that differ where they should not, or the reverse"
    yield Check("random", "streams repeat dropout masks", partial(_streams, device), 0, reason)
    yield Check("random", "a state replays dropout masks", partial(_states, device), 0, reason)


def _mask(device: str) -> Tensor:
    return F.dropout(torch.ones(4096, device=device), 0.5)


def _streams(device: str) -> float:
    streams = RandomStreams(seed=5)

    def drawn(purpose: str, iteration: int = 0) -> Tensor:
        streams.step = iteration
        with streams(purpose):
            return _mask(device)

    before = RandomState()
    undisturbed = _mask(device)
    before.restore()
    first = drawn("task")
    wrong = not torch.equal(_mask(device), undisturbed)  # the global generator went on alone
    wrong += not torch.equal(drawn("task"), first)
    wrong += torch.equal(drawn("alignment"), first)
    wrong += torch.equal(drawn("task", iteration=1), first)
    return wrong


def _states(device: str) -> float:
    _mask(device)  # the generator of the device exists
    state = RandomState()
    first, second = _mask(device), _mask(device)
    with state.replayed():
        again = _mask(device), _mask(device)
    after = _mask(device)
    wrong = not torch.equal(again[0], first)
    wrong += not torch.equal(again[1], second)
    return wrong + torch.equal(after, first)
