"""Which images a command line means: files, folders, globs and videos."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
from numpy.typing import NDArray

from ..data.formats.image_files import glob_images, is_glob, is_image_name, walk_images
from ..errors import UserError

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})


@dataclass(frozen=True)
class InputFile:
    """One file to predict on.

    Args:
        path: of the file.
        name: what results call it, a relative POSIX path, unique among the files of a command.
    """

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_inputs(given: Sequence[str]) -> list[InputFile]:
    """The images and videos that the arguments of a command name, each once, in their order.

    Folders and globs mean what they mean as a target (:mod:`..data.formats.image_files`), and
    videos count too: everything below a folder, however deep; globs in either case. A file that is
    named itself counts whatever its suffix is. Results are called by the path below the folder
    given (of a glob: below the folder before its first wildcard) or, where that is ambiguous,
    below the folder that all files have in common.

    Args:
        given: files, folders and globs (``**`` is any depth).

    Raises:
        UserError: an argument matches nothing.
    """
    found: dict[Path, str] = {}
    for argument in given:
        for path, name in _expand(argument):
            found.setdefault(path.absolute(), name)
    names = list(found.values())
    if len(set(names)) < len(names):
        root = os.path.commonpath([p.parent for p in found])
        names = [p.relative_to(root).as_posix() for p in found]
    return [InputFile(path, name) for path, name in zip(found, names)]


def _expand(argument: str) -> list[tuple[Path, str]]:
    path = Path(argument).expanduser()
    if path.is_file():
        return [(path, path.name)]
    if path.is_dir():
        files = walk_images(path, _is_known)
        if not files:
            raise UserError(f"there is no image and no video in the folder {argument!r}")
        return [(f, f.relative_to(path).as_posix()) for f in files]
    if not is_glob(str(path)):
        raise UserError(f"{argument!r} does not exist: give images, folders, globs or videos")
    try:
        base, files = glob_images(str(path), _is_known)
    except UserError:  # no folder before the first wildcard
        files = []
    if not files:
        raise UserError(f"{argument!r} matches no image: give images, folders, globs or videos")
    return [(f, f.relative_to(base).as_posix()) for f in files]


def _is_known(name: str) -> bool:
    is_video = Path(name).suffix.lower() in VIDEO_SUFFIXES and not name.startswith(".")
    return is_video or is_image_name(name)


@dataclass(frozen=True)
class Video:
    """A video that can be read.

    Args:
        file: it.
        frames: how many its header promises; may be off by a few, 0 if unknown.
        fps: frames a second.
    """

    file: InputFile
    frames: int
    fps: float

    @classmethod
    def open(cls, file: InputFile) -> Video:
        """
        Raises:
            UserError: OpenCV cannot read it.
        """
        capture = cv2.VideoCapture(str(file.path))
        try:
            if not capture.isOpened():
                raise UserError(f"video {file.path} cannot be read: damaged, or an unknown codec")
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            return cls(file, max(count, 0), capture.get(cv2.CAP_PROP_FPS) or 25.0)
        finally:
            capture.release()

    def __iter__(self) -> Iterator[tuple[str, NDArray]]:
        """Name and pixels, (H, W, 3) RGB, of every frame: ``clip/frame_000000.jpg``, ..."""
        stem = PurePosixPath(self.file.name).with_suffix("").as_posix()
        capture = cv2.VideoCapture(str(self.file.path))
        try:
            number = 0
            while True:
                there, pixels = capture.read()
                if not there:
                    return
                yield f"{stem}/frame_{number:06d}.jpg", cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
                number += 1
        finally:
            capture.release()


def unique_stems(names: Sequence[str]) -> list[str]:
    """Names without suffix, for files beside them; with it where two would become the same."""
    stems = [PurePosixPath(n).with_suffix("").as_posix() for n in names]
    return [n if stems.count(s) > 1 else s for n, s in zip(names, stems)]
