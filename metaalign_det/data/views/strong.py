"""Strong augmentation: what an image looks like may change a lot, where things are may not.

Applied after the weak (geometric) view of the same image, so that boxes stay as they are and a
teacher's predictions on the weak view hold for the strong one. The recipe is that of Adaptive
Teacher (Li et al., CVPR 2022) and ALDI (Kay et al., 2024), whose block masks are those of MIC
(Hoyer et al., CVPR 2023). Detection and classification use the same.

H, W are the height and width of an image in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor

from ...errors import UserError

#: Domains that an augmentation can be meant for.
DOMAINS = ("source", "target")
#: Legal values of ``INPUT.VIEWS.SOURCE`` and ``TARGET``.
VIEWS = ("weak", "strong", "both")

# OpenCV rather than torchvision.transforms.v2, whose hue shift alone takes 3 ms for an image of
# 160 x 160 pixels on one thread; all of this takes 0.35 ms.


class StrongView:
    """Color jitter, greyscale, blur, then erased rectangles, then block masks.

    Brightness, contrast and saturation are multiplied by a factor uniform in 1 ± the given
    range, hue is turned by a share of the full circle uniform in ± its range, in a random order.

    Args:
        brightness, contrast, saturation: ranges in [0, 1].
        hue: range in [0, 0.5].
        color_prob, grey_prob, blur_prob: probabilities of jitter, greyscale and blur.
        blur_sigma: least and greatest standard deviation of the Gaussian, pixels.
        erase_probs: probability of each of several rectangles, filled with noise.
        erase_area: least and greatest share of the image that one covers.
        erase_aspect: least and greatest width over height, log-uniform.
        mask_ratio: probability with which each block of the image is masked; 0 = no masks.
        mask_block: side of a block, pixels.
        mask_fill: color of a masked block, one number a channel: the pixel mean, which is 0 to the
            network.
        image_format: "BGR" or "RGB", the order of the channels.
    """

    def __init__(
        self,
        *,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.1,
        color_prob: float = 0.8,
        grey_prob: float = 0.2,
        blur_prob: float = 0.5,
        blur_sigma: tuple[float, float] = (0.1, 2.0),
        erase_probs: Sequence[float] = (),
        erase_area: tuple[float, float] = (0.02, 0.2),
        erase_aspect: tuple[float, float] = (0.3, 3.3),
        mask_ratio: float = 0.0,
        mask_block: int = 32,
        mask_fill: Sequence[float] = (127.5, 127.5, 127.5),
        image_format: str = "BGR",
    ) -> None:
        self.ranges = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        self.hue = hue
        self.color_prob = color_prob
        self.grey_prob = grey_prob
        self.blur_prob = blur_prob
        self.blur_sigma = blur_sigma
        self.erase_probs = tuple(erase_probs)
        self.erase_area = erase_area
        self.erase_aspect = erase_aspect
        self.mask_ratio = mask_ratio
        self.mask_block = mask_block
        self.mask_fill = np.rint(np.clip(mask_fill, 0, 255)).astype(np.uint8)
        # OpenCV's conversion codes are ints; what they convert is told by name.
        self._to_grey = getattr(cv2, f"COLOR_{image_format}2GRAY")
        self._from_grey = getattr(cv2, f"COLOR_GRAY2{image_format}")
        self._to_hsv = getattr(cv2, f"COLOR_{image_format}2HSV_FULL")
        self._from_hsv = getattr(cv2, f"COLOR_HSV2{image_format}_FULL")

    @classmethod
    def from_config(cls, cfg: CfgNode, domain: str) -> StrongView:
        """As ``INPUT.STRONG`` says, for images of "source" or "target".

        Raises:
            UserError: a value that means nothing; names its key.
        """
        node = cfg.INPUT.STRONG
        if cfg.INPUT.FORMAT not in ("BGR", "RGB"):
            raise UserError(
                f"strong views need three channels: INPUT.FORMAT BGR or RGB, not "
                f"{cfg.INPUT.FORMAT!r}; or set INPUT.VIEWS.{domain.upper()} 'weak'"
            )
        for key in ("BRIGHTNESS", "CONTRAST", "SATURATION", "COLOR_PROB", "GREY_PROB", "BLUR_PROB"):
            _check(key, [node[key]], 0, 1)
        _check("MASK_RATIO", [node.MASK_RATIO], 0, 1)
        _check("ERASE_PROBS", node.ERASE_PROBS, 0, 1)
        _check("HUE", [node.HUE], 0, 0.5)
        _check_range("BLUR_SIGMA", node.BLUR_SIGMA, math.inf)
        _check_range("ERASE_AREA", node.ERASE_AREA, 1)
        _check_range("ERASE_ASPECT", node.ERASE_ASPECT, math.inf)
        if node.MASK_BLOCK < 1:
            raise UserError(f"INPUT.STRONG.MASK_BLOCK is a side in pixels, got {node.MASK_BLOCK}")
        for key in ("ERASE_DOMAINS", "MASK_DOMAINS"):
            unknown = [name for name in node[key] if name not in DOMAINS]
            if isinstance(node[key], str) or unknown:
                raise UserError(
                    f"INPUT.STRONG.{key} is a list of {' and '.join(DOMAINS)}, or of nothing; got "
                    f"{node[key]!r}"
                )
        return cls(
            brightness=node.BRIGHTNESS,
            contrast=node.CONTRAST,
            saturation=node.SATURATION,
            hue=node.HUE,
            color_prob=node.COLOR_PROB,
            grey_prob=node.GREY_PROB,
            blur_prob=node.BLUR_PROB,
            blur_sigma=tuple(node.BLUR_SIGMA),
            erase_probs=node.ERASE_PROBS if domain in node.ERASE_DOMAINS else (),
            erase_area=tuple(node.ERASE_AREA),
            erase_aspect=tuple(node.ERASE_ASPECT),
            mask_ratio=node.MASK_RATIO if domain in node.MASK_DOMAINS else 0.0,
            mask_block=node.MASK_BLOCK,
            mask_fill=cfg.MODEL.PIXEL_MEAN,
            image_format=cfg.INPUT.FORMAT,
        )

    def __call__(
        self, image: np.ndarray | Tensor, random: np.random.Generator
    ) -> np.ndarray | Tensor:
        """
        Args:
            image: uint8, an array of shape (H, W, 3) or a tensor of shape (3, H, W); left as it is.
            random: all that is random here.

        Returns:
            ndarray | Tensor: of the same kind and shape.

        Raises:
            ValueError: an image of another type or number of channels.
        """
        if isinstance(image, Tensor):
            array = self(image.permute(1, 2, 0).numpy(), random)
            return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"a strong view is of uint8 with three channels, not {image.dtype} {image.shape}"
            )
        view = np.array(image, order="C")
        if random.random() < self.color_prob:
            view = self._jitter(view, random)
        if random.random() < self.grey_prob:
            view = self._grey(view)
        if random.random() < self.blur_prob:
            sigma = random.uniform(*self.blur_sigma)
            if sigma > 0:
                view = cv2.GaussianBlur(view, (0, 0), sigma)
        for probability in self.erase_probs:
            if random.random() < probability:
                self._erase(view, random)
        if self.mask_ratio:
            self._mask(view, random)
        return view

    def _jitter(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        factors = {name: random.uniform(1 - r, 1 + r) for name, r in self.ranges.items()}
        turn = random.uniform(-self.hue, self.hue)
        for name in random.permutation(["brightness", "contrast", "saturation", "hue"]):
            if name == "hue":
                image = self._turn_hue(image, turn)
                continue
            factor = factors[name]
            if name == "brightness":
                image = cv2.convertScaleAbs(image, alpha=factor)  # nothing is below 0
            elif name == "contrast":
                mean = cv2.mean(cv2.cvtColor(image, self._to_grey))[0]
                image = cv2.addWeighted(image, factor, image, 0, (1 - factor) * mean)
            else:
                image = cv2.addWeighted(image, factor, self._grey(image), 1 - factor, 0)
        return image

    def _turn_hue(self, image: np.ndarray, turn: float) -> np.ndarray:
        hsv = cv2.cvtColor(image, self._to_hsv)  # the full circle is 256 steps
        hsv[:, :, 0] += np.uint8(round(turn * 256) % 256)  # and wraps around like one
        return cv2.cvtColor(hsv, self._from_hsv)

    def _grey(self, image: np.ndarray) -> np.ndarray:
        return cv2.cvtColor(cv2.cvtColor(image, self._to_grey), self._from_grey)

    def _erase(self, image: np.ndarray, random: np.random.Generator) -> None:
        height, width = image.shape[:2]
        area = random.uniform(*self.erase_area) * height * width
        aspect = math.exp(random.uniform(*np.log(self.erase_aspect)))
        w = min(max(round(math.sqrt(area * aspect)), 1), width)
        h = min(max(round(math.sqrt(area / aspect)), 1), height)
        left, top = random.integers(width - w + 1), random.integers(height - h + 1)
        image[top : top + h, left : left + w] = random.integers(0, 256, (h, w, 3), dtype=np.uint8)

    def _mask(self, image: np.ndarray, random: np.random.Generator) -> None:
        block = self.mask_block
        rows, columns = (-(-side // block) for side in image.shape[:2])
        for row, column in np.argwhere(random.random((rows, columns)) < self.mask_ratio):
            top, left = row * block, column * block
            image[top : top + block, left : left + block] = self.mask_fill


def _check(key: str, values: Sequence[float], low: float, high: float) -> None:
    for value in values:
        if not low <= value <= high:
            raise UserError(f"INPUT.STRONG.{key} must be in [{low}, {high}], got {value}")


def _check_range(key: str, values: Sequence[float], high: float) -> None:
    if len(values) != 2 or not 0 < values[0] <= values[1] <= high:
        limit = "" if high == math.inf else f" <= {high}"
        raise UserError(
            f"INPUT.STRONG.{key} is (least, greatest), 0 < least <= greatest{limit}; got "
            f"{tuple(values)}"
        )
