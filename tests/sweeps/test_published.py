"""Figures of papers stand beside a sweep's own, each with its source."""

from __future__ import annotations

import json

import pytest

from metaalign_det.config import CONFIG_ROOT
from metaalign_det.sweeps.published import FIGURES, SCORES, published_column
from metaalign_det.sweeps.runs import collect_scores
from metaalign_det.sweeps.suites import ACCURACY, get_benchmark
from metaalign_det.sweeps.tables import report
from tests.sweeps.fake_training import plan


def test_figures_are_of_columns_that_there_are():
    for name, (metric, column) in SCORES.items():
        benchmark = get_benchmark(name)
        assert metric in benchmark.metrics
        assert column in [*(c.label for c in benchmark.columns), "Avg"]
        assert column != "Avg" or benchmark.average
    assert {f.benchmark for f in FIGURES} == set(SCORES)


def test_figures_are_of_configs_that_there_are():
    # No config adds MetaAlign to the weak discriminator alone; who writes one finds the figure.
    names = {f.method for f in FIGURES} - {"voc2watercolor_wda_meta"}
    assert names <= {path.stem for path in CONFIG_ROOT.rglob("*.yaml")}


def test_each_figure_is_given_once_per_source_and_is_a_percentage():
    keys = [(f.benchmark, f.method, f.source) for f in FIGURES]
    assert len(set(keys)) == len(keys)
    assert all(20 < f.percent < 100 and f.source.url.startswith("https://") for f in FIGURES)


def test_a_cell_lists_the_figures_of_its_method_and_the_note_their_sources():
    cells, (note,) = published_column(get_benchmark("office_home"), ACCURACY, ["mine", "dann"])
    assert cells == [None, "59.2 [1], 57.6 [2], 65.2 [3]"]
    assert note.startswith(
        "published: Avg, not measured here. [1] Wei et al., MetaAlign, CVPR 2021"
    )
    assert "[3] TLlib's own runs" in note


@pytest.mark.parametrize(
    ("benchmark", "metric", "methods"),
    [
        (get_benchmark("office31").restrict(["A->W"]), ACCURACY, ["dann"]),
        (get_benchmark("voc2watercolor"), "voc/AP50_area", ["voc2watercolor_swda"]),
        (get_benchmark("mini_digits"), ACCURACY, ["dann"]),
        (get_benchmark("pacs"), ACCURACY, ["source"]),
    ],
)
def test_there_is_no_column_where_nothing_comparable_is_published(benchmark, metric, methods):
    assert published_column(benchmark, metric, methods) == ([], [])


def test_the_table_has_them_in_a_column_of_their_own(place):
    runs = plan(place, "office31", ("cdan", "dann"))
    for run in runs:
        run.folder.mkdir(parents=True)
        text = json.dumps({"iteration": 4, "classification/accuracy": 80.0})
        (run.folder / "metrics.json").write_text(text)
    assert all(collect_scores(run) for run in runs)
    (text,) = report(get_benchmark("office31"), runs, place / "out")
    header, _, cdan, dann = text.splitlines()[1:5]
    assert header.split()[-2:] == ["Avg", "published"]
    assert cdan.endswith("87.7 [1], 87.7 [2]") and dann.endswith("82.2 [1], 86.1 [2]")
    saved = json.loads((place / "out" / "table_accuracy.json").read_text())
    assert {f["percent"] for f in saved["published"]} == {87.7, 82.2, 86.1}
    assert all("https://" in f["source"] for f in saved["published"])
