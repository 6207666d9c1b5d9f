"""What is read and how it is shown to the model: ``DATASETS``, ``INPUT``, ``DATALOADER``."""

from __future__ import annotations

from detectron2.config import CfgNode as CN


def add_data(cfg: CN) -> None:
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


def add_class_list(cfg: CN) -> None:
    # Classes of a run in the order of the model's outputs: None (all data sets must have the same,
    # in any order), "intersection" (those that all have), or a list; others' objects are dropped.
    cfg.DATASETS.CLASSES = None


def add_loader(cfg: CN) -> None:
    # A training image that is missing or damaged: "error" ends training and names it; "skip" goes
    # on with another in its place, and lists it in the log and in OUTPUT_DIR/bad_images.json. In
    # evaluation it is always an error, since scores on other images are other scores.
    cfg.DATALOADER.ON_BAD_IMAGE = "error"
