"""ImageNet weights from elsewhere: torchvision's ResNets and VGG16, and EfficientNet-Lite0.

Detectron2's own ``.pkl`` files need nothing of this: its checkpointer loads them. They expect BGR
images with the ImageNet mean and standard deviation 1; torchvision's expect RGB images scaled by
the standard deviation, and ResNet-50 and deeper with the stride in the 3x3 convolution:

    INPUT.FORMAT "RGB"
    MODEL.PIXEL_MEAN [123.675, 116.28, 103.53]
    MODEL.PIXEL_STD [58.395, 57.12, 57.375]
    MODEL.RESNETS.STRIDE_IN_1X1 False
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from detectron2.modeling.backbone.resnet import BottleneckBlock
from torch import Tensor, nn

from ..errors import UserError
from .backbone.efficientnet_lite import convert_efficientnet_lite, is_efficientnet_lite
from .backbone.vgg import convert_torchvision_vgg16, is_torchvision_vgg16
from .weight_files import read_weight_file, weights_in

logger = logging.getLogger(__name__)

# What MODEL.PIXEL_MEAN and MODEL.PIXEL_STD have to be.
_TORCHVISION_IMAGES = "it to [58.395, 57.12, 57.375], PIXEL_MEAN to [123.675, 116.28, 103.53]"
_LITE_IMAGES = "it to [128.0, 128.0, 128.0], PIXEL_MEAN to [127.0, 127.0, 127.0]"

# Where a ResNet is in a feature pyramid, and its last stage in a C4 detector.
_BOTTOM_UP, _C4_HEAD = "backbone.bottom_up.", "roi_heads.res5."

_BLOCK = re.compile(r"layer([1-4])\.(\d+)\.(conv|bn|downsample\.)(\d)\.(.+)")


@dataclass(frozen=True)
class LoadReport:
    """What came of loading a file.

    Args:
        loaded: names in the model that were set.
        skipped: names in the file that have no place in the model, such as the classifier ``fc``.
        missing: names in the model's backbone, or in the stage of it that is in the RoI heads, that
            the file has nothing for.
    """

    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]


def is_torchvision_resnet(state_dict: Mapping[str, object]) -> bool:
    """Whether the keys are those of a torchvision ResNet."""
    return {"conv1.weight", "layer1.0.conv1.weight"} <= set(state_dict)


def is_foreign_checkpoint(path: str | Path) -> bool:
    """Whether a ``.pth``, ``.pt`` or ``.safetensors`` is for :func:`load_pretrained` to convert."""
    path = Path(path)
    if path.suffix not in (".pth", ".pt", ".safetensors") or not path.is_file():
        return False
    state_dict = _read(path)
    known = (is_torchvision_resnet, is_torchvision_vgg16, is_efficientnet_lite)
    return any(is_known(state_dict) for is_known in known)


def convert_torchvision_resnet(
    state_dict: Mapping[str, Tensor], prefix: str = "backbone."
) -> dict[str, Tensor]:
    """Torchvision's names to Detectron2's; values unchanged.

    ``conv1`` and ``bn1`` become the stem, ``layer1..4`` become ``res2..5``, ``bnK`` the norm of
    ``convK``, and ``downsample`` the shortcut. ``fc`` is left out.

    Args:
        state_dict: of a ResNet with basic or bottleneck blocks.
        prefix: put before each name.

    Returns:
        dict: Detectron2 name -> value.

    Raises:
        UserError: a name that is not a torchvision ResNet's.
    """
    converted = {}
    for name, value in state_dict.items():
        if name.startswith("fc."):
            continue
        new = _converted_name(name)
        if new is None:
            raise UserError(f"{name!r} is not the name of a weight of a torchvision ResNet")
        converted[prefix + new] = value
    return converted


def load_pretrained(model: nn.Module, path: str | Path) -> LoadReport:
    """Load a checkpoint from elsewhere into ``model.backbone`` and log what happened.

    Args:
        model: its ``backbone`` is a Detectron2 ResNet, alone or below a feature pyramid, our VGG16
            (whose fully connected layers go into the box head) or our EfficientNet-Lite. The last
            stage of a ResNet goes into the RoI heads where a C4 detector has it.
        path: a ``.pth`` file, a plain state dict or one under "state_dict" or "model".

    Raises:
        UserError: the file is missing or holds something else, a shape does not fit (another
            depth or width), a convolution has no weights, or the backbone strides elsewhere.
    """
    path = Path(path)
    state_dict = _read(path)
    images = _TORCHVISION_IMAGES
    if is_torchvision_vgg16(state_dict):
        converted, depth = convert_torchvision_vgg16(state_dict), "MODEL.BACKBONE.NAME"
    elif is_torchvision_resnet(state_dict):
        converted, depth = convert_torchvision_resnet(state_dict), "MODEL.RESNETS.DEPTH"
    elif is_efficientnet_lite(state_dict):
        converted, depth = convert_efficientnet_lite(state_dict), "MODEL.BACKBONE.NAME"
        images = _LITE_IMAGES
    else:
        raise UserError(
            f"{path} does not hold the weights of a torchvision ResNet or VGG16, nor of an "
            "EfficientNet-Lite0"
        )
    _check_strides(model, path)
    # Caffe's VGG16 has torchvision's names, and its images are neither RGB nor divided.
    if not (is_torchvision_vgg16(state_dict) and _sees_images_of_caffe(model)):
        _check_images(model, path, images)

    own = model.state_dict()
    # The heads' stage has bottleneck blocks whatever the backbone has: ResNet-18's has no place.
    head = _C4_HEAD if "backbone.res5.0.conv3.weight" in converted else "backbone.res5."
    converted = {_place(k, own, head): v for k, v in converted.items()}
    fitting = {k: v for k, v in converted.items() if k in own}
    for name, value in fitting.items():
        if value.shape != own[name].shape:
            raise UserError(
                f"{path} does not fit the backbone: {name} has shape {tuple(value.shape)} in the "
                f"file and {tuple(own[name].shape)} in the model; check {depth}"
            )
    pyramid = any(k.startswith(_BOTTOM_UP) for k in own)  # whose own layers start at random
    wanted = (_BOTTOM_UP if pyramid else "backbone.", head)
    missing = tuple(k for k in own if k.startswith(wanted) and k not in fitting)
    # Without its convolutions a pretrained network is worthless; norms may well differ.
    weights = [k for k in missing if own[k].dim() == 4]
    if weights:
        raise UserError(
            f"{path} has no weights for {weights[0]} and {len(weights) - 1} other convolutions of "
            f"the backbone; check {depth}"
        )
    model.load_state_dict(fitting, strict=False)
    report = LoadReport(
        loaded=tuple(fitting),
        skipped=tuple(k for k in state_dict if k.startswith(("fc.", "classifier.6.", "_fc.")))
        + tuple(k for k in converted if k not in own),
        missing=missing,
    )
    logger.info(
        "%s: loaded %d tensors; not used from the file: %s; not in the file: %s",
        path,
        len(report.loaded),
        ", ".join(report.skipped) or "none",
        ", ".join(report.missing) or "none",
    )
    return report


def _place(name: str, own: Mapping[str, Tensor], head: str) -> str:
    """What a model with the parameters ``own`` calls a weight of the backbone."""
    elsewhere = (
        name.replace("backbone.", _BOTTOM_UP, 1),
        name.replace("backbone.res5.", head, 1),
    )
    return next((n for n in (name, *elsewhere) if n in own), name)


def _converted_name(name: str) -> str | None:
    stem = re.fullmatch(r"(conv1|bn1)\.(.+)", name)
    if stem:
        return f"stem.conv1.{'norm.' if stem[1] == 'bn1' else ''}{stem[2]}"
    block = _BLOCK.fullmatch(name)
    if block is None:
        return None
    layer, index, kind, number, rest = block.groups()
    where = f"res{int(layer) + 1}.{index}"
    if kind == "downsample.":
        return f"{where}.shortcut.{'norm.' if number == '1' else ''}{rest}"
    return f"{where}.conv{number}.{'norm.' if kind == 'bn' else ''}{rest}"


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(
            f'MODEL.WEIGHTS: there is no file {path}; put it there or set MODEL.WEIGHTS ""'
        )
    return weights_in(read_weight_file(path), path)


def _check_strides(model: nn.Module, path: Path) -> None:
    """Raise where the weights would run but mean something else."""
    for name, module in model.backbone.named_modules():
        if isinstance(module, BottleneckBlock) and module.conv1.stride != (1, 1):
            raise UserError(
                f"{path} comes from torchvision, which strides in the 3x3 convolution, but "
                f"backbone.{name} strides in the 1x1 one: set MODEL.RESNETS.STRIDE_IN_1X1 False"
            )


def _sees_images_of_caffe(model: nn.Module) -> bool:
    std = getattr(model, "pixel_std", None)
    is_bgr = getattr(model, "input_format", None) == "BGR"
    return is_bgr and std is not None and float(std.max()) < 2


def _check_images(model: nn.Module, path: Path, images: str) -> None:
    """Warn where the weights saw other images in their training, which ``images`` says."""
    if getattr(model, "input_format", "RGB") not in ("RGB", None):
        logger.warning(
            "%s was trained on RGB images, but INPUT.FORMAT is %s", path, model.input_format
        )
    std = getattr(model, "pixel_std", None)
    if std is not None and float(std.max()) < 2:
        logger.warning(
            "%s was trained on images divided by their standard deviation, but MODEL.PIXEL_STD "
            "is about 1; set %s",
            path,
            images,
        )
