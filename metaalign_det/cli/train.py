"""From the command line to a trained model: what ``tools/train_net.py`` does."""

from __future__ import annotations

import argparse
import datetime
import logging
import os
import sys
from collections.abc import Sequence

import torch
import torch.distributed as dist
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup, launch
from detectron2.utils import comm
from torch.multiprocessing import ProcessRaisedException

from ..config import load_cfg
from ..data import check_data, register_all
from ..engine.checkpoint import check_weights, load_weights, resume_weights
from ..engine.trainer import AdaptationTrainer
from ..errors import UserError

logger = logging.getLogger(__name__)


def argument_parser() -> argparse.ArgumentParser:
    """Detectron2's arguments, and ``--dist-timeout``."""
    parser = default_argument_parser()
    parser.add_argument(
        "--dist-timeout",
        type=float,
        default=1800,
        help="seconds after which processes give up on one that does not answer",
    )
    return parser


def setup(args: argparse.Namespace) -> CfgNode:
    """The frozen config of a command line, with the device that is there.

    Raises:
        UserError: a config file or key that does not exist.
    """
    cfg = load_cfg(args.config_file, args.opts or [])
    fallback = cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available()
    if fallback:
        cfg.MODEL.DEVICE = "cpu"
    cfg.freeze()
    default_setup(cfg, args)
    # Detectron2 sets up its own logger; ours goes to the same places.
    ours = logging.getLogger("metaalign_det")
    ours.handlers = logging.getLogger("detectron2").handlers
    ours.setLevel(logging.INFO)
    ours.propagate = False
    if fallback:
        logger.info("no CUDA device here: running on the CPU (MODEL.DEVICE cpu)")
    return cfg


def run(args: argparse.Namespace) -> dict | None:
    """Train, or with ``--eval-only`` evaluate, in this process."""
    cfg = setup(args)
    register_all(cfg)
    if not args.resume:
        check_weights(cfg.MODEL.WEIGHTS)
    check_data(cfg, train=not args.eval_only or bool(cfg.TEST.ADAPTIVE_BN))
    if args.eval_only:
        model = AdaptationTrainer.build_model(cfg)
        checkpointer = DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
        if args.resume:
            resume_weights(checkpointer, cfg.OUTPUT_DIR)
        else:
            load_weights(checkpointer, cfg.MODEL.WEIGHTS)
        return AdaptationTrainer.test(cfg, model)
    trainer = AdaptationTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def _run_under_torchrun(args: argparse.Namespace) -> dict | None:
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    timeout = datetime.timedelta(seconds=args.dist_timeout)
    local_rank = int(os.environ["LOCAL_RANK"])
    if backend == "nccl":
        torch.cuda.set_device(local_rank)
    dist.init_process_group(backend, timeout=timeout)
    comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))
    try:
        return run(args)
    finally:
        dist.destroy_process_group()


def main_cli(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code. A user's mistake is one sentence, not a traceback."""
    args = argument_parser().parse_args(argv)
    try:
        if "TORCHELASTIC_RUN_ID" in os.environ:
            _run_under_torchrun(args)
        else:
            launch(
                run,
                args.num_gpus,
                num_machines=args.num_machines,
                machine_rank=args.machine_rank,
                dist_url=args.dist_url,
                args=(args,),
                timeout=datetime.timedelta(seconds=args.dist_timeout),
            )
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except ProcessRaisedException as error:  # from one of several launched processes
        _, found, message = str(error).rpartition("UserError: ")
        if not found:
            raise
        sys.stderr.write(f"error: {message.strip()}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; continue with --resume\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main_cli())
