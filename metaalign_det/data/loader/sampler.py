"""Which images a batch consists of, as a pure function of seed, stream and batch number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from torch.utils.data import Sampler

from .randomness import CLASS_ORDER, ORDER, generator

#: One image of a stream: (index in the data set, number of this draw since training began).
Draw = tuple[int, int]


class StreamSampler(Sampler[list[Draw]]):
    """Endless batches of one stream, for one process of several.

    Images are drawn epoch after epoch, each epoch in a new order; batches of the whole job are
    formed from the draws, every batch from images of one group; each process takes its share of
    every batch. So a job of W processes sees, batch by batch, what one process would. Images that
    do not fill a batch wait for the next of their group: none is dropped, and a data set smaller
    than the batch works.

    Args:
        groups: group of every image (aspect ratio), shape (N,); a batch holds one group.
        batch_size: images of a batch over all processes.
        seed: >= 0.
        stream: number of the stream, so that streams with equal seeds differ.
        start: number of the first batch. Those before it are drawn but not loaded.
        rank: of this process, of ``world_size``, which divides ``batch_size``.
        labels: classes of the images, shape (N,), to draw every class equally often; None draws
            every image equally often.
    """

    def __init__(
        self,
        groups: Sequence[int],
        batch_size: int,
        *,
        seed: int,
        stream: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        labels: Sequence[int] | None = None,
    ) -> None:
        if len(groups) == 0:
            raise ValueError("a stream needs at least one image")
        if batch_size < 1 or batch_size % world_size:
            raise ValueError(f"batch size {batch_size} does not divide over {world_size} processes")
        if labels is not None and len(labels) != len(groups):
            raise ValueError(f"{len(labels)} labels for {len(groups)} images")
        self.groups = [int(g) for g in groups]
        self.batch_size = batch_size
        self.seed = seed
        self.stream = stream
        self.start = start
        self.labels = labels
        share = batch_size // world_size
        self.share = slice(rank * share, (rank + 1) * share)

    def __iter__(self) -> Iterator[list[Draw]]:
        for batch in islice(self._batches(), self.start, None):
            yield batch[self.share]

    def _batches(self) -> Iterator[list[Draw]]:
        waiting: dict[int, list[Draw]] = {group: [] for group in self.groups}
        indices = self._shuffled() if self.labels is None else self._balanced()
        for number, index in enumerate(indices):
            batch = waiting[self.groups[index]]
            batch.append((index, number))
            if len(batch) == self.batch_size:
                yield batch
                waiting[self.groups[index]] = []

    def _shuffled(self) -> Iterator[int]:
        return _epochs(np.arange(len(self.groups)), self.seed, ORDER, self.stream)

    def _balanced(self) -> Iterator[int]:
        """Rounds in which every class occurs once; within a class, epoch after epoch."""
        labels = np.asarray(self.labels)
        classes = np.unique(labels)
        images = {
            c: _epochs(np.flatnonzero(labels == c), self.seed, ORDER, self.stream, int(n))
            for n, c in enumerate(classes)
        }
        for c in _epochs(classes, self.seed, CLASS_ORDER, self.stream):
            yield next(images[c])


def _epochs(items: np.ndarray, seed: int, purpose: int, *key: int) -> Iterator[int]:
    epoch = 0
    while True:
        yield from generator(seed, purpose, *key, epoch).permutation(items).tolist()
        epoch += 1


def aspect_groups(dicts: Sequence[dict]) -> list[int]:
    """1 for images wider than high, 0 for the others, from the dicts' ``width`` and ``height``.

    Images of a batch are padded to a common size; two groups avoid most of that.
    """
    return [int(d["width"] > d["height"]) for d in dicts]
