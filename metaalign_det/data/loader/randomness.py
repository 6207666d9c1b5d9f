"""Random numbers of the data pipeline, apart from those of training."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

# Purposes of random numbers; the second entry of every seed.
ORDER, AUGMENTATION, CLASS_ORDER, REPLACEMENT, STRONG_VIEW = range(5)


def generator(seed: int, purpose: int, stream: int, *counters: int) -> np.random.Generator:
    """A generator of its own for every combination of arguments, all of them >= 0."""
    # A number ahead of the counters, since trailing zeros do not change a SeedSequence.
    return np.random.default_rng([seed, purpose, stream, len(counters), *counters])


def reseed(seed: int, purpose: int, stream: int, counter: int) -> None:
    """Start the global generators of numpy, random and torch (CPU) from this seed.

    Augmentations draw from those. CUDA generators are left alone.
    """
    words = generator(seed, purpose, stream, counter).integers(0, 2**32, size=3)
    np.random.seed(int(words[0]))
    random.seed(int(words[1]))
    # torch.manual_seed would reseed every CUDA device as well.
    torch.default_generator.manual_seed(int(words[2]))


@contextmanager
def preserved() -> Iterator[None]:
    """After it, the global generators of numpy, random and torch (CPU) are as before it.

    Loading data in the main process then changes nothing for whoever else draws from them.
    """
    numpy_state, python_state = np.random.get_state(), random.getstate()
    torch_state = torch.default_generator.get_state()
    try:
        yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        torch.default_generator.set_state(torch_state)


@contextmanager
def seeded(seed: int, purpose: int, stream: int, counter: int) -> Iterator[None]:
    """:func:`reseed` for the length of a ``with`` block."""
    with preserved():
        reseed(seed, purpose, stream, counter)
        yield
