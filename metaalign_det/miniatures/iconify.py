"""Reads icons from ``@iconify/json``, an npm package of some 240 icon sets in one format.

pip does not have it. It is data: JSON files in a tar archive, read here without unpacking it and
without node. Each set comes with its author and its licence.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError

PACKAGE = "@iconify/json"
#: The version that ``icon_names.json`` was chosen from.
VERSION = "2.2.535"

#: Licences that let anybody draw, change and pass on the pictures, at most with a notice.
LICENCES = frozenset(
    {
        "Apache-2.0",
        "BSD-3-Clause",
        "CC-BY-3.0",
        "CC-BY-4.0",
        "CC0-1.0",
        "ISC",
        "MIT",
        "OFL-1.1",
        "Unlicense",
    }
)

_ARCHIVES = "iconify-json-*.tgz"  # as npm pack names them


@dataclass(frozen=True)
class IconSet:
    """The icons of one designer.

    Attributes:
        prefix: name of the set in the package.
        info: ``name``, ``author``, ``licence`` (SPDX) and ``url`` of the licence.
        content: the set's JSON.
    """

    prefix: str
    info: dict[str, str]
    content: dict[str, Any]

    def svg(self, name: str) -> str | None:
        """An icon on a square, as an SVG document; None where the set has none of that name.

        What the icon paints in the color of the text around it is black.
        """
        icon = self.content["icons"].get(name)
        if icon is None:
            return None
        left, top = (icon.get(k, self.content.get(k, 0)) for k in ("left", "top"))
        width, height = (icon.get(k, self.content.get(k, 16)) for k in ("width", "height"))
        side = max(width, height)
        box = f"{left - (side - width) / 2} {top - (side - height) / 2} {side} {side}"
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{box}" width="{side}" height="{side}" color="black">{icon["body"]}</svg>'
        )


def find_package(root: Path, package: str | Path | None = None) -> Path:
    """Where the package is: an archive of ``npm pack``, or a folder.

    Args:
        root: folder of all data sets; an archive in it, or ``node_modules`` in it, is found.
        package: the archive or the folder, instead.

    Raises:
        UserError: it is not there; names the command that fetches it.
    """
    if package is not None:
        if not Path(package).exists():
            raise UserError(f"there is no {package}: {_how_to_get(root)}")
        return Path(package)
    folder = root / "node_modules" / PACKAGE
    candidates = [*sorted(root.glob(_ARCHIVES), reverse=True), folder]
    pinned = root / _ARCHIVES.replace("*", VERSION)
    for candidate in (pinned, *candidates):
        if candidate.exists():
            return candidate
    raise UserError(f"icons are drawn from {PACKAGE}, not found in {root}: {_how_to_get(root)}")


def read_icon_sets(package: Path, prefixes: Collection[str]) -> tuple[str, dict[str, IconSet]]:
    """Read some sets of the package, which takes some seconds.

    Returns:
        tuple: version of the package; prefix -> set.

    Raises:
        UserError: not this package, a set is missing, or one has a licence that is not among
            :data:`LICENCES`.
    """
    files = {"package.json", "collections.json", *(f"json/{p}.json" for p in prefixes)}
    read = {name: _parsed(package, name, text) for name, text in _read_files(package, files)}
    missing = sorted(files - read.keys())
    if missing:
        raise UserError(
            f"{package} has no {missing[0]} ({len(missing)} such files): it is incomplete, or not "
            f"{PACKAGE} {VERSION}. Fetch it again: {_how_to_get(package.parent)}"
        )
    sets = {}
    for prefix in prefixes:
        listed = read["collections.json"][prefix]
        licence = listed["license"]
        if licence.get("spdx") not in LICENCES:
            raise UserError(
                f"{package}: the icon set {prefix!r} is under {licence.get('title')!r}, which is "
                f"not among {', '.join(sorted(LICENCES))}; {PACKAGE} {VERSION} has another licence"
            )
        info = {
            "name": listed["name"],
            "author": listed.get("author", {}).get("name", "unknown"),
            "licence": licence["spdx"],
            "url": licence.get("url", ""),
        }
        sets[prefix] = IconSet(prefix, info, read[f"json/{prefix}.json"])
    return read["package.json"]["version"], sets


def _how_to_get(root: Path) -> str:
    return f"npm pack {PACKAGE}@{VERSION} --pack-destination {root}"


def _read_files(package: Path, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    if package.is_dir():
        for name in names:
            if (package / name).is_file():
                yield name, (package / name).read_bytes()
        return
    try:
        # In the order of the archive: going back in a compressed file is slow.
        with tarfile.open(package, "r|gz") as archive:
            for member in archive:
                name = member.name.removeprefix("package/")
                if name in names and member.isfile():
                    yield name, archive.extractfile(member).read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(
            f"cannot read {package}: {error}. Fetch it again: {_how_to_get(package.parent)}"
        ) from error


def _parsed(package: Path, name: str, text: bytes) -> dict[str, Any]:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{package}: {name} is damaged: {error}") from error
