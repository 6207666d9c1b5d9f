"""Training, evaluating, choosing and logging: ``SOLVER``, ``TEST``, ``SELECTION``, ``LOGGING``."""

from __future__ import annotations

from detectron2.config import CfgNode as CN


def add_solver(cfg: CN) -> None:
    # Target images per step over all processes; 0 = as many as SOLVER.IMS_PER_BATCH.
    cfg.SOLVER.IMS_PER_BATCH_TARGET = 0
    # Split each step's batch into this many parts, one after the other, to save memory.
    cfg.SOLVER.ACCUMULATION_STEPS = 1
    # Autocast type of SOLVER.AMP: "float16" (with loss scaling; amp/skipped_steps in metrics.json
    # counts the steps that were skipped because gradients overflowed) or "bfloat16".
    cfg.SOLVER.AMP.DTYPE = "float16"
    # Learning rate of parameters outside the backbone, relative to BASE_LR.
    cfg.SOLVER.HEAD_LR_FACTOR = 1.0
    # LR_SCHEDULER_NAME "WarmupInverseLR": BASE_LR * (1 + INVERSE_GAMMA * i) ** -INVERSE_POWER.
    cfg.SOLVER.INVERSE_GAMMA = 0.001
    cfg.SOLVER.INVERSE_POWER = 0.75
    cfg.SOLVER.DISCRIMINATOR = CN()
    # Optimiser of the domain discriminators: "" (the model's), "SGD" or "ADAM".
    cfg.SOLVER.DISCRIMINATOR.OPTIMIZER = ""
    # Its learning rate (follows SOLVER's schedule), decay, momentum (SGD) and betas (ADAM).
    cfg.SOLVER.DISCRIMINATOR.BASE_LR = 0.001
    cfg.SOLVER.DISCRIMINATOR.WEIGHT_DECAY = 0.0
    cfg.SOLVER.DISCRIMINATOR.MOMENTUM = 0.9
    cfg.SOLVER.DISCRIMINATOR.BETAS = (0.5, 0.99)


def add_checkpoints(cfg: CN) -> None:
    # Keep the last so many of the checkpoints written every CHECKPOINT_PERIOD; 0 = all of them.
    # model_final.pth, model_selected.pth and model_oracle.pth are never removed.
    cfg.SOLVER.CHECKPOINT_KEEP = 0
    # Write model_final.safetensors, weights alone, beside model_final.pth.
    cfg.SOLVER.CHECKPOINT_SAFETENSORS = False


def add_test(cfg: CN) -> None:
    # Images per batch and process in evaluation. Above 1, images of different sizes are padded to
    # the largest, which changes features near their borders.
    cfg.TEST.BATCH_SIZE = 1
    # Evaluate with BatchNorm's statistics of so many batches of target training images, as large as
    # in training; checkpoints keep their own. 0 = off.
    cfg.TEST.ADAPTIVE_BN = 0


def add_selection(cfg: CN) -> None:
    # Choosing a checkpoint without target labels, every TEST.EVAL_PERIOD and at the end:
    # model_selected.pth and selection.json in OUTPUT_DIR (docs/selection.md).
    cfg.SELECTION = CN()
    cfg.SELECTION.ENABLED = False
    # The validator that chooses; "" = "ensv" for a classifier, "fis" for a detector. Others:
    # "entropy", "infomax", "bnm", "corr_c", "snd", "dev", "mixval"; "pdr", "det_entropy",
    # "det_confidence".
    cfg.SELECTION.VALIDATOR = ""
    # Further validators, logged only.
    cfg.SELECTION.ALSO = ()
    # Unlabelled target data sets they see; () = DATASETS.TARGET. For a run that has none, such as
    # source-only training.
    cfg.SELECTION.TARGET = ()
    # Images of the target they see, evenly spaced through it; 0 = all.
    cfg.SELECTION.IMAGES = 500
    # Source data sets for the validators that need one ("dev", "pdr"), the same number of images;
    # () = DATASETS.TRAIN. Held-out images are better, where there are some.
    cfg.SELECTION.SOURCE = ()
    # A name in DATASETS.TEST whose labels choose model_oracle.pth, an upper bound; "" = none.
    cfg.SELECTION.ORACLE = ""
    # Score of that data set that the oracle goes by; "" = AP50_11pt, AP50 or accuracy.
    cfg.SELECTION.ORACLE_METRIC = ""


def add_logging(cfg: CN) -> None:
    cfg.VIS = CN()
    # Pictures of what the model says about this many target images, at every TEST.EVAL_PERIOD and
    # at the end, to TensorBoard and whatever LOGGING names; 0 = none.
    cfg.VIS.TARGET_IMAGES = 0

    cfg.LOGGING = CN()
    # Weights & Biases beside TensorBoard (needs the package wandb).
    cfg.LOGGING.WANDB = CN()
    cfg.LOGGING.WANDB.ENABLED = False
    # Its project; the team or user, "" = the account's own; the run's name, "" = it makes one up.
    cfg.LOGGING.WANDB.PROJECT = "metaalign_det"
    cfg.LOGGING.WANDB.ENTITY = ""
    cfg.LOGGING.WANDB.NAME = ""
    # "online", or "offline": kept below OUTPUT_DIR/wandb, for "wandb sync" later.
    cfg.LOGGING.WANDB.MODE = "online"
    # MLflow beside TensorBoard (needs the package mlflow).
    cfg.LOGGING.MLFLOW = CN()
    cfg.LOGGING.MLFLOW.ENABLED = False
    # Its experiment; the run's name, "" = it makes one up.
    cfg.LOGGING.MLFLOW.EXPERIMENT = "metaalign_det"
    cfg.LOGGING.MLFLOW.NAME = ""
    # Server, database or folder ("http://...", "sqlite:///mlflow.db"); "" = MLFLOW_TRACKING_URI.
    cfg.LOGGING.MLFLOW.TRACKING_URI = ""
