"""Train or evaluate a detector or a classifier from a config file.

metaalign-det train --config-file voc2watercolor_swda_meta.yaml
metaalign-det train --config-file my.yaml --num-gpus 4 SOLVER.BASE_LR 0.01
metaalign-det train --config-file my.yaml --resume
metaalign-det train --config-file my.yaml --eval-only MODEL.WEIGHTS output/model_final.pth

A config file is looked for in the working directory, then among those of this package.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import os
import sys
from typing import TYPE_CHECKING

from ..errors import UserError
from .arguments import add_opts
from .quiet import silence_third_party

if TYPE_CHECKING:
    from detectron2.config import CfgNode

logger = logging.getLogger(__name__)

INTERRUPTED = "continue with --resume"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of Detectron2's ``default_argument_parser``, and ``--dist-timeout``."""
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="YAML file; a path, or a name of ours")
    add("--resume", action="store_true", help="continue from the last checkpoint in OUTPUT_DIR")
    add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS, train nothing")
    add("--num-gpus", type=int, default=1, help="per machine (default: 1; the CPU without one)")
    add("--num-machines", type=int, default=1, help="default: 1")
    add("--machine-rank", type=int, default=0, help="number of this machine, from 0")
    # One port per user, so that two users of a machine do not meet; of what the system hands out.
    port = 2**15 + 2**14 + os.getuid() % 2**14 if sys.platform != "win32" else 2**15 + 2**14
    add(
        "--dist-url",
        default=f"tcp://127.0.0.1:{port}",
        metavar="URL",
        help="where several processes meet, as torch.distributed reads it (default: %(default)s)",
    )
    add(
        "--dist-timeout",
        type=float,
        default=1800,
        metavar="SECONDS",
        help="after which processes give up on one that does not answer (default: 1800)",
    )
    add_opts(parser)


def run(args: argparse.Namespace) -> int:
    """Train or evaluate, in as many processes as the arguments say."""
    from detectron2.engine import launch
    from torch.multiprocessing import ProcessRaisedException

    if "TORCHELASTIC_RUN_ID" in os.environ:
        _train_under_torchrun(args)
        return 0
    try:
        launch(
            train,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args,),
            timeout=datetime.timedelta(seconds=args.dist_timeout),
        )
    except ProcessRaisedException as error:
        _, found, message = str(error).rpartition("UserError: ")
        if not found:
            raise
        raise UserError(message.strip()) from error
    return 0


def train(args: argparse.Namespace) -> dict | None:
    """Train, or with ``--eval-only`` evaluate, in this process; returns the scores."""
    silence_third_party()  # once more: this may be a process of its own
    from detectron2.checkpoint import DetectionCheckpointer

    from ..data import check_data, register_all
    from ..engine.checkpoint import check_weights, load_weights, resume_weights
    from ..engine.trainer import AdaptationTrainer

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


def setup(args: argparse.Namespace) -> CfgNode:
    """The frozen config of a command line, with the device that is there.

    Raises:
        UserError: a config file or key that does not exist.
    """
    import torch
    from detectron2.engine import default_setup

    from ..config import load_cfg
    from ..config_files import find_config

    if args.config_file:
        args.config_file = str(find_config(args.config_file))
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


def _train_under_torchrun(args: argparse.Namespace) -> dict | None:
    import torch
    import torch.distributed as dist
    from detectron2.utils import comm

    backend = "nccl" if torch.cuda.is_available() else "gloo"
    timeout = datetime.timedelta(seconds=args.dist_timeout)
    local_rank = int(os.environ["LOCAL_RANK"])
    if backend == "nccl":
        torch.cuda.set_device(local_rank)
    dist.init_process_group(backend, timeout=timeout)
    comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))
    try:
        return train(args)
    finally:
        dist.destroy_process_group()
