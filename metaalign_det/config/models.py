"""Backbones, heads and what aligns their features: ``MODEL``."""

from __future__ import annotations

from detectron2.config import CfgNode as CN


def add_backbones(cfg: CN) -> None:
    # Convolutions on channels-last tensors, under this package's trainer: the same up to rounding
    # and to which position gets which random number of a dropout. Somewhat less time on a CPU
    # (docs/performance.md); meant for mixed precision on tensor cores.
    cfg.MODEL.CHANNELS_LAST = False
    # build_mini_resnet_backbone: channels w >= 1 of stem and res2; res3 has 2w, res4 4w. Under
    # MODEL.RESNETS.NORM "GN" a multiple of 32.
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
    # Its domain loss: "least_squares", "bce", "focal", or one that a plug-in adds.
    node.LOSS = loss
    # Focusing exponent of the focal loss, >= 0.
    node.GAMMA = gamma
    return node


def add_detection_alignment(cfg: CN) -> None:
    cfg.MODEL.DA = CN()
    # Strong alignment, one decision per pixel (Saito et al. 2019).
    cfg.MODEL.DA.LOCAL = _discriminator("res2", (256, 128), "least_squares", 5.0)
    # Deviation of its initial weights; 0 = PyTorch's default, as the authors' VGG16 has it.
    cfg.MODEL.DA.LOCAL.INIT_STD = 0.01
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


def add_classification(cfg: CN) -> None:
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
    # Iterations over which the schedule runs, from ADAPTATION.BURN_IN on; 0 = to the end.
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
    # Norm after each layer: "" or a name that detectron2.layers.get_norm knows ("BN", "GN"...);
    # "GN" needs multiples of 32 in CHANNELS and FC_DIM.
    cfg.MODEL.DIGITS_NET.NORM = ""
    # Stride of the first convolution, >= 1.
    cfg.MODEL.DIGITS_NET.STRIDE = 1
