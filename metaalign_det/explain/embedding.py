"""Features of several runs in one picture plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

EMBEDDINGS = ("pca", "tsne")


def embed_together(features: Sequence[NDArray], kind: str, seed: int = 0) -> list[NDArray]:
    """One embedding for several sets of features, so that they can be compared point by point.

    Each run's features are first centered and divided by their common deviation: what separates
    whole networks would otherwise be all there is to see. PCA's axes are those of all runs
    together. t-SNE starts from PCA and runs on the 50 first components.

    Args:
        features: one array (n, C) a run, all of one C.
        kind: "pca" or "tsne".
        seed: of t-SNE.

    Returns:
        list[ndarray]: shape (n, 2) each.

    Raises:
        UserError: the runs' features have different widths.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    widths = {x.shape[1] for x in features}
    if len(widths) > 1:
        raise UserError(
            f"the runs' features are {', '.join(map(str, sorted(widths)))} wide: one embedding "
            "takes runs of one architecture; call the command for each"
        )
    pooled = np.concatenate([(x - x.mean(axis=0)) / max(x.std(), 1e-12) for x in features])
    components = PCA(min(50, *pooled.shape), random_state=seed).fit_transform(pooled)
    if kind == "pca":
        points = components[:, :2]
    elif kind == "tsne":
        perplexity = min(30.0, (len(pooled) - 1) / 3)
        points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(
            components
        )
    else:
        raise ValueError(f"unknown embedding {kind!r}; choose one of {', '.join(EMBEDDINGS)}")
    return np.split(points, np.cumsum([len(x) for x in features])[:-1])
