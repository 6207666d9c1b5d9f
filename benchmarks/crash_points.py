"""Crashes at every file operation of what a run writes: its files, and checkpoints with their seal.

Each write counts twice, before it and in its middle, so that a crash leaves half of it as well.
"""

from __future__ import annotations

import builtins
import errno
import os
from collections.abc import Callable
from contextlib import contextmanager

import torch

from metaalign_det import files
from metaalign_det.modeling import checksums

OPERATIONS = ("fsync", "replace", "unlink", "open", "close")


class CountedFile:
    """A file whose writes count as operations: ``happen("write")``, ``happen("half-write")``."""

    def __init__(self, file, happen: Callable[[str], None]):
        self._file, self._happen = file, happen

    def write(self, data):
        half = len(data) // 2
        self._happen("write")
        self._file.write(data[:half])
        self._file.flush()
        self._happen("half-write")
        self._file.write(data[half:])
        return len(data)

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        self._file.close()


class _CountedOs:
    def __init__(self, happen):
        self._happen = happen

    def __getattr__(self, name):
        function = getattr(os, name)
        if name not in OPERATIONS:
            return function

        def counted(*args, **kwargs):
            self._happen(name)
            return function(*args, **kwargs)

        return counted


@contextmanager
def operations(happen: Callable[[str], None]):
    """``happen(name)`` is called before every file operation in the block."""
    save = torch.save

    def counted_open(*args, **kwargs):
        happen("open")
        return CountedFile(builtins.open(*args, **kwargs), happen)

    def counted_save(content, path):
        # By a path torch writes without Python in between, and nothing could be counted.
        with builtins.open(path, "r+b") as file:
            save(content, CountedFile(file, happen))

    files.os, torch.save = _CountedOs(happen), counted_save
    files.open = checksums.open = counted_open
    try:
        yield
    finally:
        files.os, torch.save = os, save
        del files.open, checksums.open


def count_operations(work: Callable[[], None]) -> list[str]:
    """Names of the file operations of ``work``, in order."""
    names: list[str] = []
    with operations(names.append):
        work()
    return names


def killed_at(index: int, work: Callable[[], None]) -> bool:
    """Do ``work`` in a process that dies before operation ``index``; whether it came to that."""
    pid = os.fork()
    if pid == 0:
        place = iter(range(10**6))

        def happen(name):
            if next(place) == index:
                os._exit(9)

        code = 1
        try:
            with operations(happen):
                work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


@contextmanager
def failing_at(index: int, number: int = errno.ENOSPC):
    """The operation ``index`` in the block raises an ``OSError``; so do all writes after it."""
    place = iter(range(10**6))

    def happen(name):
        at = next(place)
        if at == index or (at > index and name.endswith("write")):
            raise OSError(number, os.strerror(number))

    with operations(happen):
        yield
