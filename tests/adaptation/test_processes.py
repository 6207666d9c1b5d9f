"""Coordinators in two processes that have different images."""

from __future__ import annotations

from tests.adaptation.harness import trained, views
from tests.processes import run


def relative_alpha(rank, inner):
    h = trained(
        "ADAPTATION.COORDINATOR", "metaalign", "METAALIGN.ROLE", "alignment",
        "METAALIGN.ALPHA", "relative", "METAALIGN.META_LR", 0.1,
        "METAALIGN.RELATIVE_CHANGE_PERIOD", 1, "METAALIGN.INNER_GRADIENT", inner,
        batches=[views(10 * rank + i) for i in range(3)],
    )  # fmt: skip
    change = h.storage.history("lookahead/relative_change/alignment").latest()
    return h.source.measured_alpha, change


def test_all_processes_follow_one_relative_alpha_also_with_gradients_of_their_own(tmp_path):
    for inner in ("local", "global"):
        results = run(relative_alpha, inner, store=tmp_path / inner, timeout=120)
        assert [r[1] for r in results] == ["ok", "ok"], results
        assert results[0][2] == results[1][2], inner
