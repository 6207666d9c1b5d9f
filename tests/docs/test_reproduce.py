"""The commands for the published tables run, and their page says what the package does."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog

import metaalign_det.data  # noqa: F401  (registers)
from benchmarks.step_cost.hours import SOURCE_ONLY, TABLES, Table, costs, count_parts
from metaalign_det.cli.__main__ import main
from metaalign_det.config_files import find_config
from metaalign_det.sweeps.published import FIGURES, SCORES

PAGE = (Path(__file__).parents[2] / "docs" / "reproduce.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(x)[1:] for x in PAGE.splitlines() if x.startswith("metaalign-det ")
]  # fmt: skip
SWEEPS = {words[words.index("--benchmark") + 1]: words for words in COMMANDS if "sweep" in words}


def test_there_is_a_command_for_every_table_with_published_figures():
    assert SWEEPS.keys() == SCORES.keys() == {t.benchmark for t in TABLES}


@pytest.mark.parametrize("name", SWEEPS)
def test_each_command_plans_its_runs_and_has_figures_beside_them(name, tmp_path, capsys):
    words = SWEEPS[name]
    words[words.index("--output") + 1] = str(tmp_path)
    start = words.index("--seeds")
    assert words[start + 1 : start + 4] == ["0", "1", "2"]
    del words[start + 2 : start + 4]  # one seed: the plan is the same
    assert main([*words, "--table-only"]) == 0
    out = capsys.readouterr().out
    assert "published: " in out and "not measured here" in out
    run = {Path(w).stem for w in words if w.endswith(".yaml")}
    shown = {f.method for f in FIGURES if f.benchmark == name} & run
    missing = {f.method for f in FIGURES if f.benchmark == name} - run
    assert shown and missing <= {"voc2watercolor_wda_meta"}


def test_data_checks_name_data_and_configs_that_there_are():
    checks = [words for words in COMMANDS if words[0] == "check-data"]
    assert len(checks) == len(SWEEPS)
    for _, *words in checks:
        if words[0] == "--config-file":
            find_config(words[1])
        else:
            assert set(words) <= set(DatasetCatalog.list())


def test_every_figure_stands_on_the_page_with_its_source():
    for figure in FIGURES:
        begin = f"| `{figure.benchmark}/{figure.method}`"
        (row,) = (line for line in PAGE.splitlines() if line.startswith(begin))
        assert f"{figure.percent:.1f}" in row
        assert figure.source.url in PAGE


def test_operations_of_a_forward_pass_are_counted():
    parts = count_parts(Table("mini_digits", "mini_digits/dann.yaml", (32, 32)))
    # 32 images; 5x5 convolutions 3→16 with stride 2, and 16→32 after a pooling.
    assert parts["b"] == 2 * 32 * (16 * 16 * 16 * 3 * 25 + 8 * 8 * 32 * 16 * 25) / 1e12
    assert 0 < parts["h"] < parts["b"] and 0 < parts["d"]
    more = count_parts(Table("mini_digits", "mini_digits/dann.yaml", (64, 64)))
    assert more["b"] == 4 * parts["b"]


def test_metaalign_costs_three_backbone_passes_more():
    for table in TABLES:
        kinds = costs(table)
        assert kinds["source only"] == SOURCE_ONLY
        more = [m - a for m, a in zip(kinds["+ MetaAlign"], kinds["alignment"])]
        assert more == [3, 0, 0]
