"""Whether a GPU computes what the CPU computes: one command, one table, one JSON.

metaalign-det benchmark --check-gpu                                  # all checks, on the first card
metaalign-det benchmark --check-gpu --output output/gpu.json --only coordinator
metaalign-det benchmark --check-gpu --device cpu                     # self-test of the checks

Exit status: 0 all pass, 1 some do not, 2 there is no GPU.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from metaalign_det.cli.quiet import silence_third_party  # noqa: E402

silence_third_party()  # before Detectron2 is imported

import torch  # noqa: E402
import torchvision  # noqa: E402
from tqdm import tqdm  # noqa: E402

from benchmarks.gpu_check.arms import arm_checks  # noqa: E402
from benchmarks.gpu_check.numerics import (  # noqa: E402
    operator_checks,
    random_checks,
    step_checks,
)
from benchmarks.gpu_check.rows import Check, Row, run_checks  # noqa: E402
from benchmarks.gpu_check.several import no_tf32, process_checks  # noqa: E402
from benchmarks.gpu_check.training import CLOSE, training_checks  # noqa: E402
from metaalign_det.cli.errors import exit_code_of  # noqa: E402
from metaalign_det.errors import UserError  # noqa: E402
from metaalign_det.files import write_json  # noqa: E402
from metaalign_det.reports.table import format_table  # noqa: E402
from metaalign_det.sweeps.tables import describe_machine  # noqa: E402


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="metaalign-det benchmark --check-gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--device", default="cuda", help="cuda, cuda:1, ... or cpu (default: cuda)")
    add("--only", nargs="+", default=[], metavar="WORD", help="checks whose name has all words")
    add("--steps", type=int, default=100, help="of the miniature's training (default: 100)")
    add("--image-size", type=int, default=0, metavar="PIXELS", help="of the arms (default: 600)")
    add("--output", type=Path, metavar="FILE", help="JSON to write")
    args = parser.parse_args(argv)
    if args.steps < CLOSE:
        parser.error(f"--steps must be at least {CLOSE}")
    return args


def all_checks(device: str, steps: int, image_size: int) -> Iterator[Check]:
    """Every check, the quick ones first."""
    yield from operator_checks(device)
    yield from random_checks(device)
    yield from step_checks(device)
    yield from training_checks(device, steps)
    yield from process_checks(device)
    yield from arm_checks(device, image_size)


def require_device(name: str) -> str:
    """The name itself.

    Raises:
        UserError: there is no such device.
    """
    try:
        kind, index = torch.device(name).type, torch.device(name).index or 0
    except RuntimeError:
        raise UserError(f"--device: {name!r} is none; choose cuda, cuda:<number> or cpu") from None
    if kind == "cuda" and index >= torch.cuda.device_count():
        raise UserError(
            f"--device {name}: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            "devices here; run this where there is a GPU, or with --device cpu to test the checks"
        )
    if kind not in ("cuda", "cpu"):
        raise UserError(f"--device: {name!r} is neither cuda nor cpu")
    return name


def report(rows: Sequence[Row], setting: dict, output: Path | None) -> None:
    """Print the table; write the file."""
    cells = [row.cells() for row in rows]
    print(format_table(cells, list(cells[0]), f"{setting['device']} against the CPU"))
    failed = [row for row in rows if not row.passed]
    print(f"\n{len(rows) - len(failed)} of {len(rows)} checks pass on {setting['device']}")
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_json(
            output,
            {"setting": setting, "rows": [{**vars(row), "passed": row.passed} for row in rows]},
        )


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    device = require_device(args.device)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    no_tf32()
    words = [w.lower() for w in args.only]
    checks = [
        c
        for c in all_checks(device, args.steps, args.image_size)
        if all(w in f"{c.group} {c.name}".lower() for w in words)
    ]
    if not checks:
        raise UserError(f"--only {' '.join(args.only)}: no check has all of these words")
    rows = list(tqdm(run_checks(checks), total=len(checks), unit="check"))
    setting = {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "cards": torch.cuda.device_count(),
        "machine": describe_machine(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }
    report(rows, setting, args.output)
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    if "--device=cpu" in sys.argv or ("--device" in sys.argv and "cpu" in sys.argv):
        os.environ["CUDA_VISIBLE_DEVICES"] = (
            ""  # Detectron2's launch takes NCCL where it sees a GPU
        )
    sys.exit(exit_code_of(main))
