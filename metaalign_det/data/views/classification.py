"""From a dataset dict to what a classifier is fed; the labels of a target go no further."""

from __future__ import annotations

import math

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T

from ...errors import UserError
from .detection import without_labels
from .images import read_image


class ClassificationMapper:
    """Reads an image, augments it and keeps its label, if it is allowed one.

    ``ClassificationMapper(cfg, is_train, labelled, domain=None)`` builds it from
    ``INPUT.CLASSIFICATION`` and ``INPUT.FORMAT``. All randomness is numpy's global generator, as
    in Detectron2, whose loader seeds it.

    Args:
        augmentations: applied in this order to the image as it was read.
        image_format: channel order, ``INPUT.FORMAT``.
        labelled: False for a target in training: every annotation of any kind is dropped before
            anything else happens.
        domain: value of ``domain`` in the result where the dataset dict has none of its own.
        cache_bytes: decoded images are kept in memory up to this size, for data sets so small
            that reading them takes longer than training on them.
    """

    @configurable
    def __init__(
        self,
        *,
        augmentations: list[T.Augmentation],
        image_format: str,
        labelled: bool,
        domain: int | None = None,
        cache_bytes: int = 0,
    ) -> None:
        self._augmentations = T.AugmentationList(augmentations)
        self._format = image_format
        self._labelled = labelled
        self._domain = domain
        self._cache: dict[str, np.ndarray] = {}
        self._cache_left = cache_bytes

    @classmethod
    def from_config(
        cls, cfg: CfgNode, is_train: bool, labelled: bool, domain: int | None = None
    ) -> dict:
        return {
            "augmentations": build_classification_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "labelled": labelled,
            "domain": domain,
            "cache_bytes": int(cfg.INPUT.CLASSIFICATION.CACHE_MB * 2**20),
        }

    def __call__(self, dataset_dict: dict) -> dict:
        """
        Args:
            dataset_dict: ``file_name``, ``image_id``, and ``label`` where labelled.

        Returns:
            dict: ``image`` (uint8 Tensor (C, H, W)), ``file_name``, ``image_id``, ``height`` and
            ``width`` (of the file, pixels), ``label`` (int) where labelled, ``domain`` (int) where
            there is one.

        Raises:
            UserError: the image is missing, damaged, or smaller than the crop.
        """
        mapped = without_labels(dataset_dict)
        if self._labelled:
            mapped["label"] = dataset_dict["label"]
        if self._domain is not None:
            mapped.setdefault("domain", self._domain)
        image = self._read(mapped["file_name"])
        mapped["height"], mapped["width"] = image.shape[:2]
        augmented = T.AugInput(image)
        try:
            self._augmentations(augmented)
        except _TooSmall as error:
            raise UserError(f"image {mapped['file_name']}: {error}") from error
        # A copy, so that nobody can write into the cache.
        mapped["image"] = torch.from_numpy(np.array(augmented.image.transpose(2, 0, 1), order="C"))
        return mapped

    def _read(self, file: str) -> np.ndarray:
        if file in self._cache:
            return self._cache[file]
        image = read_image(file, self._format)
        if image.nbytes <= self._cache_left:
            self._cache_left -= image.nbytes
            self._cache[file] = image
        return image


def build_classification_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """The augmentation of the Office benchmarks, as CDAN, GVB and MetaAlign published it.

    Resize to a square, whatever the aspect; in training a random crop and a flip, in test the
    central crop.

    Args:
        cfg: ``INPUT.CLASSIFICATION`` is used.
        is_train: for training or for test.

    Raises:
        UserError: a size is negative, the crop exceeds the resized image, an unknown crop type.
    """
    node = cfg.INPUT.CLASSIFICATION
    if min(node.RESIZE, node.CROP) < 0:
        raise UserError(
            f"INPUT.CLASSIFICATION.RESIZE ({node.RESIZE}) and CROP ({node.CROP}) are sides in "
            "pixels; 0 leaves the step out"
        )
    if node.CROP_TYPE not in ("fixed", "resized"):
        raise UserError(
            f"INPUT.CLASSIFICATION.CROP_TYPE must be fixed or resized, not {node.CROP_TYPE!r}"
        )
    # A test image is cropped even where training crops are resized.
    if node.RESIZE and node.CROP > node.RESIZE:
        raise UserError(
            f"INPUT.CLASSIFICATION.CROP ({node.CROP}) exceeds RESIZE ({node.RESIZE}): there is "
            "nothing to crop"
        )
    augmentations: list[T.Augmentation] = []
    if node.RESIZE:
        augmentations.append(T.Resize((node.RESIZE, node.RESIZE)))
    if node.CROP and not is_train:
        augmentations.append(SquareCrop(node.CROP, random=False))
    elif node.CROP and node.CROP_TYPE == "resized":
        augmentations.append(RandomResizedCrop(node.CROP))
    elif node.CROP:
        augmentations.append(SquareCrop(node.CROP, random=True))
    if node.FLIP and is_train:
        augmentations.append(T.RandomFlip())
    return augmentations


class _TooSmall(ValueError):
    """An image is smaller than the crop."""


class SquareCrop(T.Augmentation):
    """A window of ``size`` x ``size`` pixels, in the centre or anywhere.

    Args:
        size: side in pixels.
        random: draw its position uniformly.
    """

    def __init__(self, size: int, random: bool) -> None:
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> T.Transform:
        height, width = image.shape[:2]
        if min(height, width) < self.size:
            raise _TooSmall(
                f"{width}x{height} pixels are too few for INPUT.CLASSIFICATION.CROP "
                f"{self.size}; set RESIZE"
            )
        if self.random:
            top = np.random.randint(height - self.size + 1)
            left = np.random.randint(width - self.size + 1)
        else:
            top, left = (height - self.size) // 2, (width - self.size) // 2
        return T.CropTransform(left, top, self.size, self.size, width, height)


class RandomResizedCrop(T.Augmentation):
    """A window of random area and aspect, resized to a square ("Inception crop").

    Szegedy et al., CVPR 2015, section 6: the area is uniform in ``scale`` and the logarithm of
    the aspect uniform in that of ``ratio``. Where ten draws do not fit into the image, the
    largest central window within the range of aspects is taken, as in torchvision.

    Args:
        size: side of the result in pixels.
        scale: smallest and largest area relative to the image's.
        ratio: smallest and largest width over height.
    """

    def __init__(
        self,
        size: int,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> T.Transform:
        height, width = image.shape[:2]
        left, top, w, h = self._window(height, width)
        return T.TransformList(
            [
                T.CropTransform(left, top, w, h, width, height),
                T.ResizeTransform(h, w, self.size, self.size),
            ]
        )

    def _window(self, height: int, width: int) -> tuple[int, int, int, int]:
        for _ in range(10):
            area = height * width * np.random.uniform(*self.scale)
            aspect = math.exp(np.random.uniform(*np.log(self.ratio)))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                left = np.random.randint(width - w + 1)
                return left, np.random.randint(height - h + 1), w, h
        w = min(width, round(height * self.ratio[1]))
        h = min(height, round(width / self.ratio[0]))
        return (width - w) // 2, (height - h) // 2, w, h
