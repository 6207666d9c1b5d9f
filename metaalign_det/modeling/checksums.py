"""Checksums of files of weights: of what is written here, every flipped bit is found.

``.pth``, a zip archive: ``torch.save`` writes a CRC-32 of each record's content, and ``torch.load``
never looks at it. Around the contents are names, sizes, padding and the directory; their hash is
the archive's comment (:func:`seal_archive`), which takes no second pass over the tensors.

``.safetensors``: a hash of the whole file, but for itself, is in its header.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import UserError

#: Name of the hash in the header of a ``.safetensors``, beside "format" and "metaalign".
CHECKSUM = "metaalign_checksum"
PLACEHOLDER = "0" * 32
#: The first "version" in a checkpoint's entry "metaalign" whose files are sealed.
SEALED_VERSION = 2

_COMMENT = re.compile(rb"metaalign seal 1 ([0-9a-f]{32})")
_END, _LOCAL = 22, 30  # bytes of a zip's last record, and of the one before a content
_CHUNK = 1 << 22  # bytes read at a time


def seal_archive(path: str | Path) -> None:
    """Write the hash of what is around the records of a ``torch.save`` file into its comment."""
    comment = b"metaalign seal 1 " + PLACEHOLDER.encode()
    with open(path, "r+b") as file:
        file.seek(-2, 2)  # a file without a comment ends in the length of it
        file.write(struct.pack("<H", len(comment)) + comment)
        with zipfile.ZipFile(file) as archive:
            digest = _hash(_around_records(file, archive))
        file.seek(-len(PLACEHOLDER), 2)
        file.write(digest.encode())


def check_archive(path: str | Path) -> bool:
    """Compare the records of a ``torch.save`` file with their CRC-32, and what is around them.

    Returns:
        bool: whether the file has a hash of what is around its records.

    Raises:
        UserError: a checksum does not match.
        BadZipFile, NotImplementedError, OSError, ...: it is no such file.
    """
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        for record in archive.infolist():
            if record.compress_type != zipfile.ZIP_STORED:
                raise UserError(f"{path} is compressed; torch.save writes no such files")
            with archive.open(record) as stream:
                while stream.read(_CHUNK):
                    pass
        seal = _COMMENT.fullmatch(archive.comment)
        if seal and _hash(_around_records(file, archive)) != seal[1].decode():
            raise damaged(path)
    return seal is not None


def is_sealed_when_whole(content: object) -> bool:
    """Whether a checkpoint's content is of a version that seals what it writes."""
    about = content.get("metaalign") if isinstance(content, dict) else None
    version = about.get("version") if isinstance(about, dict) else None
    return type(version) is int and version >= SEALED_VERSION


def _around_records(file: BinaryIO, archive: zipfile.ZipFile) -> Iterator[bytes]:
    """Every byte that is no record's content, but for the hash at the end."""
    file.seek(0, 2)
    end = file.tell() - len(PLACEHOLDER)
    contents = []
    for record in archive.infolist():
        file.seek(record.header_offset)
        head = file.read(_LOCAL)
        name, extra = struct.unpack("<HH", head[-4:])
        start = record.header_offset + _LOCAL + name + extra
        contents.append((start, start + record.compress_size))
    place = 0
    for start, stop in (*sorted(contents), (end, end)):
        file.seek(place)
        yield b"%d:" % start
        yield file.read(max(0, start - place))
        place = stop


def checksum_of_safetensors(data: bytes) -> tuple[int, str]:
    """Where the placeholder of the hash is in a file's bytes, and the hash.

    Args:
        data: with "metaalign_checksum" in the header, and the placeholder as its value.
    """
    key = f'"{CHECKSUM}":"'.encode()
    place = data.index(key + PLACEHOLDER.encode()) + len(key)
    return place, _hash([data])


def check_safetensors(path: Path, metadata: dict[str, str]) -> None:
    """Compare a file that was written here with its checksum; others have none.

    Args:
        metadata: of its header.

    Raises:
        UserError: it does not match.
    """
    if CHECKSUM not in metadata:
        # One that is called otherwise is one whose name was damaged.
        if "metaalign" in metadata and set(metadata) - {"metaalign", "format"}:
            raise damaged(path)
        return
    expected = metadata[CHECKSUM].encode()
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        head = struct.pack("<Q", length) + file.read(length)
        head = head.replace(expected, PLACEHOLDER.encode(), 1)
        found = _hash((head, *iter(lambda: file.read(_CHUNK), b"")))
    if found.encode() != expected:
        raise UserError(
            f"{path} cannot be read: it is damaged, or another program has written it anew and "
            "kept the checksum in its metadata; without the entries 'metaalign...' there it is "
            "read as weights of another program"
        )


def damaged(path: str | Path) -> UserError:
    return UserError(f"{path} cannot be read: it is damaged (a checksum does not match)")


def _hash(pieces: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=len(PLACEHOLDER) // 2)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
