"""One endless stream of images, the same whoever loads it and from wherever it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetFromList
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset

from ...errors import BadImageError, UserError
from .bad_images import BadImages, Replaced, replacements
from .randomness import AUGMENTATION, STRONG_VIEW, generator, preserved, reseed
from .sampler import Draw, StreamSampler, aspect_groups

#: Turns a dataset dict into what a model is fed.
Mapper = Callable[[dict], dict]
#: Turns a weak view of an image (uint8 Tensor (C, H, W)) into a strong one.
Strengthen = Callable[[torch.Tensor, np.random.Generator], torch.Tensor]
#: Key of an image's strong view beside ``image``, on its way to a list of its own.
STRONG = "strong_image"


class _Failure:
    """A user's mistake on its way from a worker, where raising it would bury the message."""

    def __init__(self, error: UserError) -> None:
        self.message = str(error)


class MappedImages(Dataset):
    """Maps images by number; with a seed, under random numbers that the draw determines.

    Args:
        dicts: dataset dicts.
        mapper: dataset dict -> model input.
        seed: (seed, stream number); None leaves the generators as they are.
        strengthen: makes the strong view, under random numbers of its own; None makes none.
        alike: what makes images exchangeable, of every image: one that cannot be read is replaced
            by another of its kind: without a seed by the next one. None ends in an error instead.
    """

    def __init__(
        self,
        dicts: list[dict],
        mapper: Mapper,
        seed: tuple[int, int] | None = None,
        strengthen: Strengthen | None = None,
        alike: Sequence[object] | None = None,
    ) -> None:
        # Serialised, so that worker processes share the memory.
        self.dicts = DatasetFromList(dicts, copy=False)
        self.mapper = mapper
        self.seed = seed
        self.strengthen = strengthen
        self.alike = alike

    def __len__(self) -> int:
        return len(self.dicts)

    def __getitems__(self, items: Sequence[Draw | int]) -> list[dict | Replaced | _Failure]:
        """A batch at once: saving the generators for every image would cost more than it draws."""
        with preserved():
            if self.seed is None:
                return [self._explained(self._map_first, index) for index in items]
            return [self._explained(self._map_drawn, index, draw) for index, draw in items]

    def __getitem__(self, item: Draw | int) -> dict | Replaced | _Failure:
        return self.__getitems__([item])[0]

    def _explained(self, function: Callable[..., dict | Replaced], *args: int) -> Any:
        try:
            return function(*args)
        except UserError as error:
            return _Failure(error)

    def _map(self, index: int) -> dict:
        return self.mapper(self.dicts[index])

    def _map_first(self, index: int) -> dict | Replaced:
        return _first_readable(self._map, [index, *self._following(index)])

    def _following(self, index: int) -> Iterator[int]:
        """The other images of the same kind, from the next one on and around."""
        if self.alike is not None:
            count = len(self.alike)
            following = ((index + n) % count for n in range(1, count))
            yield from (i for i in following if self.alike[i] == self.alike[index])

    def _strengthened(self, mapped: dict, draw: int) -> dict:
        if self.strengthen is not None:
            numbers = generator(self.seed[0], STRONG_VIEW, self.seed[1], draw)
            mapped[STRONG] = self.strengthen(mapped["image"], numbers)
        return mapped

    def _map_drawn(self, index: int, draw: int) -> dict | Replaced:
        def mapped(candidate: int) -> dict:
            reseed(self.seed[0], AUGMENTATION, self.seed[1], draw)
            return self._strengthened(self._map(candidate), draw)

        return _first_readable(mapped, self._candidates(index, draw))

    def _candidates(self, index: int, draw: int) -> Iterator[int]:
        yield index
        if self.alike is not None:
            yield from replacements(index, self.alike, *self.seed, draw)


def _first_readable(map_one: Callable[[int], dict], candidates: Iterable[int]) -> dict | Replaced:
    """The first image that can be read, with a note on those before it.

    Raises:
        UserError: none can.
    """
    bad: list[BadImageError] = []
    for candidate in candidates:
        try:
            image = map_one(candidate)
        except BadImageError as error:
            bad.append(error)
        else:
            return Replaced(image, tuple((e.file, e.reason) for e in bad)) if bad else image
    if len(bad) == 1:
        raise bad[0]
    raise UserError(f"none of {len(bad)} images of one kind can be read; {bad[0]}")


class ImageLoader(DataLoader):
    """A DataLoader whose batches are plain lists and which leaves global generators alone.

    Args:
        dataset: of mapped images.
        num_workers: loading processes.
        pin_memory: for copies to a CUDA device.
        bad_images: told which images were replaced.
        sampling: the other arguments of ``DataLoader``.
    """

    def __init__(
        self,
        dataset: Dataset,
        num_workers: int,
        pin_memory: bool,
        bad_images: BadImages | None = None,
        **sampling: Any,
    ) -> None:
        self.bad_images = bad_images
        super().__init__(
            dataset,
            num_workers=num_workers,
            pin_memory=pin_memory,
            collate_fn=_as_list,
            # Without one of its own, every iteration draws a number from the global generator.
            generator=torch.Generator().manual_seed(0),
            **sampling,
        )

    def __iter__(self) -> Iterator[list[dict]]:
        for batch in super().__iter__():
            yield [self._unwrapped(item) for item in batch]

    def _unwrapped(self, item: dict | Replaced | _Failure) -> dict:
        if isinstance(item, _Failure):
            raise UserError(item.message)
        if isinstance(item, Replaced):
            if self.bad_images is not None:
                self.bad_images.replace(item.bad)
            return item.image
        return item


def _as_list(batch: list) -> list:
    return batch


class Stream:
    """One domain's endless batches.

    Batch i depends on seed, stream number and i alone: on neither the number of worker processes,
    nor the state of any global generator, nor on what was loaded before. With W processes, the
    W shares of a batch are together the batch of a single process.

    A strong view, if there is one, is beside ``image`` under :data:`STRONG`: the same image after
    the same geometry. Having one changes no other number.

    Args:
        dicts: dataset dicts of all images.
        mapper: dataset dict -> model input.
        batch_size: images of a batch over all processes.
        seed: >= 0.
        number: of the stream; tells streams of one seed apart.
        group_aspect_ratios: only wide, or only high images in a batch.
        labels: classes of the images, to draw every class equally often.
        num_workers: loading processes; 0 loads in this one.
        pin_memory: for copies to a CUDA device.
        strengthen: makes strong views of the images; None makes none.
        bad_images: an image that cannot be read is replaced by another of its aspect group and
            class, and noted here; None ends in an error.
        rank, world_size: this process among those of the job; default: as Detectron2 has it.
    """

    def __init__(
        self,
        dicts: list[dict],
        mapper: Mapper,
        batch_size: int,
        *,
        seed: int,
        number: int,
        group_aspect_ratios: bool = True,
        labels: Sequence[int] | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
        strengthen: Strengthen | None = None,
        bad_images: BadImages | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self.groups = aspect_groups(dicts) if group_aspect_ratios else [0] * len(dicts)
        alike = None
        if bad_images is not None:
            alike = self.groups if labels is None else list(zip(self.groups, labels))
        self.images = MappedImages(dicts, mapper, (seed, number), strengthen, alike)
        self.bad_images = bad_images
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.sampling = {
            "batch_size": batch_size,
            "seed": seed,
            "stream": number,
            "labels": labels,
            "rank": comm.get_rank() if rank is None else rank,
            "world_size": comm.get_world_size() if world_size is None else world_size,
        }

    def batches(self, start: int = 0) -> Iterator[list[dict]]:
        """This process's share of batch ``start``, of the next, and so on for ever.

        Raises:
            UserError: an image cannot be decoded.
        """
        sampler = StreamSampler(self.groups, start=start, **self.sampling)
        return iter(
            ImageLoader(
                self.images,
                self.num_workers,
                self.pin_memory,
                self.bad_images,
                batch_sampler=sampler,
            )
        )
