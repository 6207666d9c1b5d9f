"""Pictures of what the model says about some target images, at every evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import HookBase
from detectron2.engine.hooks import PeriodicWriter

from ..data.catalog.classes import run_classes
from ..data.catalog.domains import domain_kind, load_unlabelled
from ..data.catalog.reading import left_out
from ..data.loader.build import default_mapper
from ..data.views.images import read_image
from ..errors import BadImageError, UserError
from .ending import has_ended

_SCORE_THRESHOLD = 0.5
_LONGER_SIDE = 480  # pixels of a picture


def with_target_pictures(hooks: list[HookBase | None], cfg: CfgNode) -> list[HookBase | None]:
    """Add :class:`TargetPictures` before the writers, where ``cfg.VIS.TARGET_IMAGES`` asks for it.

    Raises:
        UserError: it does, and there is no target.
    """
    if cfg.VIS.TARGET_IMAGES < 0:
        raise UserError(f"VIS.TARGET_IMAGES must be >= 0, got {cfg.VIS.TARGET_IMAGES}")
    if not cfg.VIS.TARGET_IMAGES:
        return hooks
    if not cfg.DATASETS.TARGET:
        raise UserError(
            "VIS.TARGET_IMAGES shows target images, but DATASETS.TARGET is empty: name a data set "
            "there, or set VIS.TARGET_IMAGES to 0"
        )
    writers = [i for i, hook in enumerate(hooks) if isinstance(hook, PeriodicWriter)]
    if not writers:  # not the process that writes
        return hooks
    return [*hooks[: writers[0]], TargetPictures(cfg), *hooks[writers[0] :]]


class TargetPictures(HookBase):
    """Puts ``target/<number>`` into the event storage every ``TEST.EVAL_PERIOD``, and at the end.

    The images are the same every time, evenly spread over the first target data set. Training
    goes on as if they had not been looked at: the model is in evaluation mode meanwhile, which
    draws no random numbers and tracks no statistics.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """
        Args:
            cfg: with ``DATASETS.TARGET``, ``VIS.TARGET_IMAGES`` and ``TEST.EVAL_PERIOD``.
        """
        name = cfg.DATASETS.TARGET[0]
        dicts = load_unlabelled(name, bad=left_out(cfg))
        chosen = np.linspace(0, len(dicts) - 1, min(cfg.VIS.TARGET_IMAGES, len(dicts)))
        self._dicts = [dicts[i] for i in dict.fromkeys(chosen.round().astype(int).tolist())]
        self._mapper = default_mapper(cfg, domain_kind([name]), is_train=False, labelled=False)
        self._classes = list(run_classes(cfg) or MetadataCatalog.get(name).get("thing_classes", []))
        self._skip = cfg.DATALOADER.ON_BAD_IMAGE == "skip"
        self._period = cfg.TEST.EVAL_PERIOD

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._draw_all()

    def after_train(self) -> None:
        if has_ended(self.trainer):
            self._draw_all()

    @torch.no_grad()
    def _draw_all(self) -> None:
        model = self.trainer.model
        was_training = model.training
        model.eval()
        try:
            for number, record in enumerate(self._dicts):
                try:
                    # Copied: mappers may write into what they are given.
                    mapped = self._mapper(dict(record))
                except BadImageError:
                    if self._skip:  # training has named it
                        continue
                    raise
                (output,) = model([mapped])
                picture = draw_output(read_image(record["file_name"], "RGB"), output, self._classes)
                name = f"target/{number}"
                self.trainer.storage.put_image(name, picture.transpose(2, 0, 1))
        finally:
            model.train(was_training)


def draw_output(image: np.ndarray, output: dict, class_names: list[str]) -> np.ndarray:
    """A picture of what a model says about an image.

    Args:
        image (ndarray): shape (H, W, 3), RGB, uint8.
        output: of a detector, ``instances`` in pixels of the image; of a classifier, ``scores``.
        class_names: in the order of the model's outputs.

    Returns:
        ndarray: shape (h, w, 3), RGB, uint8, its longer side 480 pixels.
    """
    import cv2  # imported here, as matplotlib below: a training without pictures needs neither
    from detectron2.utils.visualizer import ColorMode, Visualizer

    scale = _LONGER_SIDE / max(image.shape[:2])
    names = {"thing_classes": class_names}
    if "instances" in output:
        drawing = Visualizer(image, _Names(names), scale, ColorMode.IMAGE)
        found = output["instances"].to("cpu")
        drawn = drawing.draw_instance_predictions(found[found.scores >= _SCORE_THRESHOLD])
        return drawn.get_image()
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    picture = cv2.resize(
        image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    best = int(output["scores"].argmax())
    drawing = Visualizer(picture, _Names(names))
    text = f"{class_names[best]} {float(output['scores'][best]):.0%}"
    return drawing.draw_text(text, (size[0] / 2, 4), font_size=22).get_image()


class _Names:
    """What Detectron2's visualizer asks of metadata, without an entry in its global catalog."""

    def __init__(self, values: dict) -> None:
        self._values = values

    def get(self, key: str, default: Any = None) -> Any:
        return self._values.get(key, default)
