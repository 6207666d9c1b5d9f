"""The source-only step of this package against stock Detectron2's, on the same batches.

python -m benchmarks.step_cost.stock                          # the miniature's detector, 160 px
python -m benchmarks.step_cost.stock --config-file my.yaml --image-size 600 800 --rounds 50

One process, one round after the other: SWDARCNN without discriminators in the AdaptationLoop, and
GeneralizedRCNN with Detectron2's own RoI heads and optimizer in its SimpleTrainer; the same
weights, which stay where they are (the learning rate is 0), and images of noise. CPU seconds (wall
on CUDA); the ratio is the median over rounds of the ratio within the round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from metaalign_det.cli.quiet import silence_third_party  # noqa: E402

silence_third_party()  # before Detectron2 is imported

import torch  # noqa: E402
from detectron2.config import CfgNode  # noqa: E402
from detectron2.engine import SimpleTrainer  # noqa: E402
from detectron2.solver import build_optimizer as stock_optimizer  # noqa: E402
from detectron2.utils.events import EventStorage  # noqa: E402
from tqdm import tqdm  # noqa: E402

from benchmarks.step_cost.measure import Clock, keep_freed_memory  # noqa: E402
from benchmarks.step_cost.noise import noise_batch  # noqa: E402
from metaalign_det.cli.arguments import add_opts  # noqa: E402
from metaalign_det.cli.errors import exit_code_of  # noqa: E402
from metaalign_det.config import load_cfg  # noqa: E402
from metaalign_det.config_files import find_config  # noqa: E402
from metaalign_det.engine.loop import AdaptationLoop  # noqa: E402
from metaalign_det.engine.optimizers import build_optimizer  # noqa: E402
from metaalign_det.engine.trainer import AdaptationTrainer  # noqa: E402
from metaalign_det.errors import UserError  # noqa: E402
from metaalign_det.files import write_json  # noqa: E402
from metaalign_det.modeling.backbone.random_start import temper_random_weights  # noqa: E402
from metaalign_det.sweeps.tables import describe_machine  # noqa: E402

#: RoI heads of this package -> Detectron2's that they extend.
_STOCK_HEADS = {
    "ContextStandardROIHeads": "StandardROIHeads",
    "ContextRes5ROIHeads": "Res5ROIHeads",
}


class StockBench:
    """Both trainers on one config without alignment.

    Args:
        cfg: of a detector; its discriminators are switched off.
        size: height and width of the images in pixels.

    Raises:
        UserError: the config is not a detector's.
    """

    def __init__(self, cfg: CfgNode, size: tuple[int, int]) -> None:
        if cfg.MODEL.META_ARCHITECTURE != "SWDARCNN":
            raise UserError(
                f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE}: only a detector "
                "(SWDARCNN) has a counterpart in Detectron2"
            )
        self.size = size
        self.iteration = 0
        self.cfg = cfg.clone()
        self.cfg.defrost()
        for name in ("LOCAL", "GLOBAL", "INSTANCE"):
            self.cfg.MODEL.DA[name].ENABLED = False
        self.cfg.MODEL.DA.CONTEXT = False
        stock = self.cfg.clone()
        stock.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
        heads = stock.MODEL.ROI_HEADS.NAME
        stock.MODEL.ROI_HEADS.NAME = _STOCK_HEADS.get(heads, heads)
        model, stock_model = (
            temper_and_train(AdaptationTrainer.build_model(c)) for c in (self.cfg, stock)
        )
        stock_model.load_state_dict(model.state_dict())
        batches, lists = self._batches(), (b["source"] for b in self._batches())
        self.trainers = {
            "ours": AdaptationLoop(model, batches, build_optimizer(self.cfg, model), seed=0),
            "stock": SimpleTrainer(stock_model, lists, stock_optimizer(stock, stock_model)),
        }
        for trainer in self.trainers.values():
            for group in trainer.optimizer.param_groups:
                group["initial_lr"], group["lr"] = group["lr"], 0.0
        self.device = model.device

    def step(self, name: str, iteration: int) -> float:
        """One step of "ours" or "stock"; returns its total loss."""
        self.iteration = iteration
        trainer = self.trainers[name]
        torch.manual_seed(iteration)
        with EventStorage(iteration) as trainer.storage:
            trainer.iter = iteration
            trainer.run_step()
            return trainer.storage.history("total_loss").latest()

    def _batches(self) -> Iterator[dict]:
        while True:
            batch = noise_batch(self.cfg, self.size, self.iteration)
            yield {"source": batch["source"]}


def temper_and_train(model: torch.nn.Module) -> torch.nn.Module:
    """In training mode, with random weights of a scale at which losses are finite."""
    temper_random_weights(model)
    return model.train()


def measure(
    bench: StockBench, rounds: int, discard: int, progress: Callable[[], object]
) -> dict[str, list[float]]:
    """Seconds of every round that counts, by name of the trainer."""
    clock = Clock(bench.device)
    which = 1 if bench.device.type == "cuda" else 0
    seconds: dict[str, list[float]] = {name: [] for name in bench.trainers}
    for r in range(rounds + discard):
        for name in sorted(seconds, reverse=bool(r % 2)):  # neither is always the first
            spent = clock.time(partial(bench.step, name, r))[which]
            if r >= discard:
                seconds[name].append(spent)
        progress()
    return seconds


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step_cost.stock",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config-file", default="mini/source.yaml", metavar="FILE", help="default: the miniature")
    add("--image-size", type=int, nargs="+", default=[160], metavar="PIXELS", help="height, width")
    add("--rounds", type=int, default=30, help="rounds that count (default: 30)")
    add("--discard", type=int, default=3, help="rounds before them (default: 3)")
    add("--output", type=Path, metavar="FILE", help="JSON to write")
    add_opts(parser)
    args = parser.parse_args(argv)
    if args.rounds < 2 or args.discard < 0:
        parser.error("--rounds must be at least 2 and --discard at least 0")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    keep_freed_memory()
    cfg = load_cfg(find_config(args.config_file), ["MODEL.WEIGHTS", "", *args.opts])
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    bench = StockBench(cfg, (args.image_size[0], args.image_size[-1]))
    with tqdm(total=args.rounds + args.discard, unit="round") as bar:
        seconds = measure(bench, args.rounds, args.discard, bar.update)
    ratios = [a / b for a, b in zip(seconds["ours"], seconds["stock"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"source-only step of {args.config_file}, {bench.size[0]}x{bench.size[1]} px on "
        f"{bench.device}: {middle:.4f} of stock Detectron2's (quartiles {low:.4f}–{high:.4f}, "
        f"{args.rounds} rounds; medians {statistics.median(seconds['ours']):.4f} s and "
        f"{statistics.median(seconds['stock']):.4f} s)"
    )
    if args.output:
        setting = {"machine": describe_machine(), "config": args.config_file, "size": bench.size}
        args.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(
            args.output, {"setting": setting, "seconds": seconds, "ratio": middle, "ratios": ratios}
        )
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
