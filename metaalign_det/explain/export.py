"""Models for other programs: TorchScript and ONNX, by Detectron2's ``TracingAdapter``.

The exported network takes one image as :meth:`.Predictor.prepare` makes it, float (C, H', W') in
the pixels and channel order of ``INPUT.FORMAT``, already resized. H' and W' may vary for a
detector, which gives boxes (R, 4) in the pixels of that resized image, classes (R,) and scores
(R,); a classifier takes the size it was traced at and gives probabilities (K,). What is needed to
use it is written beside it, as JSON.

Why by tracing: ``torch.export``, the newer way, does not get through Detectron2's RPN
(Detectron2 a59f0563, torch 2.14).
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from detectron2.layers import ROIAlign
from torch import Tensor, nn

from ..coordination.ops.roi_align import TwiceDifferentiableROIAlign
from ..data.views.images import IMAGE_FORMATS
from ..errors import UserError
from ..files import write_json
from .predict import Predictor
from .predict_images import ImageLike

EXPORTS = ("onnx", "torchscript")
OUTPUTS = {
    "detection": ("boxes", "classes", "scores"),
    "classification": ("probabilities",),
}
_OPSET = 17  # from 16 on ONNX has the RoIAlign that Detectron2 uses (aligned)


class Exportable(nn.Module):
    """The network of a predictor, from one tensor to a tuple of tensors; see the module.

    Args:
        predictor: its model is copied, not changed.
        example: an image; what goes through the network while it is traced.
    """

    def __init__(self, predictor: Predictor, example: ImageLike) -> None:
        # Only here: importing it sets up loggers of torch.onnx and much else.
        from detectron2.export import TracingAdapter

        super().__init__()
        self.kind = predictor.kind
        self.example = predictor.prepare(example)["image"].to(predictor.model.device)
        model = _with_plain_roi_align(copy.deepcopy(predictor.model))
        run = _detect if self.kind == "detection" else _classify
        self.adapter = TracingAdapter(model, [{"image": self.example}], run)
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        out = self.adapter(image)
        # Behind the outputs come their sizes, which Detectron2 would rebuild Instances from.
        return out[: len(OUTPUTS[self.kind])]


def export(predictor: Predictor, example: ImageLike, form: str, folder: str | Path) -> Path:
    """Write ``model.onnx`` or ``model.ts``, and ``model.json`` that tells how to use it.

    Args:
        predictor: whose model.
        example: any image; one on which a detector finds something.
        form: "onnx" or "torchscript".
        folder: to write into; made if need be.

    Returns:
        Path: of the model.

    Raises:
        UserError: an unknown form; the package ``onnx`` is missing; the model cannot be traced.
    """
    require_exporter(form)
    network = Exportable(predictor, example)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path, how_to = (folder / name for name in names_of_export(form))
    with _quiet():
        try:
            if form == "onnx":
                _export_onnx(network, path)
            else:
                traced = torch.jit.trace(network, (network.example,), check_trace=False)
                # Frozen, weights are constants without names: "global", a discriminator's, is a
                # keyword of TorchScript, which could then not be loaded.
                torch.jit.freeze(traced).save(str(path))
        except (RuntimeError, ValueError, TypeError) as error:
            raise UserError(
                f"Detectron2's exporter cannot write this model to {form}: "
                f"{str(error).strip().splitlines()[0]}"
            ) from error
    write_json(how_to, describe(predictor))
    return path


def names_of_export(form: str) -> tuple[str, str]:
    """Names of the files that :func:`export` writes: of the model, and of how to use it."""
    return ("model.onnx" if form == "onnx" else "model.ts"), "model.json"


def describe(predictor: Predictor) -> dict:
    """What somebody needs who has the exported file alone."""
    cfg = predictor.cfg
    told = {
        "kind": predictor.kind,
        "classes": predictor.class_names,
        "input": {
            "name": "image",
            "shape": [str(IMAGE_FORMATS[cfg.INPUT.FORMAT]), "height", "width"],
            "type": "float32, 0 to 255",
            "channels": cfg.INPUT.FORMAT,
        },
        "outputs": list(OUTPUTS[predictor.kind]),
    }
    if predictor.kind == "detection":
        told["input"]["resize"] = {
            "shorter_side": cfg.INPUT.MIN_SIZE_TEST,
            "longer_side_at_most": cfg.INPUT.MAX_SIZE_TEST,
        }
        told["boxes"] = "x0, y0, x1, y1 in pixels of the resized image"
    else:
        node = cfg.INPUT.CLASSIFICATION
        told["input"]["resize"] = {"both_sides": node.RESIZE, "central_crop": node.CROP}
    return told


def _export_onnx(network: Exportable, path: Path) -> None:
    names = list(OUTPUTS[network.kind])
    axes = None  # a classifier's: adaptive pooling of a size that varies cannot be written
    if network.kind == "detection":
        axes = {"image": {1: "height", 2: "width"}}
        axes |= {name: {0: "detections"} for name in names}
    torch.onnx.export(
        network,
        (network.example,),
        str(path),
        dynamo=False,
        opset_version=_OPSET,
        input_names=["image"],
        output_names=names,
        dynamic_axes=axes,
    )
    network.eval()  # the exporter leaves it in another mode


def _detect(model: nn.Module, inputs: list[dict]) -> list[Tensor]:
    found = model.inference(inputs, do_postprocess=False)[0]
    return [found.pred_boxes.tensor, found.pred_classes, found.scores]


def _classify(model: nn.Module, inputs: list[dict]) -> list[Tensor]:
    return [model.inference(inputs)[0]["scores"]]


def _with_plain_roi_align(model: nn.Module) -> nn.Module:
    """Detectron2's RoIAlign back in place of ours, whose autograd function nobody else knows."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is TwiceDifferentiableROIAlign:
                plain = ROIAlign(
                    child.output_size, child.spatial_scale, child.sampling_ratio, child.aligned
                )
                setattr(parent, name, plain)
    return model


def require_exporter(form: str) -> None:
    """Raise a UserError where :func:`export` does not know a form, or misses a package for it."""
    if form not in EXPORTS:
        raise UserError(f"a model is exported to {' or '.join(EXPORTS)}, not {form!r}")
    if form != "onnx":
        return
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise UserError(
            "exporting to ONNX needs the package onnx: pip install 'metaalign_det[export]'"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracer's warnings, a screenful of places in Detectron2 that are known."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
