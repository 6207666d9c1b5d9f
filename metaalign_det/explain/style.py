"""What the pictures of this room have in common."""

from __future__ import annotations

from pathlib import Path

#: Colors of runs, told apart with any color vision (Okabe and Ito 2008).
RUN_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")

#: Colors of the source and the target domain.
DOMAIN_COLORS = ("#0072B2", "#D55E00")


def save(figure, path: str | Path) -> None:
    """Write a matplotlib figure as its suffix says, on white, and small (JPEG at quality 85)."""
    path = Path(path)
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    options = {"pil_kwargs": {"quality": 85, "optimize": True}} if jpeg else {}
    # The date and the version of the software would make equal pictures differ.
    metadata = {} if jpeg else {"metadata": {"Software": None}}
    figure.savefig(path, facecolor="white", **options, **metadata)
