"""Train or evaluate a detector or a classifier from a config file.

metaalign-det train --config-file voc2watercolor_swda_meta.yaml
metaalign-det train --config-file my.yaml SOLVER.BASE_LR 0.01
metaalign-det train --config-file my.yaml --num-gpus 4   # batch, rate and schedule follow
metaalign-det train --config-file my.yaml --resume
metaalign-det train --config-file my.yaml --overwrite
metaalign-det train --config-file my.yaml --eval-only MODEL.WEIGHTS output/model_final.pth

A config file is looked for in the working directory, then among those of this package.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import signal
import sys
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, NoReturn

from ..errors import UserError
from .arguments import add_opts
from .quiet import silence_third_party
from .startup import quick_imports

if TYPE_CHECKING:
    from detectron2.config import CfgNode

INTERRUPTED = "continue with --resume"
_INTERRUPTED = 130  # exit code of a process that was, as shells have it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of Detectron2's ``default_argument_parser``, ``--overwrite``, ``--dist-timeout``."""
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="YAML file; a path, or a packaged name")
    add("--resume", action="store_true", help="continue from the last checkpoint in OUTPUT_DIR")
    add("--overwrite", action="store_true", help="replace what OUTPUT_DIR holds")
    add("--eval-only", action="store_true", help="train nothing; evaluate MODEL.WEIGHTS, "
        "or with --resume the last checkpoint")  # fmt: skip
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
    try:
        if "TORCHELASTIC_RUN_ID" in os.environ:
            _train_under_torchrun(args)
        else:
            _launch(args)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(_way_on(args)) from error
    return 0


def train(args: argparse.Namespace) -> dict | None:
    """Train, or with ``--eval-only`` evaluate, in this process; returns the scores."""
    silence_third_party()  # once more: this may be a process of its own
    with quick_imports():
        from ..engine import session

    cfg = setup(args)
    options = {name: getattr(args, name) for name in ("resume", "overwrite", "command_line")}
    if args.eval_only:
        return session.evaluate(cfg, **options)
    return session.train(cfg, **options)


def setup(args: argparse.Namespace) -> CfgNode:
    """The frozen config of a command line, with the device that is there. Writes no file.

    Raises:
        UserError: a config file, a key, a part of a model or a device that does not exist; a
            number or word that no training can have.
    """
    import torch

    from ..config import load_cfg
    from ..config_files import find_config
    from ..engine.values import check_values
    from ..modeling.names import check_names

    if args.config_file:
        args.config_file = str(find_config(args.config_file))
    cfg = load_cfg(args.config_file, args.opts or [])
    check_names(cfg)
    check_values(cfg)
    _check_device(cfg.MODEL.DEVICE)
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        sys.stderr.write("no CUDA device here: running on the CPU (MODEL.DEVICE cpu)\n")
        cfg.MODEL.DEVICE = "cpu"
    cfg.freeze()
    return cfg


def _check_device(name: str) -> None:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"MODEL.DEVICE {name!r} is none: say cpu, cuda, or cuda:1") from error
    count = torch.cuda.device_count()
    if device.type == "cuda" and device.index is not None and 0 < count <= device.index:
        raise UserError(f"MODEL.DEVICE {name}: there are {count} GPUs here, counted from 0")


def _launch(args: argparse.Namespace) -> None:
    with quick_imports():
        import torch
        from detectron2.engine import launch
        from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

        from ..engine.processes import passed_on_signals

    several = args.num_gpus * args.num_machines > 1
    cards = torch.cuda.device_count()
    if 0 < cards < args.num_gpus:
        raise UserError(f"--num-gpus {args.num_gpus}: there are {cards} GPUs here")
    asked: list[int] = []
    try:
        with passed_on_signals() if several else nullcontext(asked) as asked:
            launch(
                _train_in_one_of_several if several else train,
                args.num_gpus,
                num_machines=args.num_machines,
                machine_rank=args.machine_rank,
                dist_url=args.dist_url,
                args=(args,),
                timeout=datetime.timedelta(seconds=args.dist_timeout),
            )
    except ProcessRaisedException as error:
        # The last exception of its traceback, whose message may be of several lines.
        last = str(error).rpartition("Traceback (most recent call last)")[2]
        found = re.search(r"^metaalign_det\.errors\.\w+: (.*)", last, re.MULTILINE | re.DOTALL)
        if found is None:
            raise
        raise UserError(found[1].strip()) from error
    except ProcessExitedException as error:
        if asked or error.exit_code in (_INTERRUPTED, 128 + signal.SIGTERM):
            raise KeyboardInterrupt from error
        raise UserError(f"{error}; the others were ended. {_way_on(args)}") from error


def _train_in_one_of_several(args: argparse.Namespace) -> None:
    """As :func:`train`; an interruption becomes an exit code, or the parent would not see it."""
    from ..engine.processes import end_process

    try:
        train(args)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    end_process()


def _way_on(args: argparse.Namespace) -> str:
    """What can be done after an interruption, by what is in the folder."""
    from ..engine.checkpoint_files import named_last

    with suppress(UserError):
        folder = setup(args).OUTPUT_DIR
        last = named_last(folder)
        if last is None:
            return f"there is no checkpoint in {folder} yet"
        return f"--resume continues from {last} in {folder}"
    return ""


def _train_under_torchrun(args: argparse.Namespace) -> NoReturn:
    import torch
    import torch.distributed as dist
    from detectron2.utils import comm

    from ..engine.processes import end_process

    backend = "nccl" if torch.cuda.is_available() else "gloo"
    timeout = datetime.timedelta(seconds=args.dist_timeout)
    local_rank = int(os.environ["LOCAL_RANK"])
    if backend == "nccl":
        torch.cuda.set_device(local_rank)
    dist.init_process_group(backend, timeout=timeout)
    comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))
    try:
        train(args)
    except BaseException:
        dist.destroy_process_group()
        raise
    end_process()
