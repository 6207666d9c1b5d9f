"""How long RoIAlign's backward takes on this CPU: torchvision's loop against our matrix products.

    python -m benchmarks.roi_align_backward

The two take turns, so that whatever else the machine does meets both. One thread.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)

from metaalign_det.coordination.ops.roi_align_transpose import transposed_roi_align
from metaalign_det.reports.table import format_table

#: What is pooled: name, features (N, C, H, W), regions, side of a region's output.
CASES = (
    ("miniature: 4 images of 160 px", (4, 128, 20, 20), 128, 5),
    ("ResNet C4, an image of 600 x 1000 px", (1, 1024, 38, 63), 64, 14),
    ("FPN, P3 of 800 x 1280 px", (1, 256, 100, 160), 64, 7),
)


def measure(shape: tuple[int, ...], regions: int, side: int, turns: int) -> tuple[float, float]:
    """Milliseconds of torchvision's backward and of ours, medians over ``turns``.

    Boxes are a tenth to a half of the image wide and high, at random.
    """
    generator = torch.Generator().manual_seed(0)
    n, channels, height, width = shape
    size = torch.tensor([width, height]) * 8.0
    extent = size * (0.1 + 0.4 * torch.rand(regions, 2, generator=generator))
    corner = (size - extent) * torch.rand(regions, 2, generator=generator)
    image = torch.randint(n, (regions, 1), generator=generator).float()
    rois = torch.cat([image, corner, corner + extent], 1)
    grads = torch.randn(regions, channels, side, side, generator=generator)
    geometry = (1 / 8, side, side, n, channels, height, width, 0, True)
    ways = (
        lambda: torch.ops.torchvision._roi_align_backward(grads, rois, *geometry),
        lambda: transposed_roi_align(grads, rois, shape, 1 / 8, 0, True),
    )
    torch.testing.assert_close(ways[0](), ways[1](), rtol=1e-3, atol=1e-3)  # and warm both up
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        for way, taken in zip(ways, times):
            start = time.process_time()
            way()
            taken.append(1e3 * (time.process_time() - start))
    return statistics.median(times[0]), statistics.median(times[1])


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=15, metavar="N", help="of each, at least 1")
    args = parser.parse_args(argv)
    if args.turns < 1:
        parser.error(f"--turns must be positive, not {args.turns}")
    torch.set_num_threads(1)
    rows = []
    for name, shape, regions, side in CASES:
        theirs, ours = measure(shape, regions, side, args.turns)
        rows.append({"features": name, "torchvision, ms": theirs, "ours, ms": ours})
        rows[-1]["ratio"] = f"{ours / theirs:.2f}"
    print(
        format_table(rows, ["features", "torchvision, ms", "ours, ms", "ratio"], style="markdown")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
