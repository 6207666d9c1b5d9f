"""The one contract between models and everything that trains them.

A batch in training is a mapping of named *views*, lists in Detectron2's format, one dict per image:

=================  ==========================================================================
``source``         weakly augmented labelled images, with ``instances`` or ``label``
``source_strong``  the same images strongly augmented, the same labels; where asked for
``target``         weakly augmented unlabelled images: no annotation whatever
``target_strong``  the same images strongly augmented; where asked for
=================  ==========================================================================

Each dict holds ``image`` (Tensor (C, H, W)) and ``domain`` (int: the source domains count from 0,
the target comes after the last). A view and its strong sibling have the same geometry.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..coordination.stateless import RandomStreams, frozen_batch_statistics
from ..errors import UserError
from ..loss_term import LossTerm

#: Values of ``ADAPTATION.STATISTICS``: of both domains as alignment sees them, or of the target.
STATISTICS = ("both", "target")


class AdaptableModel(nn.Module):
    """Base of every model that can be adapted; a mixin for Detectron2 meta-architectures.

    Called with a training batch, ``forward`` returns a dict of losses whose sum is joint
    training, so that any Detectron2 trainer can train it; called in evaluation mode with a list
    of inputs it is a plain Detectron2 model. A trainer that wants the parts calls
    :meth:`task_losses` and :meth:`alignment_terms`. A model knows nothing of roles, teachers or
    steps.
    """

    #: The feature extractor, whose parameters both objectives share.
    backbone: nn.Module

    #: Where images have to go; a property of Detectron2's meta-architectures.
    device: torch.device

    #: ``alignment_terms(s, t)`` equals ``alignment_terms(s, [])`` plus ``alignment_terms([], t)``,
    #: loss by loss. Trainers then differentiate one domain at a time and hold one graph.
    alignment_separable: bool = False

    #: Whether there is nothing to align without target images.
    alignment_needs_target: bool = True

    #: K, classes of the task, background apart; what a teacher's class odds need.
    num_classes: int

    #: Whose running statistics the backbone's BatchNorm layers track, one of ``STATISTICS``;
    #: installed by a trainer, and kept by a model whose passes stand in :meth:`backbone_pass`.
    statistics: str = "both"

    #: Random numbers by purpose, installed by a trainer; None = the global generators.
    random_streams: RandomStreams | None = None

    # ---- what is learned and what is aligned ------------------------------------------------

    def task_losses(self, source: list[dict]) -> dict[str, Tensor]:
        """Supervised losses on labelled images, scalars by name, to be added."""
        raise NotImplementedError

    def alignment_terms(self, source: list[dict], target: list[dict]) -> dict[str, LossTerm]:
        """Losses that see both domains and no label of the target; no gradient reversal in them."""
        raise NotImplementedError

    @property
    def aligns(self) -> bool:
        """Whether :meth:`alignment_terms` gives anything at all."""
        raise NotImplementedError

    # ---- what a teacher needs -----------------------------------------------------------------

    def pseudo_labels(
        self, images: list[dict], threshold: float, log_odds: Tensor | None = None
    ) -> list[dict]:
        """This model's own predictions on weak views, as annotations for their strong siblings.

        Args:
            images: as of a target view.
            threshold: the least score of what becomes a label, in [0, 1].
            log_odds (Tensor): shape (K,), added to the logits of the classes; None = nothing.

        Returns:
            list[dict]: for each image what to add to its dict, as an annotated image has it
            (``instances``, or ``label``); {} for an image without any label, to be left out. In
            the geometry of ``image``, not of the file.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no pseudo-labels")

    def check_distillation(self) -> None:
        """Find out before training whether this model can be teacher and student of soft targets.

        Raises:
            UserError: it cannot; says what to change.
        """

    def soft_targets(self, images: list[dict]) -> Any:
        """What :meth:`distillation_losses` of a student needs of this model, without gradients."""
        raise NotImplementedError(f"{type(self).__name__} cannot be distilled")

    def distillation_losses(
        self, images: list[dict], teacher: AdaptableModel, targets: Any, threshold: float
    ) -> dict[str, Tensor]:
        """Losses of this model, the student, against a teacher's soft predictions.

        Args:
            images: strong views.
            teacher: in evaluation mode.
            targets: its :meth:`soft_targets` for the weak siblings.
            threshold: the least score of a teacher's prediction that counts as foreground.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be distilled")

    # ---- structure --------------------------------------------------------------------------

    def backbone_features(self, images: list[dict]) -> dict[str, Tensor]:
        """Feature maps of images of any domain, by name; annotations are not looked at."""
        raise NotImplementedError

    def backbone_stages(self) -> dict[str, tuple[str, ...]]:
        """Stage groups of the backbone: name -> prefixes of parameter names, from the input on."""
        raise NotImplementedError

    def discriminator_prefixes(self) -> tuple[str, ...]:
        """Prefixes of the names of the parameters that domain discriminators own."""
        return ()

    # ---- what several passes of one step share ------------------------------------------------

    def stream(self, purpose: str) -> AbstractContextManager:
        """Context in which random numbers come from the stream ``purpose`` (task, alignment).

        Because the streams are apart, the order in which a trainer evaluates the two objectives
        changes none of their random numbers.
        """
        return nullcontext() if self.random_streams is None else self.random_streams(purpose)

    @contextmanager
    def backbone_pass(self, domain: str) -> Iterator[None]:
        """Context in which images of one domain run through the backbone in training.

        The passes of a domain in one step share their random numbers: joint training runs the
        source through the backbone once, a lookahead for each objective, and a backbone with
        dropout must not see the difference. Where statistics are the target's, BatchNorm
        normalises the source by its batch as ever and tracks nothing.

        Args:
            domain: "source" (whatever is labelled) or "target".
        """
        quiet = self.statistics == "target" and domain == "source"
        tracking = frozen_batch_statistics(self.backbone) if quiet else nullcontext()
        with self.stream(f"backbone/{domain}"), tracking:
            yield

    @contextmanager
    def fixed_samples(self) -> Iterator[None]:
        """Within it, what a pass samples (regions of interest) is kept for the passes after it."""
        yield

    @contextmanager
    def shared_prefix(self) -> Iterator[None]:
        """Within it, frozen first layers run once for images that several passes see."""
        yield


def require_adaptable(model: nn.Module) -> AdaptableModel:
    """The model itself.

    Raises:
        UserError: it does not implement the contract.
    """
    if not isinstance(model, AdaptableModel):
        raise UserError(
            f"MODEL.META_ARCHITECTURE: {type(model).__name__} cannot be adapted. Choose SWDARCNN "
            "(without discriminators it is Detectron2's GeneralizedRCNN), "
            "DomainAdaptiveClassifier, or a model of your own that is an AdaptableModel"
        )
    return model
