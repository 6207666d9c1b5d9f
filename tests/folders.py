"""What is in a folder, for comparisons before and after."""

from __future__ import annotations

from pathlib import Path


def contents(folder: Path) -> dict[Path, bytes]:
    """Bytes of every file below it, by relative path."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
