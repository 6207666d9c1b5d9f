"""Runs to report on."""

from __future__ import annotations

import pytest

from .make_runs import register_tiny, write_detector


@pytest.fixture
def runs(tmp_path, catalog):
    """Five runs of two settings; "adapted" is better by 10, 11 and 12 points with seeds 0, 1, 2."""
    register_tiny(tmp_path / "data")
    for seed in range(3):
        write_detector(tmp_path / "plain" / f"seed{seed}", seed, 40.0, adapts=False, found=1)
        write_detector(
            tmp_path / "adapted" / f"seed{seed}",
            seed,
            50.0 + seed,
            adapts=True,
            found=3,
            teacher=53.0,
        )
    return {"before": tmp_path / "plain", "after": tmp_path / "adapted"}
