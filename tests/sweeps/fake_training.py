"""A program that stands in for tools/train_net.py, and sweeps of it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from metaalign_det.cli.__main__ import main
from metaalign_det.sweeps.execute import Sweep
from metaalign_det.sweeps.plan import plan_runs
from metaalign_det.sweeps.runs import Run, read_scores
from metaalign_det.sweeps.suites import get_benchmark

CONFIG = """
MODEL: {META_ARCHITECTURE: "DomainAdaptiveClassifier", DEVICE: "cpu"}
DATASETS:
  TRAIN: ("office31_amazon",)
  TARGET: ("office31_webcam",)
  TEST: ("mini_digits_source_test", "mini_digits_target_val", "mini_digits_target_test")
SOLVER: {MAX_ITER: 4, BASE_LR: 0.5}
"""

# Stands in for tools/train_net.py. Beside it may lie: "hang", to write a checkpoint, stop in the
# middle and save on SIGTERM, which takes its data loader; "fail-<method>", to end with an error;
# "meet", a number, to wait until so many have run at once.
FAKE = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

here, args = Path(__file__).parent, sys.argv[1:]
resume = "--resume" in args
pairs = [a for a in args if a not in ("--resume", "--overwrite")]
options = dict(zip(pairs[::2], pairs[1::2]))
out = Path(options["OUTPUT_DIR"])
method = Path(options["--config-file"]).stem
with (here / "calls.jsonl").open("a") as file:
    threads, gpu = os.environ["OMP_NUM_THREADS"], os.environ.get("CUDA_VISIBLE_DEVICES")
    file.write(json.dumps([method, resume, options, threads, gpu]) + "\\n")

def record(**values):
    with (out / "metrics.json").open("a") as file:
        file.write(json.dumps(values) + "\\n")

if (here / f"fail-{method}").exists():
    print("Traceback (most recent call last):\\nValueError: the learning rate is no number\\nbye")
    sys.exit(1)
if (here / "meet").exists():
    alive = here / "alive"
    alive.mkdir(exist_ok=True)
    mine = alive / str(os.getpid())
    mine.touch()
    deadline = time.monotonic() + 20
    wanted = int((here / "meet").read_text())
    # Once that many have met, later ones need not wait: the last may well be alone.
    while not (here / "met").exists() and time.monotonic() < deadline:
        if len(os.listdir(alive)) >= wanted:
            (here / "met").touch()
        time.sleep(0.01)
    with (here / "seen").open("a") as file:
        file.write(f"{len(os.listdir(alive))}\\n")
record(iteration=2, total_loss=1.0)
(out / "model_0000001.pth").touch()
(out / "last_checkpoint").write_text("model_0000001.pth")
if (here / "hang").exists():
    loader = subprocess.Popen(["sleep", "60"])

    def save(*_):
        try:
            loader.wait(0.3)
        except subprocess.TimeoutExpired:
            (out / "saved").touch()
        sys.exit(130)

    signal.signal(signal.SIGTERM, save)
    (out / "pid").write_text(str(os.getpid()))
    while True:
        signal.pause()
(out / "model_final.pth").touch()
(out / "last_checkpoint").write_text("model_final.pth")
lr, seed = float(options.get("SOLVER.BASE_LR", 0.5)), int(options["SEED"])
tests = eval(options.get("DATASETS.TEST", "()"))
if not tests:
    import yaml
    tests = eval(yaml.safe_load(open(options["--config-file"]))["DATASETS"]["TEST"])
scores = {}
for i, name in enumerate(tests):
    prefix = f"{name}/" if len(tests) > 1 else ""
    scores[f"{prefix}classification/accuracy"] = 10 * (i + 1) + seed + lr
    scores[f"{prefix}classification/accuracy/one"] = float("nan")
record(iteration=4, **scores)
if (here / "meet").exists():
    mine.unlink()
"""


def plan(place: Path, benchmark="mini_digits", methods=("dann",), seeds=(0,), **options):
    configs = [place / f"{m}.yaml" for m in methods]
    return plan_runs(get_benchmark(benchmark), configs, seeds, place / "out", **options)


def sweep(place: Path, runs, **options) -> Sweep:
    return Sweep(runs, [sys.executable, str(place / "train.py")], poll_seconds=0.01, **options)


def run_tool(place: Path, *args: str, benchmark: str | None = "mini_digits", seeds=("0", "1")):
    """Exit code of ``metaalign-det sweep`` into ``out``."""
    fixed = ["--output", str(place / "out"), "--seeds", *seeds]
    return main(["sweep", *(["--benchmark", benchmark] if benchmark else []), *fixed, *args])


def calls(place: Path) -> list:
    file = place / "calls.jsonl"
    return [json.loads(x) for x in file.read_text().splitlines()] if file.exists() else []


def accuracy(run: Run, dataset="mini_digits_target_test") -> float:
    return read_scores(run)[dataset]["classification/accuracy"]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
