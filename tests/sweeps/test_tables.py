"""What a sweep prints: its table, the choice of settings, the tool's messages."""

from __future__ import annotations

import json
import math
import os
import signal
from contextlib import nullcontext

import pytest

from metaalign_det.errors import UserError
from metaalign_det.sweeps.runs import RESULT_FILE, collect_scores
from metaalign_det.sweeps.suites import get_benchmark
from metaalign_det.sweeps.tables import choose, make_rows, report
from tests.sweeps.fake_training import alive, calls, plan, run_tool, sweep


def test_table_has_the_mean_over_seeds_and_the_average_per_seed(place):
    runs = plan(place, "office31", ("cdan", "dann"), (0, 2))
    sweep(place, runs[:-1]).execute()  # the last, dann W→A seed 2, is missing
    rows, columns = make_rows(get_benchmark("office31"), runs, "classification/accuracy")
    assert columns == ["method", "A→W", "D→W", "W→D", "A→D", "D→A", "W→A", "Avg"]
    assert [row["method"] for row in rows] == ["cdan", "dann"]
    assert rows[0]["D→W"] == rows[0]["Avg"] == [10.5, 12.5]
    assert rows[1]["W→A"] == pytest.approx([10.5, math.nan], nan_ok=True)
    assert rows[1]["Avg"] == pytest.approx([10.5, math.nan], nan_ok=True)
    with pytest.raises(UserError, match="'voc/AP50'; they have classification/accuracy$"):
        make_rows(get_benchmark("office31"), runs, "voc/AP50")


def test_a_choice_is_made_on_validation_among_complete_variants(place):
    variants = {"": {f"lr{x}": ["SOLVER.BASE_LR", x] for x in ("0.1", "0.3", "0.2")}}
    runs = plan(place, methods=("dann", "cdan"), seeds=(0, 1), variants=variants)
    missing = [r for r in runs if (r.method, r.variant, r.seed) == ("cdan", "lr0.3", 1)]
    sweep(place, [r for r in runs if r not in missing]).execute()
    dann, cdan = choose(get_benchmark("mini_digits"), runs, "classification/accuracy")
    assert (dann.variant, dann.incomplete) == ("lr0.3", ())
    assert dann.validation == pytest.approx({"lr0.1": 20.6, "lr0.3": 20.8, "lr0.2": 20.7})
    assert (cdan.variant, cdan.incomplete) == ("lr0.2", ("lr0.3",))
    with pytest.raises(UserError, match="office31 has no validation set"):
        choose(get_benchmark("office31"), runs, "classification/accuracy")


def test_the_choice_looks_at_validation_and_not_at_test(place):
    good_on_test, good_on_val = runs = plan(
        place, variants={"": {"test": ["SOLVER.BASE_LR", "1.0"], "val": ["SOLVER.BASE_LR", "2.0"]}}
    )
    for run, val, test in ((good_on_test, 10, 90), (good_on_val, 20, 30)):
        run.folder.mkdir(parents=True)
        scores = {"target_val": val, "target_test": test, "source_test": test}
        record = {f"mini_digits_{k}/classification/accuracy": v for k, v in scores.items()}
        (run.folder / "metrics.json").write_text(json.dumps({"iteration": 4, **record}))
        collect_scores(run)
    (choice,) = choose(get_benchmark("mini_digits"), runs, "classification/accuracy")
    assert choice.variant == "val"


def test_settings_of_a_benchmark_of_pairs_are_chosen_on_the_mean_of_its_validation_sets(place):
    variants = {"": {"a": ["SOLVER.BASE_LR", "1.0"], "b": ["SOLVER.BASE_LR", "2.0"]}}
    runs = plan(place, "digits", variants=variants)
    assert len(runs) == 12
    for run in runs:
        run.folder.mkdir(parents=True)
        # b is the better one on one validation set alone, and on every test set.
        best = run.task.label == "Mn→Op"
        val = {"a": 50, "b": 90 if best else 40}[run.variant]
        test, name = {"a": 0, "b": 99}[run.variant], run.task.test[0].removesuffix("_test")
        record = {
            f"{name}_test/classification/accuracy": test,
            f"{name}_val/classification/accuracy": val,
        }
        (run.folder / "metrics.json").write_text(json.dumps({"iteration": 4, **record}))
        collect_scores(run)
    (choice,) = choose(get_benchmark("digits"), runs, "classification/accuracy")
    assert choice.variant == "a" and choice.by == "the mean of 6 validation sets"
    assert choice.validation == pytest.approx({"a": 50, "b": (90 + 5 * 40) / 6})
    _, columns = make_rows(get_benchmark("digits"), runs, "classification/accuracy")
    assert columns[1:] == ["Mn→Op", "Mn→Mf", "Op→Mn", "Op→Mf", "Mf→Mn", "Mf→Op", "Avg"]


def test_the_tool_prints_and_writes_the_table(tool, place, capsys):
    args = ["--configs", str(place / "dann.yaml"), "--", "SOLVER.BASE_LR", "0.25"]
    assert run_tool(place, *args) == 0
    out, err = capsys.readouterr()
    assert "20.8 ± 0.7" in out
    assert "2/2 done" in err
    markdown = (place / "out" / "table_accuracy.md").read_text()
    assert "| method   |   source test |   target val |   target test |" in markdown
    assert "seeds 0, 1; the last checkpoint" in markdown
    assert "SOLVER.BASE_LR 0.25`" in markdown
    saved = json.loads((place / "out" / "table_accuracy.json").read_text())
    assert saved["rows"][0]["target test"]["values"] == [30.25, 31.25]
    assert saved["seeds"] == [0, 1]
    assert len(saved["runs"]) == 2


def test_every_metric_has_a_table_of_its_own_whatever_else_is_asked_for(place):
    names = {
        "voc/AP50_11pt": "AP50_11pt",
        "teacher/voc/AP50_11pt": "teacher_AP50_11pt",
        "voc/AP50_11pt/cat": "AP50_11pt_cat",
        "voc/AP50_area/cat": "AP50_area_cat",
        "teacher/voc/AP50_area/cat": "teacher_AP50_area_cat",
        "classification/accuracy": "accuracy",
    }
    (run,) = runs = plan(place)
    run.folder.mkdir(parents=True)
    scores = {metric: 10.0 + number for number, metric in enumerate(names)}
    record = {"mini_digits_target_test": scores}
    (run.folder / "result.json").write_text(
        json.dumps({"identity": run.identity, "scores": record})
    )
    benchmark = get_benchmark("mini_digits")
    report(benchmark, runs, place / "all", metrics=list(names))
    for metric, name in names.items():
        report(benchmark, runs, place / "one", metrics=[metric])
        for folder in ("all", "one"):
            saved = json.loads((place / folder / f"table_{name}.json").read_text())
            assert saved["metric"] == metric
            assert saved["rows"][0]["target test"]["values"] == [scores[metric]]
            assert (place / folder / f"table_{name}.md").is_file()
    assert len(list((place / "all").glob("table_*"))) == 2 * len(names)
    assert "teacher/AP50_11pt in percent" in (place / "all/table_teacher_AP50_11pt.md").read_text()


def test_the_tool_says_what_is_missing_and_runs_nothing_with_table_only(tool, place, capsys):
    assert run_tool(place, "--configs", str(place / "dann.yaml"), "--table-only") == 0
    assert (
        "2 of 2 runs are not complete: dann digits→photo digits seed 0" in capsys.readouterr().out
    )
    assert calls(place) == []


def test_runs_that_outlived_their_sweep_are_in_a_table_only(tool, place, capsys):
    """As after ``kill -9`` of the sweep: the runs end, and nobody has written their results."""
    runs = plan(place, seeds=(0, 1))
    assert sweep(place, runs).execute() == []
    for run in runs:
        (run.folder / RESULT_FILE).unlink()
    assert run_tool(place, "--configs", str(place / "dann.yaml"), "--table-only") == 0
    said = capsys.readouterr().out
    assert "31.0 ± 0.7" in said and "not complete" not in said
    assert len(calls(place)) == 2


def test_a_table_of_other_settings_is_not_written_over_the_one_that_is_there(tool, place, capsys):
    args = ["--configs", str(place / "dann.yaml")]
    assert run_tool(place, *args, "--", "SOLVER.BASE_LR", "0.25") == 0
    before = (place / "out" / "table_accuracy.md").read_text()
    assert run_tool(place, *args, "--table-only", "--", "SOLVER.BASE_LR", "0.5") != 0
    said = capsys.readouterr().err
    assert "no run with these settings, but 2 with others" in said and "result.json" in said
    assert (place / "out" / "table_accuracy.md").read_text() == before
    assert run_tool(place, *args, "--table-only", "--", "SOLVER.BASE_LR", "0.25") == 0
    assert "20.8 ± 0.7" in capsys.readouterr().out


def test_a_method_of_one_variant_is_run_and_not_chosen_among(tool, place, capsys):
    configs = [str(place / "dann.yaml"), str(place / "cdan.yaml")]
    args = ["--configs", *configs, "--select", "--select-seeds", "7"]
    args += ["--variant", "d*:low", "SOLVER.BASE_LR", "0.1"]
    args += ["--variant", "d*:high", "SOLVER.BASE_LR", "0.4"]
    assert run_tool(place, *args) == 0
    out = capsys.readouterr().out
    assert "dann: high chosen on target val" in out and "cdan: " not in out
    assert "\ncdan " in out and "\ndann (high) " in out
    assert [o["SEED"] for _, _, o, *_ in calls(place)] == ["7", "7", "0", "0", "1", "1"]


def test_the_tool_reports_failures_of_one_reason_together(tool, place, capsys):
    (place / "fail-dann").touch()
    configs = ["--configs", str(place / "dann.yaml"), str(place / "cdan.yaml")]
    assert run_tool(place, *configs) == 1
    out, err = capsys.readouterr()
    assert "cdan" in out
    assert err.splitlines()[-1].startswith("error: 2 failed, dann digits→photo digits seed 0, dann")
    assert err.rstrip().endswith("ValueError: the learning rate is no number")


def test_the_tool_reports_the_test_of_what_it_chose(tool, place, capsys):
    args = ["--configs", str(place / "dann.yaml"), "--select", "--select-seeds", "7"]
    args += ["--variant", "low", "SOLVER.BASE_LR", "0.1"]
    args += ["--variant", "dann:high", "SOLVER.BASE_LR", "0.4", "--variant", "dann:own"]
    assert run_tool(place, *args) == 0
    out = capsys.readouterr().out
    assert "dann: own chosen on target val (high 27.4, own 27.5)." in out
    assert "dann (own)" in out
    assert "dann (high)" not in out
    assert [o["SEED"] for _, _, o, *_ in calls(place)] == ["7", "7", "0", "1"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--select"], "--select chooses among variants"),
        (["--select-seeds", "1"], "--select-seeds is a part of --select"),
        (["--pretrain-per-seed"], "need --pretrain-config"),
        (["--variant", "a/b"], "--variant a/b: a name is"),
        (["--variant", "a", "SOLVER.BASE_LR"], "not pairs of KEY and VALUE"),
        (["--variant", "a", "--variant", "a"], "--variant a is given twice"),
        (["--tasks", "A→W"], "has no task 'A→W'"),
        (["--jobs", "0"], "--jobs 0"),
        (["--", "SOLVER.BASE_LR"], "come in pairs"),
    ],
)
def test_mistakes_in_the_command_are_one_sentence(tool, place, capsys, args, message):
    assert run_tool(place, "--configs", str(place / "dann.yaml"), *args) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert calls(place) == []


def test_sigterm_ends_the_tool_and_its_runs(tool, place, capsys, monkeypatch):
    (run,) = plan(place)
    (place / "hang").touch()

    def kill(progress):
        if (run.folder / "pid").exists():
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(tool, "show_progress", lambda: nullcontext(kill))
    assert run_tool(place, "--configs", str(place / "dann.yaml"), seeds=["0"]) == 130
    assert "the same command continues" in capsys.readouterr().err
    assert not alive(int((run.folder / "pid").read_text()))
    assert signal.getsignal(signal.SIGTERM) is before
