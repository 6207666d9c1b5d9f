"""Several sweeps in one output folder: the latest has its table, and no other loses its own."""

from __future__ import annotations

import json
import shutil
import threading

import pytest

from metaalign_det.reports.table import write_results
from metaalign_det.sweeps.table_files import replaced_table, table_facts
from tests.sweeps.fake_training import calls, plan, run_tool


@pytest.fixture
def out(place):
    return place / "out"


def configs(place, *names):
    return ["--configs", *(str(place / f"{name}.yaml") for name in names)]


def tables(out):
    """Stem -> (methods, seeds) of each table in the folder; both of its files are there."""
    found = {}
    for path in sorted(out.glob("table_*.json")):
        told = json.loads(path.read_text())
        assert path.with_suffix(".md").is_file()
        found[path.stem] = ([row["method"] for row in told["rows"]], told["seeds"])
    assert len(list(out.glob("table_*.md"))) == len(found)
    return found


def test_a_sweep_of_other_configs_leaves_the_first_ones_table_there(tool, place, out, capsys):
    assert run_tool(place, *configs(place, "dann")) == 0
    first = {s: (out / f"table_accuracy{s}").read_text() for s in (".md", ".json")}
    assert run_tool(place, *configs(place, "cdan")) == 0
    assert tables(out) == {
        "table_accuracy": (["cdan"], [0, 1]),
        "table_accuracy-1": (["dann"], [0, 1]),
    }
    assert {s: (out / f"table_accuracy-1{s}").read_text() for s in first} == first
    said = capsys.readouterr().err
    assert f"the earlier {out}/table_accuracy.md has results that this one lacks: kept as" in said


@pytest.mark.parametrize("other", [["cdan"], ["dann"]])
def test_a_sweep_of_other_seeds_or_with_other_settings_leaves_it_there_too(tool, place, out, other):
    assert run_tool(place, *configs(place, "dann"), seeds=("0", "1")) == 0
    changed = ["--", "SOLVER.BASE_LR", "0.25"]
    assert run_tool(place, *configs(place, *other), *changed, seeds=("0",)) == 0
    assert tables(out) == {
        "table_accuracy": (other, [0]),
        "table_accuracy-1": (["dann"], [0, 1]),
    }


def test_the_same_sweep_again_and_a_growing_one_have_one_table(tool, place, out, capsys):
    for names, seeds, options in (
        (("dann",), ("0",), []),
        (("dann",), ("0",), ["--table-only"]),
        (("dann",), ("0", "3"), []),
        (("cdan", "dann"), ("1", "3", "0"), []),
        (("dann", "cdan"), ("0", "1", "3", "4"), ["--against", "dann"]),
    ):
        assert run_tool(place, *configs(place, *names), *options, seeds=seeds) == 0
        assert list(tables(out)) == ["table_accuracy"]
    assert "kept as" not in capsys.readouterr().err


def test_sweeps_in_turns_keep_one_table_each_until_one_has_all(tool, place, out):
    for name in ("dann", "cdan", "dann", "cdan"):
        assert run_tool(place, *configs(place, name)) == 0
    assert sorted(methods for methods, _ in tables(out).values()) == [["cdan"], ["dann"]]
    assert tables(out)["table_accuracy"][0] == ["cdan"]
    assert run_tool(place, *configs(place, "cdan", "dann"), "--table-only") == 0
    assert tables(out) == {"table_accuracy": (["cdan", "dann"], [0, 1])}
    assert len(calls(place)) == 4


def test_differences_and_choices_are_kept_as_values_are(tool, place, out):
    args = configs(place, "cdan", "dann")
    assert run_tool(place, *args, "--against", "dann") == 0
    assert run_tool(place, *args) == 0
    assert set(tables(out)) == {"table_accuracy", "table_accuracy-1"}
    assert json.loads((out / "table_accuracy-1.json").read_text())["differences"]


def test_a_table_outlives_its_runs(tool, place, out):
    """As after runs were removed to make room: what the table has is the only record of them."""
    assert run_tool(place, *configs(place, "dann")) == 0
    shutil.rmtree(plan(place, seeds=(1,))[0].folder)
    assert run_tool(place, *configs(place, "dann"), "--table-only") == 0
    kept = json.loads((out / "table_accuracy-1.json").read_text())
    assert kept["rows"][0]["target test"]["values"] == [30.5, 31.5]


def test_a_table_without_results_gives_way(tool, place, out):
    assert run_tool(place, *configs(place, "cdan"), "--table-only") == 0
    assert run_tool(place, *configs(place, "dann")) == 0
    assert list(tables(out)) == ["table_accuracy"]


@pytest.mark.parametrize("content", ["{", "[]", '{"rows": 3}', '{"rows": [], "seeds": []}'])
def test_a_file_that_is_no_table_is_not_lost(out, content):
    out.mkdir()
    (out / "table_accuracy.json").write_text(content)
    with replaced_table(out, "table_accuracy") as (path_md, path_json):
        write(path_md, path_json)
    unread = content != '{"rows": [], "seeds": []}'  # that one says that it has no result
    assert (out / "table_accuracy-1.json").exists() == unread
    assert not unread or (out / "table_accuracy-1.json").read_text() == content
    assert table_facts(out / "table_accuracy.json", out)


def write(path_md, path_json, method="dann", folder="out"):
    write_results(
        path_md,
        path_json,
        [{"method": method, "Avg": [50.0]}],
        ["method", "Avg"],
        extra={
            "benchmark": "b",
            "metric": "m",
            "seeds": [0],
            "runs": [f"{folder}/{method}/seed0-1f2e3d4c5b"],
        },
    )


def test_a_failure_while_writing_leaves_the_earlier_table(out):
    with replaced_table(out, "table_m") as paths:
        write(*paths)
    before = (out / "table_m.md").read_text()
    with pytest.raises(RuntimeError), replaced_table(out, "table_m") as (path_md, _):
        path_md.write_text("half")
        raise RuntimeError
    assert (out / "table_m-1.md").read_text() == before


def test_a_run_is_the_same_however_the_folder_is_spelled(out, tmp_path, monkeypatch):
    out.mkdir()
    monkeypatch.chdir(tmp_path)
    for folder in ("out", "./out", str(out), "elsewhere/out"):
        write(out / "table_m.md", out / "table_m.json", folder=folder)
        assert ("run", "dann/seed0-1f2e3d4c5b") in table_facts(out / "table_m.json", out)


def test_sweeps_that_end_at_the_same_time_take_turns(out):
    def end(method):
        with replaced_table(out, "table_m") as paths:
            write(*paths, method=method)

    threads = [threading.Thread(target=end, args=(f"m{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(methods[0] for methods, _ in tables(out).values()) == [f"m{i}" for i in range(8)]
