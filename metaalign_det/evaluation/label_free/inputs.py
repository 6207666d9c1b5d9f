"""What validators may ask for: what a model says about images, never a target label.

Shape shorthand: N images, K classes, C features, R detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError


@dataclass(frozen=True)
class Predictions:
    """A classifier on images of one domain.

    Args:
        probabilities (Tensor): shape (N, K).
        features (Tensor): shape (N, C), what the classifying layer sees; None where no validator
            needs "features".
        labels (Tensor): shape (N,), int64; of source images only, else None.
    """

    probabilities: Tensor
    features: Tensor | None = None
    labels: Tensor | None = None


@dataclass(frozen=True)
class Mixtures:
    """A classifier on mixtures of two target images, ``weight`` of the first.

    Args:
        probabilities (Tensor): shape (M, K), of the mixtures.
        first, second (Tensor): shape (M, K), of the images they were mixed from.
        weight: in (0.5, 1).
    """

    probabilities: Tensor
    first: Tensor
    second: Tensor
    weight: float


@dataclass(frozen=True)
class Detections:
    """A detector on one image.

    Args:
        boxes (Tensor): shape (R, 4), x0, y0, x1, y1 in absolute pixels.
        scores (Tensor): shape (R,), of the predicted class.
        classes (Tensor): shape (R,), int64.
        probabilities (Tensor): shape (R, K + 1), over the classes and, last, background.
        features (Tensor): shape (R, C), what the box predictor sees.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    probabilities: Tensor
    features: Tensor

    def above(self, score: float) -> Detections:
        """Those of at least this score."""
        kept = self.scores >= score
        return Detections(*(getattr(self, f.name)[kept] for f in fields(self)))


@dataclass(frozen=True)
class Inputs:
    """Everything about one candidate that some validator asks for; what none asks for is None.

    Args:
        target: a classifier on target training images.
        source: the same on labelled source images.
        mixtures: on mixtures of target images.
        ensemble (Tensor): shape (N, K), mean of the target probabilities of *all* candidates.
        detections: a detector on target training images, one entry per image.
        source_detections: on source images.
        perturbed: on the target images again, once for each perturbation of its weights.
    """

    target: Predictions | None = None
    source: Predictions | None = None
    mixtures: Mixtures | None = None
    ensemble: Tensor | None = None
    detections: Sequence[Detections] | None = None
    source_detections: Sequence[Detections] | None = None
    perturbed: Sequence[Sequence[Detections]] | None = None

    @property
    def features(self) -> Tensor | None:
        """Those of ``target`` or ``source``, shape (N, C); None where neither has any."""
        both = (p.features for p in (self.target, self.source) if p is not None)
        return next((f for f in both if f is not None), None)

    def with_ensemble(self, ensemble: Tensor) -> Inputs:
        """The same with the candidates' ensemble."""
        return replace(self, ensemble=ensemble)


_FIELDS = tuple(f.name for f in fields(Inputs))
#: Names a validator may list in ``needs``; "features" are a classifier's, of target and source.
NEEDS = (*_FIELDS, "features")


def merge(parts: Sequence[Inputs]) -> Inputs:
    """The inputs of all images from those of several processes, in their order.

    A process may have had no image: its share says neither how wide features are nor whether
    there are labels, and is passed over.
    """
    merged = {}
    for name in _FIELDS:
        values = [getattr(p, name) for p in parts if getattr(p, name) is not None]
        if not values:
            continue
        if name == "perturbed":
            merged[name] = [[d for part in passes for d in part] for passes in zip(*values)]
        elif name in ("detections", "source_detections"):
            merged[name] = [d for part in values for d in part]
        else:
            merged[name] = _concatenated([v for v in values if _rows(v)] or values[:1])
    return Inputs(**merged)


def _concatenated(values: Sequence[Predictions | Mixtures | Tensor]) -> Any:
    if isinstance(values[0], Tensor):
        return torch.cat(list(values))
    kind = type(values[0])
    columns = {f.name: [getattr(v, f.name) for v in values] for f in fields(kind)}
    return kind(
        **{n: torch.cat(c) if isinstance(c[0], Tensor) else c[0] for n, c in columns.items()}
    )


def _rows(value: Any) -> int:
    return len(value.probabilities) if hasattr(value, "probabilities") else len(value)


def are_finite(inputs: Inputs, *needs: str) -> bool:
    """Whether a classifier's probabilities are numbers; a diverged model's are not.

    Of detections none is left out by this: a detector drops those that are not finite itself.
    """
    for name in needs:
        value = getattr(inputs, name)
        p = value if isinstance(value, Tensor) else getattr(value, "probabilities", None)
        if p is not None and not bool(torch.isfinite(p).all()):
            return False
    return True


def require(inputs: Inputs, *needs: str) -> None:
    """Check that inputs are there, and of at least one image.

    Raises:
        UserError: one is missing, or empty.
    """
    for name in needs:
        value = getattr(inputs, name)
        if value is None:
            raise UserError(f"a validator needs the input {name!r}, which was not collected")
        if not _rows(value):
            raise UserError(f"a validator needs images, but the input {name!r} has none")
