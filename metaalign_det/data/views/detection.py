"""From a dataset dict to what a detector is fed; the labels of a target go no further than here."""

from __future__ import annotations

import copy

import numpy as np
import torch
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.data.detection_utils import SizeMismatchError, check_image_size

from ...errors import BadImageError
from .images import read_image

#: All that a target image may bring along. A list of what passes, not of what is dropped, so that
#: no annotation of any future kind gets through.
TARGET_KEYS = ("file_name", "image_id", "height", "width", "domain")


def without_labels(dataset_dict: dict) -> dict:
    """A copy that holds :data:`TARGET_KEYS` alone."""
    return {key: dataset_dict[key] for key in TARGET_KEYS if key in dataset_dict}


class SourceMapper(DatasetMapper):
    """Detectron2's mapper for boxes, on images as :func:`.images.read_image` sees them.

    Detectron2 reads the image in the middle of its own ``__call__``, hence the one here; it has no
    proposals and no masks.

    ``SourceMapper(cfg, is_train)`` is built from the config like its parent. The result has
    ``image`` (uint8 Tensor (C, H, W)), ``height``, ``width`` (of the file, pixels),
    ``file_name``, ``image_id``, ``domain`` (int, 0 unless the dataset dict says otherwise), and
    in training ``instances``.
    """

    def __call__(self, dataset_dict: dict) -> dict:
        """
        Raises:
            UserError: the file is missing, damaged, or of another size than the dict says.
        """
        mapped = copy.deepcopy(dataset_dict)  # its annotations are transformed in place
        image = read_image(mapped["file_name"], self.image_format)
        try:
            check_image_size(mapped, image)
        except SizeMismatchError as error:
            raise BadImageError(mapped["file_name"], f"cannot be read: {error}") from error
        augmented = T.AugInput(image)
        transforms = self.augmentations(augmented)
        image = augmented.image
        # A copy: gray pixels that nothing changed are still Pillow's, which are read-only.
        mapped["image"] = torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C"))
        annotations = mapped.pop("annotations", None)
        if self.is_train and annotations is not None:
            # Of boxes in whole numbers, NumPy would cut off whatever resizing adds to them.
            mapped["annotations"] = [
                {**a, "bbox": list(map(float, a["bbox"]))} for a in annotations
            ]
            self._transform_annotations(mapped, transforms, image.shape[:2])
        mapped.setdefault("domain", 0)
        return mapped


class TargetMapper(SourceMapper):
    """The same for a target image in training: every annotation is gone before anything else.

    The result has ``image``, ``height``, ``width``, ``file_name``, ``image_id`` and ``domain``.
    """

    def __call__(self, dataset_dict: dict) -> dict:
        """
        Raises:
            UserError: as its parent.
        """
        return super().__call__(without_labels(dataset_dict))
