"""``DATALOADER.ON_BAD_IMAGE``: training without the images that cannot be read."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode
from iopath.common.file_io import file_lock

from ...errors import BadImageError, UserError
from ...files import write_json
from .randomness import REPLACEMENT, generator

logger = logging.getLogger(__name__)

POLICIES = ("error", "skip")
_SHOWN = 10  # files named in the log at the end; the JSON has them all


@dataclass(frozen=True)
class Replaced:
    """A mapped image that stands in for others, on its way from a worker process.

    Attributes:
        image: what the mapper made of it.
        bad: (file, reason) of each image that was tried before it.
    """

    image: dict
    bad: tuple[tuple[str, str], ...]


def replacements(
    index: int, alike: Sequence[object], seed: int, stream: int, draw: int
) -> Iterator[int]:
    """Images to try instead of one that cannot be read, in a random order.

    A function of the arguments alone, so that a batch stays one of seed, stream and iteration.

    Args:
        index: of the image that cannot be read.
        alike: what makes images exchangeable (aspect group, class) of every image, shape (N,).
        seed, stream, draw: of the draw.

    Yields:
        int: index of another image of the same kind, each once.
    """
    others = [i for i, kind in enumerate(alike) if kind == alike[index] and i != index]
    yield from generator(seed, REPLACEMENT, stream, draw).permutation(others).astype(int).tolist()


class BadImages:
    """Images that a training goes without: counted, and listed in a file as they are found.

    Args:
        path: JSON file, ``[{"file", "reason", "replaced"}, ...]``, where ``replaced`` counts how
            often another image took its place, over all processes and resumptions of the run; 0 =
            left out from the start. None writes nothing.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self._path = None if path is None else Path(path)
        self._reasons: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._written: dict[str, int] = {}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> BadImages | None:
        """As ``DATALOADER.ON_BAD_IMAGE`` says; None for "error".

        Raises:
            UserError: an unknown policy.
        """
        policy = cfg.DATALOADER.ON_BAD_IMAGE
        if policy not in POLICIES:
            raise UserError(
                f"DATALOADER.ON_BAD_IMAGE must be {' or '.join(POLICIES)}, not {policy!r}"
            )
        return None if policy == "error" else cls(Path(cfg.OUTPUT_DIR) / "bad_images.json")

    def leave_out(self, errors: Iterable[BadImageError]) -> None:
        """Note images that were found to be bad before training, and are not drawn."""
        self._note(((error.file, error.reason) for error in errors), replaced=0)

    def replace(self, bad: Iterable[tuple[str, str]]) -> None:
        """Note images, (file, reason) each, in whose place another was used."""
        self._note(bad, replaced=1)

    def _note(self, bad: Iterable[tuple[str, str]], replaced: int) -> None:
        new = []
        for file, reason in bad:
            if file not in self._reasons:
                new.append(f"image {file} {reason}")
            self._reasons[file] = reason
            self._counts[file] = self._counts.get(file, 0) + replaced
        if new:
            more = f" and {len(new) - _SHOWN} more" if len(new) > _SHOWN else ""
            logger.warning("training goes on without: %s%s", "; ".join(new[:_SHOWN]), more)
            self.write()

    def write(self) -> None:
        """Add what is new since the last call to the file, which other processes write to too."""
        if self._path is None or not self._reasons:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(str(self._path)):
            listed = {entry["file"]: entry for entry in _stored(self._path)}
            for file, reason in self._reasons.items():
                entry = listed.setdefault(file, {"file": file, "reason": reason, "replaced": 0})
                entry["replaced"] += self._counts[file] - self._written.get(file, 0)
            partial = self._path.with_name(f".{self._path.name}.partial")
            write_json(partial, sorted(listed.values(), key=lambda entry: entry["file"]))
            os.replace(partial, self._path)
        self._written = dict(self._counts)

    def summarise(self) -> None:
        """Log what this process went without, and bring the file up to date."""
        if not self._reasons:
            return
        self.write()
        often = sorted(self._reasons, key=lambda file: -self._counts[file])
        lines = [f"{file}: {self._reasons[file]}" for file in often[:_SHOWN]]
        if len(often) > _SHOWN:
            lines.append(f"and {len(often) - _SHOWN} more")
        logger.warning(
            "%d image(s) could not be read; others took their place %d time(s)%s:\n  %s",
            len(often),
            sum(self._counts.values()),
            f" (all of them in {self._path})" if self._path else "",
            "\n  ".join(lines),
        )


def _stored(path: Path) -> list[dict]:
    """Entries of an earlier write; a file that was not written here is replaced."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [e for e in entries if isinstance(e["file"], str) and type(e["replaced"]) is int]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []
