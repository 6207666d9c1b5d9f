"""Importing torch and Detectron2 in less time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import without the garbage collector, then leave what was imported out of its sight.

    Importing makes millions of objects that stay, and the collector walks them again and again:
    half a second of processor time. Frozen, they are not walked in training either, and forked
    loader workers do not copy their pages.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
