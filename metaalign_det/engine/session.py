"""A training or an evaluation from a config to its end: folder, log, data, weights, trainer."""

from __future__ import annotations

import logging

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger
from torch import nn

from ..config.plugins import plugin_names
from ..data import check_data, register_all
from ..data.catalog.reading import read_once
from ..errors import UserError
from ..files import write_text
from .checkpoint import check_weights
from .durable_checkpointer import DurableCheckpointer
from .evaluated_weights import load_to_evaluate
from .faults import explained_faults
from .processes import decided_by_the_first
from .run_folder import StartRun, check_unused, evaluation_folder, locked_folder
from .scaling import scale_to_processes
from .trainer import AdaptationTrainer
from .values import check_values


def train(
    cfg: CfgNode, *, resume: bool = False, overwrite: bool = False, command_line: str = ""
) -> dict | None:
    """Train in ``cfg.OUTPUT_DIR``, which is this run's alone for as long as it lasts.

    Whatever is wrong with the config, the data or the weights is found before anything of an
    earlier run in the folder is touched.

    Args:
        cfg: frozen.
        resume: continue from the newest whole checkpoint in the folder.
        overwrite: replace the run that the folder holds.
        command_line: for the log.

    Returns:
        dict: scores, where ``TEST.EXPECTED_RESULTS`` asks for them.

    Raises:
        UserError: the folder is in use or used; see ``AdaptationTrainer`` for the rest.
    """
    if resume and overwrite:
        raise UserError("--resume continues a run and --overwrite replaces it: choose one")
    with locked_folder(cfg.OUTPUT_DIR), explained_faults(cfg.OUTPUT_DIR):
        if not resume and not overwrite:
            decided_by_the_first(lambda: check_unused(cfg.OUTPUT_DIR))
        start_logging(cfg)
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
        cfg = scale_to_processes(cfg, comm.get_world_size())
        with read_once():
            check_start(cfg, resume=resume)
            trainer = AdaptationTrainer(cfg, overwrite=overwrite)
            trainer.resume_or_load(resume=resume)
            log_settings(cfg, trainer.model, command_line)
            start = StartRun(
                trainer.cfg,
                trainer.checkpointer,
                overwrite=overwrite,
                trackers=trainer.trackers,
            )
            trainer.register_hooks([start])
            return trainer.train()


def evaluate(
    cfg: CfgNode, *, resume: bool = False, overwrite: bool = False, command_line: str = ""
) -> dict:
    """Scores of ``MODEL.WEIGHTS``, or of the newest whole checkpoint in ``OUTPUT_DIR``.

    Nothing that a run in the folder has written is touched, unless it shall be: see
    :func:`~.run_folder.evaluation_folder` for where the results go.

    Args:
        cfg: frozen.
        resume: evaluate the run in ``OUTPUT_DIR``.
        overwrite: write to ``OUTPUT_DIR`` itself, whatever is there.
        command_line: for the log.

    Raises:
        UserError: there are no weights, or they are of another model; a value that cannot be.
    """
    if not resume and not cfg.MODEL.WEIGHTS:
        raise UserError(
            "--eval-only: MODEL.WEIGHTS is empty, and random weights are not worth evaluating; "
            "set it, or --resume to evaluate the last checkpoint in OUTPUT_DIR"
        )
    check_values(cfg)
    run_folder, cfg = cfg.OUTPUT_DIR, cfg.clone()
    if not overwrite:
        cfg.defrost()
        cfg.OUTPUT_DIR = decided_by_the_first(lambda: str(evaluation_folder(run_folder)))
        cfg.freeze()
    with explained_faults(cfg.OUTPUT_DIR), read_once():
        start_logging(cfg)
        cfg = scale_to_processes(cfg, comm.get_world_size())
        check_start(cfg, resume=resume, train=bool(cfg.TEST.ADAPTIVE_BN))
        model = AdaptationTrainer.build_model(cfg)
        checkpointer = DurableCheckpointer(model, save_dir=run_folder)
        load_to_evaluate(checkpointer, cfg, resume=resume)
        log_settings(cfg, model, command_line)
        if comm.is_main_process():
            write_text(f"{cfg.OUTPUT_DIR}/config.yaml", cfg.dump())
        return AdaptationTrainer.test(cfg, model)


def check_start(cfg: CfgNode, *, resume: bool, train: bool = True) -> None:
    """What can be wrong with weights and data, before anything long is logged or done.

    Args:
        cfg: frozen.
        resume: the weights are those of a checkpoint, which is checked when it is read.
        train: source and target are needed.

    Raises:
        UserError: all that is wrong with the data; or with ``MODEL.WEIGHTS``.
    """
    register_all(cfg)
    # A missing file is found at once; hundreds of megabytes are downloaded for data that are there.
    remote = "://" in cfg.MODEL.WEIGHTS
    if not resume and not remote:
        check_weights(cfg.MODEL.WEIGHTS)
    check_data(cfg, train=train)
    if not resume and remote:
        check_weights(cfg.MODEL.WEIGHTS)


def start_logging(cfg: CfgNode) -> None:
    """Log to the terminal and to ``OUTPUT_DIR/log.txt``; seed this process.

    With :func:`log_settings` it is Detectron2's ``default_setup``, but for ``config.yaml``: that is
    replaced when a training has started (:class:`~.run_folder.StartRun`), not before.
    """
    rank = comm.get_rank()
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name="fvcore")
    log = setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank)
    # Detectron2 sets up its own logger; ours goes to the same places.
    ours = logging.getLogger("metaalign_det")
    ours.handlers = log.handlers
    ours.setLevel(logging.INFO)
    ours.propagate = False
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)


def log_settings(cfg: CfgNode, model: nn.Module, command_line: str = "") -> None:
    """Environment, command line, config and model, for the record.

    Called when all that a user can have got wrong has been tried: an error is not to be looked for
    below hundreds of lines.
    """
    log = logging.getLogger("detectron2")
    log.info("Rank of current process: %d. World size: %d", comm.get_rank(), comm.get_world_size())
    log.info("Environment info:\n%s", collect_env_info())
    if command_line:
        log.info("Command line: %s", command_line)
    if plugins := plugin_names():
        log.info("Plug-ins: %s", " ".join(plugins))
    log.info("Running with full config:\n%s", cfg.dump())
    log.info("Model:\n%s", model)
