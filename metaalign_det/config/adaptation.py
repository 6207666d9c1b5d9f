"""How task and alignment share a step: ``ADAPTATION``, ``METAALIGN``, ``EMA``, ``TEACHER``."""

from __future__ import annotations

from detectron2.config import CfgNode as CN


def add_adaptation(cfg: CN) -> None:
    cfg.ADAPTATION = CN()
    # How alignment and task share a step: "joint", "metaalign" (keys under METAALIGN), "pcgrad",
    # "gradvac", "cagrad", "mgda", "upgrad", "nash_mtl", "extragradient", "sdat". METAALIGN.ENABLED
    # is short for "metaalign", and an error beside any other than "joint".
    cfg.ADAPTATION.COORDINATOR = "joint"
    # Iterations at the start that train the task on the source alone.
    cfg.ADAPTATION.BURN_IN = 0
    # Whose running statistics BatchNorm in the backbone tracks: of "both" domains, or the "target".
    cfg.ADAPTATION.STATISTICS = "both"
    # pcgrad to nash_mtl: weigh the two gradients in each of METAALIGN.STAGES by itself.
    cfg.ADAPTATION.PER_STAGE = False
    # gradvac: share of the newest cosine in its running mean, in (0, 1].
    cfg.ADAPTATION.GRADVAC_BETA = 0.01
    # cagrad: how far from the mean gradient it may go, in [0, 1).
    cfg.ADAPTATION.CAGRAD_C = 0.4
    # extragradient: length of the inner step relative to the learning rate, >= 0.
    cfg.ADAPTATION.EXTRAGRADIENT_FACTOR = 1.0
    # sdat: length of the ascent step, parameter units, >= 0.
    cfg.ADAPTATION.SDAT_RHO = 0.05

    # Average of the student's weights, evaluated and saved beside it ("teacher").
    cfg.EMA = CN()
    cfg.EMA.ENABLED = False
    # Share of the old average in the new one, each step, in [0, 1).
    cfg.EMA.DECAY = 0.9996
    # The average is a copy of the student up to this iteration.
    cfg.EMA.START_ITER = 0

    # Learn target images from the average's predictions (needs EMA and INPUT.VIEWS.TARGET "both").
    cfg.TEACHER = CN()
    cfg.TEACHER.ENABLED = False
    # "hard" (predictions above THRESHOLD are labels) or "soft" (distillation).
    cfg.TEACHER.METHOD = "hard"
    # Least score of a prediction that becomes a label, or counts as foreground, in [0, 1].
    cfg.TEACHER.THRESHOLD = 0.8
    # Weight >= 0 of its losses beside those on the source.
    cfg.TEACHER.WEIGHT = 1.0
    # "hard" in detection: learn boxes too, not classes and objectness alone.
    cfg.TEACHER.BOX_LOSSES = True
    # First iteration with a teacher (ADAPTATION.BURN_IN if that is later).
    cfg.TEACHER.START_ITER = 0
    # "hard": correct the odds of the teacher's classes such that its labels come in the source's
    # class shares (distribution alignment). Only where the target's shares are about the same.
    cfg.TEACHER.CLASS_ODDS = CN()
    cfg.TEACHER.CLASS_ODDS.ENABLED = False
    # > 0; a label moves the log-odds of its class by about RATE x the number of classes: smaller
    # where there are many.
    cfg.TEACHER.CLASS_ODDS.RATE = 0.005


def add_lookahead(cfg: CN) -> None:
    cfg.METAALIGN = CN()
    # Coordinate alignment and task by a lookahead step (MetaAlign).
    cfg.METAALIGN.ENABLED = False
    # "first" (no second derivatives, as the authors ran it) or "exact".
    cfg.METAALIGN.ORDER = "first"
    # Which objective looks ahead: "alignment" (alias "domain"), "task", or "alternate".
    cfg.METAALIGN.ROLE = "alternate"
    # The first of alternating roles: "alignment", or "task" as in the authors' code.
    cfg.METAALIGN.FIRST_ROLE = "alignment"
    # What is looked along (order "first"): "gradient", the controls "opposite" and "random",
    # "random_sign" (gradient or opposite, drawn each step), "both" (the mean of the two).
    cfg.METAALIGN.DIRECTION = "gradient"
    # Exact mode, Hessian-vector product: "keep_graph" (faster) or "recompute" (less memory).
    cfg.METAALIGN.HVP = "keep_graph"
    # Parameters that take the inner step: "backbone" stage groups, or "all" trainable ones.
    cfg.METAALIGN.SCOPE = "backbone"
    # Stage groups, each "name=prefix+prefix" over parameter names; () = the backbone's stages.
    cfg.METAALIGN.STAGES = ()
    # Inner step of parameters outside the backbone relative to alpha (SCOPE "all").
    cfg.METAALIGN.HEAD_FACTOR = 1.0
    # alpha = META_LR x current learning rate ("lr"); META_LR ("constant"); such that the step has
    # the length META_LR ("length", order "first" alone); or such that the looking changes the other
    # gradient by RELATIVE_CHANGE ("relative", measured every RELATIVE_CHANGE_PERIOD, 0 = 20; from
    # META_LR on).
    cfg.METAALIGN.META_LR = 1.0
    cfg.METAALIGN.ALPHA = "lr"
    cfg.METAALIGN.RELATIVE_CHANGE = 0.3
    # alpha grows linearly from 0 over this many iterations after the first lookahead.
    cfg.METAALIGN.WARMUP_ITERS = 0
    # First iteration with a lookahead (ADAPTATION.BURN_IN if that is later); plain joint
    # training before it.
    cfg.METAALIGN.START_ITER = 0
    # In several processes, the inner step uses the gradient of all ("global") or of one ("local").
    cfg.METAALIGN.INNER_GRADIENT = "global"
    # Exact mode: let discriminators follow the task loss through the inner step (docs/method.md).
    cfg.METAALIGN.THROUGH_DISCRIMINATOR = False
    # Differentiate source and target one after the other where the loss allows: less memory.
    cfg.METAALIGN.SPLIT_DOMAINS = True
    # Iterations between telemetry records, of pcgrad to nash_mtl too; 0 = off.
    cfg.METAALIGN.TELEMETRY_PERIOD = 20
    # Iterations between records of lookahead/relative_change (one extra backward); 0 = off.
    cfg.METAALIGN.RELATIVE_CHANGE_PERIOD = 0

    cfg.METAALIGN.BETA = CN()
    # Stage weights: "learned", "frozen", or "normalised" (learned, rescaled to sum to SUM).
    cfg.METAALIGN.BETA.MODE = "learned"
    # B, which their sum is held near; 0 = the number of groups, so that each starts at 1.
    cfg.METAALIGN.BETA.SUM = 0.0
    # w_beta >= 0, weight of |sum(beta) - B|.
    cfg.METAALIGN.BETA.WEIGHT = 0.01
    # Learning rate of beta (SGD), times the schedule of the main learning rate.
    cfg.METAALIGN.BETA.LR = 0.1
