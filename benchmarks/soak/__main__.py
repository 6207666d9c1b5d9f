"""Kill trainings over and over, and compare what becomes of them with an undisturbed one.

python -m benchmarks.soak --minutes 30
python -m benchmarks.soak --minutes 5 --processes 1 --output output/soak
python -m benchmarks.soak --minutes 30 --kills 200

Each run trains a small detector with MetaAlign on the embedded miniature. It is killed (SIGKILL
at a random moment; SIGKILL before, or in the middle of, a file operation of a checkpoint, of
last_checkpoint, metrics.json or another of its files) or asked to stop (SIGTERM), resumed,
disturbed again, and so on until it is through. Then its last checkpoint (weights,
optimizers, MetaAlign's state) and its metrics.json must equal those of an undisturbed run, bit for
bit; only the metrics of the clock are left out. A last run is left alone for a while, to see
whether memory or open files grow.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # per process: forked, and the same sums every time

import torch  # noqa: E402

from benchmarks.soak.attempts import (  # noqa: E402
    INTERRUPTED,
    OPERATIONS_FILE,
    Disturbance,
    attempt,
    soak_cfg,
)
from benchmarks.soak.compare import differences  # noqa: E402
from metaalign_det.files import write_json  # noqa: E402

STEPS = 10
_OPTS = ("SOLVER.MAX_ITER", str(STEPS), "SOLVER.CHECKPOINT_PERIOD", "2")
_STEADY = (
    *("SOLVER.MAX_ITER", "1000000", "SOLVER.CHECKPOINT_PERIOD", "5"),
    *("SOLVER.CHECKPOINT_KEEP", "2"),
)
_MOST_DISTURBANCES = 8  # of one run: then it is left to end
#: Exit codes that a disturbance may have: of the process it happened to, and of its peers, which
#: lose their connection or are told to stop.
_EXPECTED = {"none": {0}, "kill": {0, -9, 1, 2}, "write": {0, -9, 1, 2}, "term": {0, INTERRUPTED}}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument(
        "--kills",
        type=int,
        default=0,
        help="go on, beyond the minutes if need be, until so many came at file operations",
    )
    parser.add_argument(
        "--processes",
        type=int,
        nargs="*",
        default=[1, 2],
        help="of each training; none: only the last run, which is left alone",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("output/soak"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    _empty(args.output)
    seconds = 60 * args.minutes
    alone = max(20.0, 0.15 * seconds if args.processes else seconds)
    share = (seconds - alone) / max(1, len(args.processes))
    report: dict = {"minutes": args.minutes, "seed": args.seed, "disturbances": [], "failures": []}
    write_json(args.output / "soak.json", report)
    for processes in args.processes:
        _soak(args, processes, time.monotonic() + share, report)
    report["steady"] = _steady(args.output, alone)
    write_json(args.output / "soak.json", report)
    print(_table(report))
    print(f"everything: {args.output / 'soak.json'}")
    return 1 if report["failures"] else 0


def _empty(folder: Path) -> None:
    """Make the folder, or empty it if an earlier soak made it; any other is refused."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "soak.json").is_file():
        raise SystemExit(f"{folder} is there and no earlier soak: remove it, or choose --output")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _soak(args: argparse.Namespace, processes: int, until: float, report: dict) -> None:
    """Runs with so many processes until the time is up; each one to its end."""
    base = args.output / f"{processes}-processes"
    log = base / "log.txt"
    reference = base / "undisturbed"
    reference.mkdir(parents=True)
    whole = attempt(soak_cfg(reference, *_OPTS), processes, Disturbance(), log)
    if any(whole.codes):
        raise SystemExit(f"the undisturbed run failed ({whole.last_words()}); see {log}")
    counts = json.loads((reference / OPERATIONS_FILE).read_text())
    rng = random.Random(f"{args.seed}/{processes}")
    number = kills = 0
    while time.monotonic() < until or kills < args.kills / len(args.processes):
        number += 1
        folder = base / f"run-{number}"
        folder.mkdir()
        log = base / f"run-{number}.txt"
        happened = _run(folder, processes, rng, whole.training_seconds, counts, log)
        problems = differences(folder, reference) if not happened["failed"] else ["it failed"]
        for what in happened["disturbances"]:
            report["disturbances"].append({**what, "run": str(folder), "equal": not problems})
        if problems:
            report["failures"].append({"run": str(folder), "what": problems[:5]})
            print(f"{folder}: {problems[:5]}; kept", flush=True)
        else:
            shutil.rmtree(folder)
            log.unlink()
        kills += sum(what["kind"] == "write" for what in happened["disturbances"])
        write_json(args.output / "soak.json", report)
        total = len(report["disturbances"])
        print(f"{processes} processes, {number} runs, {total} disturbances", file=sys.stderr)


def _run(
    folder: Path,
    processes: int,
    rng: random.Random,
    seconds: float,
    counts: dict[str, int],
    log: Path,
) -> dict:
    """One run, disturbed until it is through: what was done to it, and whether it failed."""
    happened: dict = {"disturbances": [], "failed": False}
    cfg = soak_cfg(folder, *_OPTS)
    while not happened["failed"]:
        what = Disturbance()
        if len(happened["disturbances"]) < _MOST_DISTURBANCES:
            what = Disturbance.draw(rng, processes, seconds, counts)
        ended = attempt(cfg, processes, what, log)
        unexpected = set(ended.codes) - _EXPECTED[what.kind]
        if unexpected:
            happened["failed"] = True
            print(f"{folder}: {what}: exit codes {ended.codes}: {ended.last_words()}", flush=True)
        if what.kind != "none" and any(ended.codes):
            entry = {"processes": processes, **asdict(what), "codes": ended.codes}
            happened["disturbances"].append(entry)
        if not any(ended.codes):
            break
    return happened


def _steady(output: Path, seconds: float) -> dict:
    """Memory and descriptors of a run that is left alone and then asked to stop."""
    folder = output / "steady"
    cfg = soak_cfg(folder, *_STEADY)
    ended = attempt(cfg, 1, Disturbance("term", seconds - 10), output / "steady.txt", seconds + 120)
    later = [s for s in ended.resources if s[0] > 0.3 * ended.seconds] or ended.resources
    half = len(later) // 2
    early, late = later[:half] or later, later[half:]
    return {
        "seconds": ended.seconds,
        "stopped": ended.codes == [INTERRUPTED],
        "iterations": _iterations(folder),
        "rss_bytes": [_mean(early, 1), _mean(late, 1)],
        "descriptors": [_mean(early, 2), _mean(late, 2)],
        "samples": ended.resources[:: max(1, len(ended.resources) // 100)],
    }


def _mean(samples: list, index: int) -> float:
    return sum(s[index] for s in samples) / max(1, len(samples))


def _iterations(folder: Path) -> int:
    name = (folder / "last_checkpoint").read_text()
    return int(name.removeprefix("model_").removesuffix(".pth")) + 1


def _table(report: dict) -> str:
    counts: Counter = Counter()
    equal: Counter = Counter()
    for what in report["disturbances"]:
        key = (what["processes"], what["kind"])
        counts[key] += 1
        equal[key] += what["equal"]
    names = {
        "kill": "SIGKILL at a random moment",
        "write": "SIGKILL at a file operation",
        "term": "SIGTERM at a random moment",
    }
    head = ["| processes | disturbance | times | ended equal bit for bit |", "|---|---|---|---|"]
    lines = head if counts else []
    for processes, kind in sorted(counts):
        key = (processes, kind)
        lines.append(f"| {processes} | {names[kind]} | {counts[key]} | {equal[key]} |")
    operations = Counter(w["operation"] for w in report["disturbances"] if w["kind"] == "write")
    if operations:
        shown = ", ".join(f"{name} {count}" for name, count in sorted(operations.items()))
        lines.append(f"\nFile operations killed at: {shown}")
    steady = report["steady"]
    rss, files = steady["rss_bytes"], steady["descriptors"]
    lines.append(
        f"\nLeft alone for {steady['seconds']:.0f} s ({steady['iterations']} steps): resident "
        f"memory {rss[0] / 1e6:.1f} -> {rss[1] / 1e6:.1f} MB, open files {files[0]:.1f} -> "
        f"{files[1]:.1f} (means of the second and the last third)"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
