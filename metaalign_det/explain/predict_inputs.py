"""Which images a command line means: files, folders, globs and videos."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
from numpy.typing import NDArray

from ..data.formats.image_files import glob_images, is_glob, is_image_name, walk_images
from ..errors import UserError
from ..files import printable

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})


@dataclass(frozen=True)
class InputFile:
    """One file to predict on.

    Args:
        path: of the file.
        name: what results call it, a relative POSIX path, unique among the files of a command.
        stem: of a video, what its frames and its drawing are called, as unique; default: the name
            without suffix.
    """

    path: Path
    name: str
    stem: str = ""

    def __post_init__(self) -> None:
        if not self.stem:
            object.__setattr__(self, "stem", _without_suffix(self.name))

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_inputs(given: Sequence[str]) -> list[InputFile]:
    """The images and videos that the arguments of a command name, each once, in their order.

    Folders and globs mean what they mean as a target (:mod:`..data.formats.image_files`), and
    videos count too: everything below a folder, however deep; globs in either case. A file that is
    named itself counts whatever its suffix is. Results are called by the path below the folder
    given (of a glob: below the folder before its first wildcard) or, where that is ambiguous,
    below the folder that all files have in common. No name is absolute or holds ``..``.

    Args:
        given: files, folders and globs (``**`` is any depth).

    Raises:
        UserError: an argument matches nothing.
    """
    found: dict[Path, str] = {}
    for argument in given:
        base, files = _expand(argument)
        # Not normpath: where a folder is a link, what is above it is not what its name says.
        root = base.resolve() if ".." in base.parts else base.absolute()
        for name in (file.relative_to(base) for file in files):
            found.setdefault(root / name, name.as_posix())
    names = list(found.values())
    if len(set(names)) < len(names):
        common = os.path.commonpath([p.parent for p in found])
        names = [p.relative_to(common).as_posix() for p in found]
    return _with_stems([InputFile(path, name) for path, name in zip(found, names)])


def _with_stems(files: Sequence[InputFile]) -> list[InputFile]:
    """The same, no frame of a video called like one of another video or like an image."""
    videos = [f.name for f in files if f.is_video]
    images = (PurePosixPath(f.name) for f in files if not f.is_video)
    taken = {str(image.parent) for image in images if image.name.startswith("frame_")}
    stems = {n: n if s in taken else s for n, s in zip(videos, unique_stems(videos))}
    return [InputFile(f.path, f.name, stems.get(f.name, "")) for f in files]


def _expand(argument: str) -> tuple[Path, list[Path]]:
    """A folder, and the files below it that are meant."""
    path = Path(argument).expanduser()
    if path.is_file():
        return path.parent, [path]
    if path.is_dir():
        files = walk_images(path, _is_known)
        if not files:
            raise UserError(f"there is no image and no video in the folder {argument!r}")
        return path, files
    if not is_glob(str(path)):
        raise UserError(f"{argument!r} does not exist: give images, folders, globs or videos")
    try:
        base, files = glob_images(str(path), _is_known)
    except UserError:  # no folder before the first wildcard
        files = []
    if not files:
        raise UserError(f"{argument!r} matches no image: give images, folders, globs or videos")
    return base, files


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
            UserError: OpenCV cannot read it, not one frame of it, or not by its name.
        """
        require_utf8(file.path)
        capture = cv2.VideoCapture(str(file.path))
        try:
            if not capture.isOpened() or not capture.grab():
                raise UserError(f"video {file.path} cannot be read: damaged, or an unknown codec")
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            return cls(file, max(count, 0), capture.get(cv2.CAP_PROP_FPS) or 25.0)
        finally:
            capture.release()

    def __iter__(self) -> Iterator[tuple[str, NDArray]]:
        """Name and pixels, (H, W, 3) RGB, of every frame: ``clip/frame_000000.jpg``, ..."""
        capture = cv2.VideoCapture(str(self.file.path))
        try:
            number = 0
            while True:
                there, pixels = capture.read()
                if not there:
                    return
                name = f"{self.file.stem}/frame_{number:06d}.jpg"
                yield name, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
                number += 1
        finally:
            capture.release()


def unique_stems(names: Sequence[str]) -> list[str]:
    """Names without suffix, for files beside them; with it where two would become the same.

    Args:
        names: relative POSIX paths, each once.
    """
    stems = [_without_suffix(n) for n in names]
    count, taken = Counter(stems), set(names)
    return [s if count[s] == 1 and s not in taken else n for n, s in zip(names, stems)]


def require_utf8(path: Path) -> None:
    """Raise a UserError where OpenCV, which crashes on other names, must not be given a path."""
    if printable(str(path)) != str(path):
        raise UserError(
            f"video {printable(str(path))}: the path is not valid UTF-8, and OpenCV takes no "
            "other: rename the file or the folder"
        )


def _without_suffix(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()
