from __future__ import annotations

import numpy as np
import pytest

from metaalign_det.errors import UserError
from metaalign_det.explain.embedding import EMBEDDINGS, embed_together


def points(n=40, width=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width)) * np.arange(1, width + 1)


@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_equal_seeds_give_equal_pictures(kind):
    runs = [points(), points(seed=1)]
    for a, b in zip(embed_together(runs, kind, 3), embed_together(runs, kind, 3)):
        assert a.shape == (40, 2)
        assert np.array_equal(a, b)


def test_equal_features_of_two_runs_lie_on_each_other():
    x = points()
    a, b = embed_together([x, 3 * x + 5], "pca")  # another network's scale and offset
    assert np.allclose(a, b, atol=1e-9)


def test_pca_keeps_the_direction_of_the_largest_spread():
    x = points(200)
    (found,) = embed_together([x], "pca")
    assert abs(np.corrcoef(found[:, 0], x[:, -1])[0, 1]) > 0.9


def test_runs_of_two_widths_cannot_share_a_plane():
    with pytest.raises(UserError, match="6, 7 wide"):
        embed_together([points(), points(width=7)], "pca")


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="tsne"):
        embed_together([points()], "umap")
