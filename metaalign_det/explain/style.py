"""What the pictures of this room have in common."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

#: Colors of runs, told apart with any color vision (Okabe and Ito 2008).
RUN_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")

#: Colors of the source and the target domain.
DOMAIN_COLORS = ("#0072B2", "#D55E00")

#: Colors of classes; past the tenth they begin again.
CLASS_COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
    "#6A3FB5", "#8C6D31", "#000000", "#C2185B",
)  # fmt: skip


def save(figure: Any, path: str | Path) -> None:
    """Write a matplotlib figure on white and small: JPEG at quality 82, PNG with 256 colors.

    The same figure gives the same file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", facecolor="white")
    picture = Image.open(drawn).convert("RGB")
    if path.suffix.lower() in (".jpg", ".jpeg"):
        picture.save(path, quality=82, optimize=True)
    else:
        # The default (median cut) merges colors that are rare, such as those of a legend.
        few = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
