"""Expected GPU hours of the published tables, by the cost model.

python -m benchmarks.step_cost.hours
python -m benchmarks.step_cost.hours --tflops 40 --seeds 1

Counts the floating-point operations of forward passes of backbone, heads and discriminators on
images of the right size, and multiplies them as the cost model of a step says
(docs/performance.md). Nothing is timed: the time is operations divided by --tflops, the speed that
a card is assumed to keep up. Loading, evaluation and the optimizer are not counted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from metaalign_det.cli.quiet import silence_third_party

silence_third_party()

import torch  # noqa: E402
from detectron2.utils.events import EventStorage  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from benchmarks.step_cost.arms import ARMS  # noqa: E402
from benchmarks.step_cost.measure import Bench  # noqa: E402
from metaalign_det.config import load_cfg  # noqa: E402
from metaalign_det.reports.table import Cell, format_table  # noqa: E402
from metaalign_det.sweeps.suites import get_benchmark  # noqa: E402

#: Forwards (b, h, d) of a step on the source alone.
SOURCE_ONLY = (3, 3, 0)


@dataclass(frozen=True)
class Table:
    """A published table.

    Args:
        benchmark: its name in a sweep.
        config: that aligns; its steps and batch are those of all methods.
        size: height and width of the images in pixels.
        target: there are as many target images in a step as source images. Otherwise (domain
            generalisation) the cost model's terms of the target fall away.
    """

    benchmark: str
    config: str
    size: tuple[int, int]
    target: bool = True


TABLES = (
    Table("voc2watercolor", "voc2watercolor_swda.yaml", (600, 800)),
    Table("voc2clipart", "voc2clipart_swda.yaml", (600, 800)),
    Table("voc2comic", "voc2comic_swda.yaml", (600, 800)),
    Table("office31", "office31/dann.yaml", (224, 224)),
    Table("office_home", "office_home/dann.yaml", (224, 224)),
    Table("pacs", "pacs/dannpe.yaml", (224, 224), target=False),
)


def count_parts(table: Table) -> dict[str, float]:
    """Operations of a forward pass of b, h and d on the source images of one step, in TFLOP."""
    cfg = load_cfg(table.config, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""])
    bench = Bench(cfg, table.size)
    counted = {}
    with EventStorage(0) as bench.loop.storage, torch.no_grad():
        for name, forward in bench.forwards().items():
            with FlopCounterMode(display=False) as counter:
                forward()
            counted[name] = counter.get_total_flops() / 1e12
    b = counted["backbone"]
    # Without a target it looks at the source alone.
    d = counted["alignment"] / (2 if table.target else 1) - b
    return {"b": b, "h": counted["task"] - b, "d": d}


def costs(table: Table) -> dict[str, tuple[float, ...]]:
    """Forwards (b, h, d) of a step: source only, alignment, the same with MetaAlign."""
    plain, meta = ARMS["plain"].cost, ARMS["first-alignment"].cost
    if not table.target:
        # The sources' features are aligned as they are: no images beside them.
        plain, meta = (3, 3, 3), (6, 3, 3)
    return {"source only": SOURCE_ONLY, "alignment": plain, "+ MetaAlign": meta}


def row_of(table: Table, tflops: float, seeds: int) -> dict[str, Cell]:
    """Hours of one run of each kind, and of the whole table's runs of one method."""
    parts = count_parts(table)
    steps = load_cfg(table.config).SOLVER.MAX_ITER
    runs = len(get_benchmark(table.benchmark).tasks) * seeds
    row: dict[str, Cell] = {
        "table": table.benchmark,
        "steps": steps,
        "b, h, d in TFLOP": ", ".join(f"{parts[k]:.3f}" for k in "bhd"),
        "runs": runs,
    }
    for name, cost in costs(table).items():
        step = sum(n * parts[k] for n, k in zip(cost, "bhd", strict=True))
        hours = steps * step / tflops / 3600
        row[name] = f"{hours:.1f} × {runs} = {hours * runs:.0f}"
    return row


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step_cost.hours",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tflops", type=float, default=10.0, help="kept up (default: 10)")
    parser.add_argument("--seeds", type=int, default=3, help="of each method (default: 3)")
    args = parser.parse_args(argv)
    rows = [row_of(table, args.tflops, args.seeds) for table in TABLES]
    title = f"GPU hours of a method at {args.tflops:g} TFLOP/s, {args.seeds} seeds"
    print(format_table(rows, list(rows[0]), title, style="markdown"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
