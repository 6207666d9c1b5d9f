"""From a dataset dict to what a detector is fed; the labels of a target go no further than here."""

from __future__ import annotations

from detectron2.data import DatasetMapper
from detectron2.data.detection_utils import SizeMismatchError

from ...errors import UserError
from ..formats.image_headers import DECODE_ERRORS

#: All that a target image may bring along. A list of what passes, not of what is dropped, so that
#: no annotation of any future kind gets through.
TARGET_KEYS = ("file_name", "image_id", "height", "width", "domain")


def without_labels(dataset_dict: dict) -> dict:
    """A copy that holds :data:`TARGET_KEYS` alone."""
    return {key: dataset_dict[key] for key in TARGET_KEYS if key in dataset_dict}


class SourceMapper(DatasetMapper):
    """Detectron2's mapper, with a clear error for an image that cannot be decoded.

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
        try:
            mapped = super().__call__(dataset_dict)
        except (*DECODE_ERRORS, SizeMismatchError) as error:
            raise UserError(f"image {dataset_dict['file_name']} cannot be read: {error}") from error
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
