"""Every configuration key this package adds to Detectron2's defaults.

Everything here is off by default: a config that sets none of these keys trains exactly as it
would under stock Detectron2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg

from .config_files import CONFIG_ROOT, did_you_mean, dotted_keys, find_config, read_config
from .errors import UserError

__all__ = ["CONFIG_ROOT", "add_metaalign_config", "load_cfg", "merge_opts"]


def load_cfg(config_file: str | Path = "", opts: Sequence[str] = ()) -> CN:
    """The defaults, a YAML file on top of them, and ``KEY VALUE`` pairs on top of that.

    Args:
        config_file: a path, or the name of one of this package's configs
            (``voc2watercolor_swda_meta.yaml``, with or without ``configs/``); "" = none.
        opts: ``KEY VALUE`` pairs.

    Raises:
        UserError: the file does not exist or cannot be read, a key does not exist, or a value is
            of the wrong kind.
    """
    cfg = get_cfg()
    add_metaalign_config(cfg)
    where = "config"
    if config_file:
        path = find_config(config_file)
        where = f"config {path}"
        _merge_file(cfg, path, where)
    merge_opts(cfg, opts, where)
    return cfg


def merge_opts(cfg: CN, opts: Sequence[str], where: str) -> None:
    """Put ``KEY VALUE`` pairs on top of a config, in place; ``where`` names it in errors.

    Raises:
        UserError: a key does not exist, a value is of the wrong kind or missing.
    """
    if not opts:
        return
    shown = " ".join(map(str, opts))
    where = f"{where} with {shown if len(shown) < 1000 else shown[:1000] + '...'}"
    _check_keys(opts[::2], cfg, where)
    try:
        cfg.merge_from_list(list(opts))
    # The last three: Python's own reader of values, given what is nested too deep or too long.
    except (KeyError, ValueError, AssertionError, TypeError, RecursionError, MemoryError) as error:
        raise UserError(f"{where}: {str(error)[:1000] or 'a value cannot be read'}") from error


def _merge_file(cfg: CN, path: Path, where: str) -> None:
    loaded = read_config(path)
    version = loaded.setdefault("VERSION", cfg.VERSION)
    if version != cfg.VERSION:
        raise UserError(
            f"{where}: VERSION {version} is not {cfg.VERSION}, this Detectron2's: convert the file "
            "with detectron2.config.upgrade_config"
        )
    _check_keys(_given_keys(loaded, cfg), cfg, where)
    try:
        cfg.merge_from_other_cfg(CN(loaded))
    except (KeyError, ValueError, AssertionError) as error:
        raise UserError(f"{where}: {error}") from error


def _given_keys(loaded: Mapping, node: CN, prefix: str = "") -> Iterator[str]:
    """Dotted keys that a file gives values to; an unknown one without what is in it."""
    for key, value in loaded.items():
        known = node.get(key)
        if isinstance(value, Mapping) and isinstance(known, CN):
            yield from _given_keys(value, known, f"{prefix}{key}.")
        elif key in node or not node.is_new_allowed():
            yield f"{prefix}{key}"


def _check_keys(keys: Iterable[str], cfg: CN, where: str) -> None:
    known = dict(dotted_keys(cfg))
    for key in keys:
        if key not in known:
            raise UserError(f"{where}: there is no key {key!s:.200}{did_you_mean(key, known)}")
        if isinstance(known[key], CN):
            inside = ", ".join(f"{key}.{name}" for name in list(known[key])[:3])
            raise UserError(f"{where}: {key} takes no value, it holds keys ({inside}, ...)")


def add_metaalign_config(cfg: CN) -> None:
    """Add the keys of ``metaalign_det`` to ``cfg`` in place.

    Args:
        cfg: usually ``detectron2.config.get_cfg()``.
    """
    _add_data(cfg)
    _add_class_list(cfg)
    _add_loader(cfg)
    _add_backbones(cfg)
    _add_detection_alignment(cfg)
    _add_classification(cfg)
    _add_adaptation(cfg)
    _add_lookahead(cfg)
    _add_solver(cfg)
    _add_checkpoints(cfg)
    _add_test(cfg)
    _add_selection(cfg)
    _add_logging(cfg)


def _add_data(cfg: CN) -> None:
    # Names of the unlabelled target data sets, used without their labels. () = no adaptation.
    cfg.DATASETS.TARGET = ()
    # Source domain of each name in DATASETS.TRAIN, an integer from 0. () = they are one domain.
    # (0, 0, 1): the first two data sets are one source domain, the third is another.
    cfg.DATASETS.TRAIN_DOMAINS = ()
    # Data sets of yours to register before training, a list of mappings with the keys NAME, FORMAT
    # (voc | coco | yolo | images | folder | image_list | cityscapes | kitti), ROOT, and the other
    # arguments of the format's register function in capitals: SPLIT, JSON_FILE, LIST_FILE; for
    # all with labels CLASSES (list), CLASS_MAP ({name: class}), IGNORE (list, or ["*"]),
    # EXPECTED (number of images). datasets/README.md has an example of each.
    cfg.DATASETS.REGISTER = []
    # Classification: draw every class of the labelled source equally often.
    cfg.DATALOADER.BALANCED_SOURCE = False

    # Views of each image that training gets: "weak", "strong" (INPUT.STRONG), or "both".
    cfg.INPUT.VIEWS = CN()
    cfg.INPUT.VIEWS.SOURCE = "weak"
    cfg.INPUT.VIEWS.TARGET = "weak"
    _add_strong_views(cfg)

    # Augmentation of classification images, in training and in test.
    cfg.INPUT.CLASSIFICATION = CN()
    # Both sides are resized to this many pixels first; 0 = no resize.
    cfg.INPUT.CLASSIFICATION.RESIZE = 256
    # Side of the square crop in pixels, random in training, central in test; 0 = no crop.
    cfg.INPUT.CLASSIFICATION.CROP = 224
    # Random crop in training: "fixed" (a CROP x CROP window) or "resized" (scale and aspect).
    cfg.INPUT.CLASSIFICATION.CROP_TYPE = "fixed"
    # Horizontal flip with probability 0.5 in training.
    cfg.INPUT.CLASSIFICATION.FLIP = True
    # Decoded images kept in memory, megabytes per data set and worker; 0 = read them every time.
    cfg.INPUT.CLASSIFICATION.CACHE_MB = 0


def _add_strong_views(cfg: CN) -> None:
    # Strong views (INPUT.VIEWS): the weak view of an image with its boxes where they are, and
    cfg.INPUT.STRONG = CN()
    # brightness, contrast, saturation times a factor uniform in 1 +- this, in [0, 1],
    cfg.INPUT.STRONG.BRIGHTNESS = 0.4
    cfg.INPUT.STRONG.CONTRAST = 0.4
    cfg.INPUT.STRONG.SATURATION = 0.4
    # hue turned by at most this share of the circle, in [0, 0.5],
    cfg.INPUT.STRONG.HUE = 0.1
    # all four of them with this probability;
    cfg.INPUT.STRONG.COLOR_PROB = 0.8
    # greyscale with this probability;
    cfg.INPUT.STRONG.GREY_PROB = 0.2
    # Gaussian blur with this probability, its standard deviation in pixels (least, greatest);
    cfg.INPUT.STRONG.BLUR_PROB = 0.5
    cfg.INPUT.STRONG.BLUR_SIGMA = (0.1, 2.0)
    # rectangles of noise, one for each of these probabilities; () = none,
    cfg.INPUT.STRONG.ERASE_PROBS = (0.7, 0.5, 0.3)
    # each of them this share of the image (least, greatest), width over height (least, greatest),
    cfg.INPUT.STRONG.ERASE_AREA = (0.02, 0.2)
    cfg.INPUT.STRONG.ERASE_ASPECT = (0.3, 3.3)
    # in images of these domains: "source", "target";
    cfg.INPUT.STRONG.ERASE_DOMAINS = ("source",)
    # blocks filled with MODEL.PIXEL_MEAN, each with this probability; 0 = none,
    cfg.INPUT.STRONG.MASK_RATIO = 0.5
    # of this side in pixels,
    cfg.INPUT.STRONG.MASK_BLOCK = 32
    # in images of these domains.
    cfg.INPUT.STRONG.MASK_DOMAINS = ("target",)


def _add_class_list(cfg: CN) -> None:
    # Classes of a run in the order of the model's outputs: None (all data sets must have the same,
    # in any order), "intersection" (those that all have), or a list; others' objects are dropped.
    cfg.DATASETS.CLASSES = None


def _add_loader(cfg: CN) -> None:
    # A training image that is missing or damaged: "error" ends training and names it; "skip" goes
    # on with another in its place, and lists it in the log and in OUTPUT_DIR/bad_images.json. In
    # evaluation it is always an error, since scores on other images are other scores.
    cfg.DATALOADER.ON_BAD_IMAGE = "error"


def _add_backbones(cfg: CN) -> None:
    # Convolutions on channels-last tensors, under this package's trainer: the same up to rounding
    # and to which position gets which random number of a dropout. Somewhat less time on a CPU
    # (docs/performance.md); meant for mixed precision on tensor cores.
    cfg.MODEL.CHANNELS_LAST = False
    # build_mini_resnet_backbone: channels w >= 1 of stem and res2; res3 has 2w, res4 4w.
    cfg.MODEL.MINI_RESNET = CN()
    cfg.MODEL.MINI_RESNET.WIDTH = 32
    # build_efficientnet_lite_backbone: outputs, of stem, stage1 ... stage7, head; its norm.
    cfg.MODEL.EFFICIENTNET_LITE = CN()
    cfg.MODEL.EFFICIENTNET_LITE.OUT_FEATURES = ["head"]
    cfg.MODEL.EFFICIENTNET_LITE.NORM = "BN"
    # VGG16BoxHead: dropout probability after fc6 and fc7, in [0, 1).
    cfg.MODEL.VGG16 = CN()
    cfg.MODEL.VGG16.DROPOUT = 0.5


def _discriminator(feature: str, hidden: tuple[int, ...], loss: str, gamma: float) -> CN:
    node = CN()
    # Switch this discriminator on.
    node.ENABLED = False
    # Backbone output it looks at (a name in backbone.output_shape()); "roi" for the instance one.
    node.FEATURE = feature
    # Channels of its hidden layers.
    node.HIDDEN = list(hidden)
    # Weight lambda >= 0 of the reversed gradient it sends to the features; 0 = train, do not align.
    node.LAMBDA = 1.0
    # Its domain loss: "least_squares", "bce" or "focal".
    node.LOSS = loss
    # Focusing exponent of the focal loss, >= 0.
    node.GAMMA = gamma
    return node


def _add_detection_alignment(cfg: CN) -> None:
    cfg.MODEL.DA = CN()
    # Strong alignment, one decision per pixel (Saito et al. 2019).
    cfg.MODEL.DA.LOCAL = _discriminator("res2", (256, 128), "least_squares", 5.0)
    # Weak alignment, one decision per image.
    cfg.MODEL.DA.GLOBAL = _discriminator("res4", (512, 128, 128), "focal", 5.0)
    # BatchNorm in the global discriminator (the authors have it; needs care with tiny batches).
    cfg.MODEL.DA.GLOBAL.NORM = "BN"
    # Dropout probability in the global discriminator.
    cfg.MODEL.DA.GLOBAL.DROPOUT = 0.5
    # Instance alignment, one decision per region of interest.
    cfg.MODEL.DA.INSTANCE = _discriminator("roi", (256, 256), "bce", 5.0)
    # Regions per image it sees: the best-scored proposals after NMS.
    cfg.MODEL.DA.INSTANCE.ROIS_PER_IMAGE = 32
    # Append the pooled hidden features of the enabled image discriminators to every region.
    cfg.MODEL.DA.CONTEXT = False


def _add_classification(cfg: CN) -> None:
    cfg.MODEL.CLASSIFIER = CN()
    # Number of classes; must equal the data's.
    cfg.MODEL.CLASSIFIER.NUM_CLASSES = 65
    # Backbone output that is average-pooled.
    cfg.MODEL.CLASSIFIER.IN_FEATURE = "res5"
    # Width of a linear bottleneck between pooling and classifier; 0 = none.
    cfg.MODEL.CLASSIFIER.BOTTLENECK = 256
    # Label smoothing epsilon of the cross-entropy, in [0, 1).
    cfg.MODEL.CLASSIFIER.LABEL_SMOOTHING = 0.0

    # Alignment of a classifier: "none", "dann", "dannpe", "cdan", "mmd", "gvb".
    cfg.MODEL.ALIGN = CN()
    cfg.MODEL.ALIGN.METHOD = "none"
    # Weight lambda >= 0 of the alignment objective, times its schedule.
    cfg.MODEL.ALIGN.LAMBDA = 1.0
    # "constant" or "dann": 2 / (1 + exp(-SLOPE * i / STEPS)) - 1.
    cfg.MODEL.ALIGN.SCHEDULE = "dann"
    cfg.MODEL.ALIGN.SCHEDULE_SLOPE = 10.0
    # Iterations over which the schedule runs; 0 = SOLVER.MAX_ITER.
    cfg.MODEL.ALIGN.SCHEDULE_STEPS = 0
    # Width of the two hidden layers of a domain discriminator.
    cfg.MODEL.ALIGN.HIDDEN = 1024
    # Dropout probability in the discriminator.
    cfg.MODEL.ALIGN.DROPOUT = 0.5
    # DANN, CDAN: weight examples by the entropy H of their prediction, exp(-H) in DANN and
    # 1 + exp(-H) in CDAN (CDAN+E). DANNPE and GVB always do, with exp(-H).
    cfg.MODEL.ALIGN.ENTROPY = False
    # As in the published codes: no gradient through the sum that normalises entropy weights, nor
    # through the predictions in CDAN's map. False = the exact gradient of the loss.
    cfg.MODEL.ALIGN.STOP_GRADIENT = True
    # CDAN: randomised multilinear map above this many products C*K; its output dimension.
    cfg.MODEL.ALIGN.RANDOMIZED_ABOVE = 4096
    cfg.MODEL.ALIGN.RANDOMIZED_DIM = 1024
    # MMD: kernel bandwidth sigma^2; 0 = median heuristic per batch. Multiples of it in the sum.
    cfg.MODEL.ALIGN.BANDWIDTH = 0.0
    cfg.MODEL.ALIGN.BANDWIDTH_FACTORS = [0.25, 0.5, 1.0, 2.0, 4.0]
    # MMD estimator: "quadratic" (biased V-statistic) or "linear" (linear time).
    cfg.MODEL.ALIGN.ESTIMATOR = "quadratic"
    # GVB: weights of the bridge penalties on generator and discriminator.
    cfg.MODEL.ALIGN.BRIDGE_GENERATOR = 1.0
    cfg.MODEL.ALIGN.BRIDGE_DISCRIMINATOR = 1.0
    # What is aligned: "target" (all sources against the target), "domains" (every domain
    # against every other) or "sources" (domain generalisation: no target in training).
    cfg.MODEL.ALIGN.BETWEEN = "target"
    # ToAlign: align the source's features weighted by what the task reads from them.
    cfg.MODEL.ALIGN.TASK_ORIENTED = False

    # MODEL.BACKBONE.NAME "build_digits_backbone", a small network for Mini Digits.
    cfg.MODEL.DIGITS_NET = CN()
    # Output channels of its 5x5 convolutions, each with a 2x2 max-pooling: stages conv1, conv2...
    cfg.MODEL.DIGITS_NET.CHANNELS = [32, 48]
    # Width of its fully connected last stage "fc"; 0 = none.
    cfg.MODEL.DIGITS_NET.FC_DIM = 128
    # Norm after each layer: "" or a name that detectron2.layers.get_norm knows ("BN", "GN"...).
    cfg.MODEL.DIGITS_NET.NORM = ""
    # Stride of the first convolution, >= 1.
    cfg.MODEL.DIGITS_NET.STRIDE = 1


def _add_adaptation(cfg: CN) -> None:
    cfg.ADAPTATION = CN()
    # How alignment and task share a step: "joint", "metaalign" (keys under METAALIGN), "pcgrad",
    # "gradvac", "cagrad", "mgda", "upgrad", "nash_mtl", "extragradient", "sdat".
    cfg.ADAPTATION.COORDINATOR = "joint"
    # Iterations at the start that train the task on the source alone.
    cfg.ADAPTATION.BURN_IN = 0
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


def _add_lookahead(cfg: CN) -> None:
    cfg.METAALIGN = CN()
    # Coordinate alignment and task by a lookahead step (MetaAlign).
    cfg.METAALIGN.ENABLED = False
    # "first" (no second derivatives, as the authors ran it) or "exact".
    cfg.METAALIGN.ORDER = "first"
    # Which objective looks ahead: "alignment" (alias "domain"), "task", or "alternate".
    cfg.METAALIGN.ROLE = "alternate"
    # The first of alternating roles: "alignment" or "task" (as in the authors' code).
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
    # the length META_LR ("length"); or such that the looking changes the other gradient by
    # RELATIVE_CHANGE ("relative", measured every RELATIVE_CHANGE_PERIOD, 0 = 20; from META_LR on).
    cfg.METAALIGN.META_LR = 1.0
    cfg.METAALIGN.ALPHA = "lr"
    cfg.METAALIGN.RELATIVE_CHANGE = 0.3
    # alpha grows linearly from 0 over this many iterations after START_ITER.
    cfg.METAALIGN.WARMUP_ITERS = 0
    # First iteration with a lookahead; plain joint training before it.
    cfg.METAALIGN.START_ITER = 0
    # In several processes, the inner step uses the gradient of all ("global") or of one ("local").
    cfg.METAALIGN.INNER_GRADIENT = "global"
    # Exact mode: let discriminators follow the task loss through the inner step (docs/method.md).
    cfg.METAALIGN.THROUGH_DISCRIMINATOR = False
    # Differentiate source and target one after the other where the loss allows: less memory.
    cfg.METAALIGN.SPLIT_DOMAINS = True
    # Iterations between telemetry records; 0 = off.
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


def _add_solver(cfg: CN) -> None:
    # Target images per step over all processes; 0 = as many as SOLVER.IMS_PER_BATCH.
    cfg.SOLVER.IMS_PER_BATCH_TARGET = 0
    # Split each step's batch into this many parts, one after the other, to save memory.
    cfg.SOLVER.ACCUMULATION_STEPS = 1
    # Autocast type of SOLVER.AMP: "float16" (with loss scaling) or "bfloat16".
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


def _add_checkpoints(cfg: CN) -> None:
    # Keep the last so many of the checkpoints written every CHECKPOINT_PERIOD; 0 = all of them.
    # model_final.pth and the best one are never removed.
    cfg.SOLVER.CHECKPOINT_KEEP = 0
    # Write model_final.safetensors, weights alone, beside model_final.pth.
    cfg.SOLVER.CHECKPOINT_SAFETENSORS = False


def _add_test(cfg: CN) -> None:
    # Images per batch and process in evaluation. Above 1, images of different sizes are padded to
    # the largest, which changes features near their borders.
    cfg.TEST.BATCH_SIZE = 1
    # Re-estimate BatchNorm statistics on this many target batches before evaluation; 0 = off.
    cfg.TEST.ADAPTIVE_BN = 0


def _add_selection(cfg: CN) -> None:
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


def _add_logging(cfg: CN) -> None:
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
