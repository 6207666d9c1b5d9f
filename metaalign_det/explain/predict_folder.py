"""The folder that ``predict`` writes into, in which the files of predictions are told from others.

A call may write into a folder that holds an earlier prediction and files of the user's own. So each
file is entered in a record there, :data:`RECORD`, before it is written, and with a digest of its
content after. What is in the record and has its digest, or none because a call was interrupted, may
be removed; nothing else may. A folder without a record (of a version that kept none) holds nothing
that may be removed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from ..errors import UserError
from ..files import PARTIAL, file_below, is_below, printable, write_text
from .predict_inputs import InputFile

logger = logging.getLogger(__name__)

#: Name of the record: a line of JSON ``{"file": name}`` before a file is written, and another one
#: with its ``"digest"`` after, which is null where nothing came of it.
RECORD = ".predict_files.jsonl"

#: Name of what a call keeps until it is complete (:mod:`.predict_journal`).
JOURNAL = ".predict_results.jsonl"

_LOCK = ".predict.lock"  # there while a call is at work
_CANNOT_LOCK = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}  # of some network file systems
_REMEDY = "move what is yours away, or choose another --output"
_CHUNK = 2**20  # bytes


class PredictionFolder:
    """A folder for the files of one call.

    Args:
        path: made when something is written.

    Attributes:
        earlier: name -> digest of each file that earlier calls wrote, "" where writing it was
            interrupted. Names are relative POSIX paths.

    Raises:
        UserError: the record there cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.earlier = _read_record(self.path / RECORD)
        self._written: dict[str, str] = {}  # name -> digest, "" where it is not finished

    @classmethod
    @contextmanager
    def locked(cls, path: str | Path) -> Iterator[PredictionFolder]:
        """The folder for one call alone. It is made; one that stays empty goes again.

        Raises:
            UserError: it is a file, or another call of ``predict`` is at work in it.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise UserError(f"--output: {path} is a file: name a folder")
        missing = [p for p in (path, *path.parents) if not p.exists()]
        lock = FileLock(path / _LOCK)
        try:
            path.mkdir(parents=True, exist_ok=True)
            _acquire(lock, path)
            yield cls(path)
        finally:
            if lock.is_locked:
                with suppress(OSError):
                    (path / _LOCK).unlink()
                lock.release()
            for folder in missing:
                with suppress(OSError):  # not empty
                    folder.rmdir()

    def is_empty(self) -> bool:
        """Whether there is nothing in the way: no such folder, or nothing of use in it."""
        there = self.path.iterdir() if self.path.is_dir() else ()
        return all(entry.name in (_LOCK, RECORD, JOURNAL) for entry in there)

    def without_earlier(self, files: Sequence[InputFile]) -> list[InputFile]:
        """The inputs that no earlier call wrote: drawings are no images to predict on.

        Args:
            files: to predict on, of which some may be in this folder.

        Raises:
            UserError: no file is left.
        """
        if not self.earlier:
            return list(files)
        root = self.path.resolve()
        drawn = {root / name for name in self.earlier}
        kept = [f for f in files if f.path.resolve() not in drawn]
        if files and not kept:
            raise UserError(
                f"every image given is a drawing that an earlier predict left in {self.path}: "
                "give the images themselves"
            )
        if len(kept) < len(files):
            logger.warning(
                "%d drawings that an earlier predict left in %s are not predicted on",
                len(files) - len(kept),
                self.path,
            )
        return kept

    def require_replaceable(self, names: Iterable[str]) -> None:
        """Raise a UserError where replacing the earlier files would lose something of the user's.

        That is a file of an earlier call that was changed since, or one that no call wrote and that
        this call would write over. Changes nothing.

        Args:
            names: that this call may write, relative POSIX paths.
        """
        changed = [n for n, digest in self.earlier.items() if self._is_changed(n, digest)]
        if changed:
            raise UserError(
                f"--output: changed since predict wrote it: {self._shown(changed)}; {_REMEDY}"
            )
        self._require_free(names)

    def written_before(self, name: str) -> list[str] | None:
        """Name and digest of a file that an earlier call finished and that is there."""
        digest = self.earlier.get(name)
        return [name, digest] if digest and (self.path / name).is_file() else None

    def written_now(self, name: str) -> list[str]:
        """Name and digest of a file that this call has finished."""
        return [name, self._written[name]]

    def clear(self, keep: Collection[str] = ()) -> None:
        """Remove what earlier calls wrote, and folders that this leaves empty; make this folder.

        The last file goes first, so that a folder of which only a part is removed has no summary.

        Args:
            keep: names in ``earlier`` that stay, as if this call had written them.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        for name in reversed(self.earlier):
            if name in keep:
                continue
            path = self.path / name
            with suppress(FileNotFoundError):
                path.unlink()
            if not self.earlier[name]:
                for partial in path.parent.glob(f".*{PARTIAL}"):
                    if partial.name[1 : -len(PARTIAL)].rpartition(".")[0] == path.name:
                        partial.unlink()
            for parent in path.parents:
                if parent == self.path:
                    break
                with suppress(OSError):  # not empty, or gone
                    parent.rmdir()
        kept = {name: digest for name, digest in self.earlier.items() if name in keep}
        if kept:
            lines = (_line({"file": n, "digest": d} if d else {"file": n}) for n, d in kept.items())
            write_text(self.path / RECORD, "".join(lines))
        else:
            (self.path / RECORD).unlink(missing_ok=True)
        self._written |= kept
        self.earlier = {}

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Where to write a file, which the record then knows as written by this call.

        Args:
            name: relative POSIX path; folders are made.

        Raises:
            UserError: the name leads out of the folder, or a file is there that this call did not
                write.
        """
        path = file_below(self.path, name)
        if name not in self._written:
            self._require_free([name])
        self._enter({"file": name})
        self._written[name] = ""
        try:
            yield path
        except BaseException:
            if not os.path.lexists(path):
                self._enter({"file": name, "digest": None})
            raise
        self._written[name] = _digest(path) if path.is_file() else ""
        self._enter({"file": name, "digest": self._written[name] or None})

    def entries(self) -> list[str]:
        """What this call wrote into the folder, a name each; of folders with ``/`` behind."""
        tops = (name.partition("/") for name, digest in self._written.items() if digest)
        return list(dict.fromkeys(top + slash for top, slash, _ in tops))

    def _is_changed(self, name: str, digest: str) -> bool:
        path = self.path / name
        if path.is_dir():
            return True
        return bool(digest) and os.path.lexists(path) and _digest(path) != digest

    def _require_free(self, names: Iterable[str]) -> None:
        taken = {}
        for name in names:
            if name in self.earlier:
                continue
            # A file where a folder has to be is in the way too.
            parts = PurePosixPath(name).parts
            above = ["/".join(parts[:n]) for n in range(1, len(parts))]
            files = [folder for folder in above if (self.path / folder).is_file()]
            if files or os.path.lexists(self.path / name):
                taken[files[0] if files else name] = None
        if taken:
            raise UserError(
                "--output: in the way, and nothing shows that predict wrote it (no entry in "
                f"{RECORD}): {self._shown(list(taken))}; {_REMEDY}"
            )

    def _enter(self, entry: dict[str, str | None]) -> None:
        with open(self.path / RECORD, "a", encoding="ascii") as file:
            file.write(_line(entry))

    def _shown(self, names: Sequence[str]) -> str:
        """The first of them and how many more there are, for messages."""
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return printable(str(self.path / names[0])) + more


def _acquire(lock: FileLock, path: Path) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"--output: another predict is at work in {path}: wait for it, or choose another folder"
        ) from None
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:
            raise
        logger.warning("%s cannot be locked (%s): let no other predict write there", path, error)
        (path / _LOCK).unlink(missing_ok=True)


def _line(entry: dict[str, str | None]) -> str:
    return json.dumps(entry) + "\n"


def _read_record(path: Path) -> dict[str, str]:
    """Name -> digest; the last line may be cut off, where a call was killed."""
    try:
        lines = path.read_bytes().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found: dict[str, str] = {}
    for number, line in enumerate(lines[:-1], start=1):
        try:
            entry = json.loads(line)
            name, digest = entry["file"], entry.get("digest", "")
            if not is_below(name) or "\0" in name or not isinstance(digest, str | None):
                raise ValueError(name)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{path}, line {number}: not a line of predict's record, so that nobody knows "
                "which files are predictions: choose another --output, or remove the folder"
            ) from error
        if digest is None:  # what is there now is not predict's
            found.pop(name, None)
        else:
            found[name] = digest
    return found


def _digest(path: Path) -> str:
    """Of a file's content; of what is no file, one that no file has."""
    if not path.is_file():
        return "-"
    total = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()
