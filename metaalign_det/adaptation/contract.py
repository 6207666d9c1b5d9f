"""The one contract between models and everything that trains them.

A batch in training is ``{"source": list[dict], "target": list[dict]}``, lists in Detectron2's
format, one dict an image. Each dict holds ``image`` (Tensor (C, H, W)) and ``domain`` (int: the
source domains count from 0, the target comes after the last); a source dict also holds its
annotation, ``instances`` or ``label``. A target dict holds no annotation whatever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch import Tensor, nn

from ..coordination.stateless import RandomStreams
from ..loss_term import AlignmentTerm


class AdaptableModel(nn.Module):
    """Base of every model that can be adapted; a mixin for Detectron2 meta-architectures.

    Called with a training batch, ``forward`` returns a dict of losses whose sum is joint
    training, so that any Detectron2 trainer can train it; called in evaluation mode with a list
    of inputs it is a plain Detectron2 model. A trainer that wants the parts calls
    :meth:`task_losses` and :meth:`alignment_terms`.
    """

    #: ``alignment_terms(s, t)`` equals ``alignment_terms(s, [])`` plus ``alignment_terms([], t)``,
    #: loss by loss. Trainers then differentiate one domain at a time and hold one graph.
    alignment_separable: bool = False

    #: Random numbers by purpose, installed by a trainer; None = the global generators.
    random_streams: RandomStreams | None = None

    def task_losses(self, source: list[dict]) -> dict[str, Tensor]:
        """Supervised losses on labelled source data, scalars by name, to be added."""
        raise NotImplementedError

    def alignment_terms(self, source: list[dict], target: list[dict]) -> dict[str, AlignmentTerm]:
        """Losses that see both domains and no label of the target; no gradient reversal in them."""
        raise NotImplementedError

    def backbone_features(self, images: list[dict]) -> dict[str, Tensor]:
        """Feature maps of images of any domain, by name; annotations are not looked at."""
        raise NotImplementedError

    @property
    def aligns(self) -> bool:
        """Whether :meth:`alignment_terms` gives anything at all."""
        raise NotImplementedError

    def backbone_stages(self) -> dict[str, tuple[str, ...]]:
        """Stage groups of the backbone: name -> prefixes of parameter names, from the input on."""
        raise NotImplementedError

    def discriminator_prefixes(self) -> tuple[str, ...]:
        """Prefixes of the names of the parameters that domain discriminators own."""
        return ()

    def stream(self, purpose: str):
        """Context in which random numbers come from the stream ``purpose`` (task, alignment).

        Because the streams are apart, the order in which a trainer evaluates the two objectives
        changes none of their random numbers.
        """
        return nullcontext() if self.random_streams is None else self.random_streams(purpose)

    @contextmanager
    def fixed_samples(self) -> Iterator[None]:
        """Within it, what a pass samples (regions of interest) is kept for the passes after it."""
        yield

    @contextmanager
    def shared_prefix(self) -> Iterator[None]:
        """Within it, frozen first layers run once for images that several passes see."""
        yield
