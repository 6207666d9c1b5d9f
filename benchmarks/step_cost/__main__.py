"""What a training step costs: plain SW-DA, MetaAlign first order and exact, the authors' scheme.

metaalign-det benchmark --preset r50                        # ResNet-50-C4, 256 px
metaalign-det benchmark --preset mini --rounds 20 --output output/benchmark/mini.json
metaalign-det benchmark --config-file my.yaml --image-size 600 800 -- MODEL.DEVICE cuda
metaalign-det benchmark --check-gpu --help                  # another: a GPU against the CPU

Time: the arms run in turn, round after round, in one process; the ratio to plain is the median over
rounds. Memory: each arm in a fresh process. Images are noise; weights are random.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

ROOT = Path(__file__).resolve().parents[2]

from metaalign_det.cli.quiet import silence_third_party  # noqa: E402

silence_third_party()  # before Detectron2 is imported

import torch  # noqa: E402
from tqdm import tqdm  # noqa: E402

import metaalign_det.modeling  # noqa: E402, F401  (registers)
from benchmarks.step_cost import measure as benchmark  # noqa: E402
from benchmarks.step_cost.arms import ARMS, MAIN_ARMS  # noqa: E402
from benchmarks.step_cost.tables import as_json, parts_of, rows_of  # noqa: E402
from metaalign_det.cli.arguments import add_opts  # noqa: E402
from metaalign_det.cli.errors import exit_code_of  # noqa: E402
from metaalign_det.config import load_cfg  # noqa: E402
from metaalign_det.errors import UserError  # noqa: E402
from metaalign_det.files import write_json  # noqa: E402
from metaalign_det.reports.table import format_table  # noqa: E402
from metaalign_det.sweeps.tables import describe_machine  # noqa: E402

_C4 = "configs/voc2watercolor_swda_meta_paper.yaml"
_R50 = ("MODEL.RESNETS.DEPTH", "50")
_ROIS = ("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "64")
#: Preset -> (config, KEY VALUE pairs, image height and width).
PRESETS: dict[str, tuple[str, tuple[str, ...], tuple[int, int]]] = {
    # BatchNorm frozen, as in the headline config.
    "mini": (
        "configs/mini/swda_meta.yaml",
        ("METAALIGN.SCOPE", "backbone", "MODEL.RESNETS.NORM", "FrozenBN"),
        (160, 160),
    ),
    "r18": (
        _C4,
        ("MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64"),
        (256, 256),
    ),
    # The config as it is: 128 regions pooled to 7x7, as SW-DA's authors have it.
    "r50": (_C4, _R50, (256, 256)),
    # Detectron2's own pooling for C4: heavier heads, as most of its users run them.
    "r50_pool14": (_C4, (*_R50, *_ROIS, "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", "14"), (256, 256)),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="metaalign-det benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--preset", choices=PRESETS, help="a config, its options and an image size")
    add("--config-file", metavar="FILE", help="instead of a preset")
    add("--image-size", type=int, nargs="+", metavar="PIXELS", help="height and width, or both")
    add("--arms", nargs="+", choices=ARMS, default=MAIN_ARMS, metavar="ARM")
    add("--rounds", type=int, default=10, help="rounds that count (default: 10)")
    add("--discard", type=int, default=2, help="rounds before them (default: 2)")
    add("--no-memory", action="store_true", help="time only")
    add("--output", type=Path, metavar="FILE", help="JSON to write")
    add("--memory-of", choices=ARMS, help=argparse.SUPPRESS)
    add_opts(parser)
    args = parser.parse_args()
    if (args.preset is None) == (args.config_file is None):
        parser.error("name either --preset or --config-file")
    args.arms = list(dict.fromkeys(["plain", *args.arms]))  # that is what the others go by
    if args.rounds < 1 or args.discard < 0:
        parser.error("--rounds must be at least 1 and --discard at least 0")
    return args


def make_bench(args: argparse.Namespace) -> benchmark.Bench:
    """The bench of a command line; on the CPU where there is no CUDA."""
    config, opts, size = args.config_file, (), (600, 800)
    if args.preset:
        config, opts, size = PRESETS[args.preset]
        config = str(ROOT / config)
    if args.image_size:
        size = (args.image_size[0], args.image_size[-1])
    cfg = load_cfg(config, [*opts, *args.opts])
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    return benchmark.Bench(cfg, size)


def memory_in_fresh_process(arm: str) -> float:
    """Bytes of growth, measured by this tool in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.step_cost", "--memory-of", arm, *sys.argv[1:]]
    # One arena: what it hands back to the system does not depend on thread timing.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise UserError(f"measuring the memory of {arm} failed: {done.stderr.strip()[-500:]}")
    return float(done.stdout.split()[-1])


def main() -> int:
    args = arguments()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    kept = not args.memory_of and benchmark.keep_freed_memory()
    bench = make_bench(args)
    if args.memory_of:
        print(benchmark.measure_memory(bench, args.memory_of))
        return 0
    with tqdm(total=args.discard + args.rounds, desc="time", unit="round") as bar:
        timings = benchmark.measure_time(
            bench, args.arms, args.rounds, args.discard, lambda done, total: bar.update()
        )
    memory: dict[str, float] = {}
    if not args.no_memory:
        for arm in tqdm(args.arms, desc="memory", unit="arm"):
            memory[arm] = memory_in_fresh_process(arm)

    rows = rows_of(args.arms, timings, memory)
    parts = parts_of(timings)
    step = statistics.median(timings.cpu["plain"])
    setting = {
        "name": args.preset or args.config_file,
        "image_size": list(bench.size),
        "command": shlex.join(["metaalign-det", "benchmark", *sys.argv[1:]]),
        "machine": describe_machine(),
        "device": str(bench.model.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rounds": args.rounds,
        "freed_memory_kept": kept,
        "malloc": {k: v for k, v in os.environ.items() if k.startswith("MALLOC_")},
    }
    h, w = bench.size
    title = f"{setting['name']}, {h}x{w} px, ratio to plain joint training"
    print(format_table(rows, list(rows[0]), title, style="markdown", digits=2))
    print(
        f"\nforward passes: b = {parts['b']:.3f} s, h = {parts['h']:.3f} s, "
        f"d = {parts['d']:.3f} s; one record of telemetry: "
        f"{100 * parts['telemetry'] / step:.2f} % of a plain step\n"
        f"machine: {setting['machine']}, {setting['threads']} thread(s) on "
        f"{setting['device']}; command: {setting['command']}"
    )
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.output, as_json(args.arms, timings, memory, setting))
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
