"""A sweep: which runs it has, how it carries them out and comes back to them, what it prints."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import sys
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog

import metaalign_det.data  # noqa: F401  (registers)
from metaalign_det.analysis.benchmarks import BENCHMARKS, get_benchmark
from metaalign_det.analysis.sweep import Sweep, _lock
from metaalign_det.analysis.sweep_plan import Pretraining, plan_runs
from metaalign_det.analysis.sweep_report import choose, make_rows
from metaalign_det.analysis.sweep_runs import Run, collect_scores, last_iteration, read_scores
from metaalign_det.errors import UserError

CONFIG = """
MODEL: {META_ARCHITECTURE: "DomainAdaptiveClassifier", DEVICE: "cpu"}
DATASETS:
  TRAIN: ("office31_amazon",)
  TARGET: ("office31_webcam",)
  TEST: ("mini_digits_source_test", "mini_digits_target_val", "mini_digits_target_test")
SOLVER: {MAX_ITER: 4, BASE_LR: 0.5}
"""

# Stands in for tools/train_net.py. Beside it may lie: "hang", to write a checkpoint and stop in the
# middle; "fail-<method>", to end with an error; "meet", to wait until that many run at once.
FAKE = """
import json, os, signal, sys, time
from pathlib import Path

here, args = Path(__file__).parent, sys.argv[1:]
resume = "--resume" in args
pairs = [a for a in args if a != "--resume"]
options = dict(zip(pairs[::2], pairs[1::2]))
out = Path(options["OUTPUT_DIR"])
method = Path(options["--config-file"]).stem
with (here / "calls.jsonl").open("a") as file:
    threads, gpu = os.environ["OMP_NUM_THREADS"], os.environ.get("CUDA_VISIBLE_DEVICES")
    file.write(json.dumps([method, resume, options, threads, gpu]) + "\\n")

def record(**values):
    with (out / "metrics.json").open("a") as file:
        file.write(json.dumps(values) + "\\n")

if (here / f"fail-{method}").exists():
    print("Traceback (most recent call last):\\nValueError: the learning rate is no number\\nbye")
    sys.exit(1)
if (here / "meet").exists():
    alive = here / "alive"
    alive.mkdir(exist_ok=True)
    mine = alive / str(os.getpid())
    mine.touch()
    deadline = time.monotonic() + 20
    while len(os.listdir(alive)) < int((here / "meet").read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    with (here / "seen").open("a") as file:
        file.write(f"{len(os.listdir(alive))}\\n")
record(iteration=2, total_loss=1.0)
(out / "model_0000001.pth").touch()
(out / "last_checkpoint").write_text("model_0000001.pth")
if (here / "hang").exists():
    (out / "pid").write_text(str(os.getpid()))
    while True:
        signal.pause()
(out / "model_final.pth").touch()
(out / "last_checkpoint").write_text("model_final.pth")
lr, seed = float(options.get("SOLVER.BASE_LR", 0.5)), int(options["SEED"])
tests = eval(options["DATASETS.TEST"]) if "DATASETS.TEST" in options else ()
scores = {}
for i, name in enumerate(tests):
    prefix = f"{name}/" if len(tests) > 1 else ""
    scores[f"{prefix}classification/accuracy"] = 10 * (i + 1) + seed + lr
    scores[f"{prefix}classification/accuracy/one"] = float("nan")
record(iteration=4, **scores)
if (here / "meet").exists():
    mine.unlink()
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "train.py").write_text(FAKE)
    for name in ("dann", "cdan"):
        (tmp_path / f"{name}.yaml").write_text(CONFIG)
    return tmp_path


def plan(place: Path, benchmark="mini_digits", methods=("dann",), seeds=(0,), **options):
    configs = [place / f"{m}.yaml" for m in methods]
    return plan_runs(get_benchmark(benchmark), configs, seeds, place / "out", **options)


def sweep(place: Path, runs, **options) -> Sweep:
    return Sweep(runs, [sys.executable, str(place / "train.py")], poll_seconds=0.01, **options)


def calls(place: Path) -> list:
    file = place / "calls.jsonl"
    return [json.loads(x) for x in file.read_text().splitlines()] if file.exists() else []


def accuracy(run: Run, dataset="mini_digits_target_test") -> float:
    return read_scores(run)[dataset]["classification/accuracy"]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# --- benchmarks


def test_columns_are_in_the_usual_order():
    def labels(name):
        return [c.label for c in BENCHMARKS[name].columns]

    assert labels("office31") == ["A→W", "D→W", "W→D", "A→D", "D→A", "W→A"]
    assert labels("office_home") == [
        *("Ar→Cl", "Ar→Pr", "Ar→Rw", "Cl→Ar", "Cl→Pr", "Cl→Rw"),
        *("Pr→Ar", "Pr→Cl", "Pr→Rw", "Rw→Ar", "Rw→Cl", "Rw→Pr"),
    ]
    assert labels("pacs") == ["Art", "Cartoon", "Sketch", "Photo"]


def test_every_benchmark_names_registered_data_and_its_own_tasks():
    registered = set(DatasetCatalog.list())
    for benchmark in BENCHMARKS.values():
        for task in benchmark.tasks:
            assert {*task.train, *task.target, *task.test} <= registered
        tests = {t.label: t.test for t in benchmark.tasks}
        assert all(c.dataset in tests[c.task] for c in benchmark.columns)
        assert benchmark.validation in {"", *(c.label for c in benchmark.columns)}
        assert len({t.slug for t in benchmark.tasks}) == len(benchmark.tasks)


def test_pacs_trains_on_all_but_the_test_domain():
    for task in BENCHMARKS["pacs"].tasks:
        assert len(task.train) == 3
        assert set(task.test).isdisjoint(task.train)


def test_some_tasks_of_a_benchmark_have_no_average():
    some = get_benchmark("office31").restrict(["w->A", "A→W"])
    assert [c.label for c in some.columns] == ["A→W", "W→A"]
    assert not some.average
    with pytest.raises(UserError, match="no task 'A→B'; it has: A→W, D→W"):
        get_benchmark("office31").restrict(["A→B"])
    with pytest.raises(UserError, match="'office' is none of office31"):
        get_benchmark("office")


# --- planning


def test_every_pair_of_every_method_and_seed_is_a_run_with_its_own_folder(place):
    runs = plan(place, "office31", ("dann", "cdan"), (0, 1))
    assert len(runs) == len({r.folder for r in runs}) == 2 * 6 * 2
    assert [r.seed for r in runs] == [0] * 12 + [1] * 12
    run = runs[2]
    assert (run.method, run.task.label) == ("dann", "W→D")
    args = run.arguments()
    pairs = dict(zip(args[::2], args[1::2]))
    assert pairs["DATASETS.TRAIN"] == "('office31_webcam',)"
    assert pairs["DATASETS.TARGET"] == pairs["DATASETS.TEST"] == "('office31_dslr',)"
    assert pairs["OUTPUT_DIR"] == str(run.folder)


def test_a_method_without_target_images_gets_none(place):
    (place / "source.yaml").write_text(CONFIG.replace('("office31_webcam",)', "()"))
    (run, *_) = plan(place, "office31", ("source",))
    assert "DATASETS.TRAIN" in run.overrides
    assert "DATASETS.TARGET" not in run.overrides


def test_only_what_changes_the_result_makes_another_run(place):
    (before,) = plan(place)
    same = ["SOLVER.CHECKPOINT_PERIOD", "1", "SOLVER.MOMENTUM", "0.9", "SOLVER.BASE_LR", "0.5"]
    assert plan(place, overrides=same)[0].folder == before.folder
    assert plan(place, overrides=["SOLVER.MOMENTUM", "0.8"])[0].folder != before.folder
    (place / "dann.yaml").write_text("# said otherwise\n" + CONFIG)
    assert plan(place)[0].folder == before.folder
    (place / "dann.yaml").write_text(CONFIG.replace("0.5", "0.25"))
    assert plan(place)[0].folder != before.folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overrides": ["SOLVER.NONE", "1"]}, "Non-existent key: SOLVER.NONE"),
        ({"overrides": ["SEED", "1"]}, "SEED cannot be overridden"),
        ({"overrides": ["SOLVER.REFERENCE_WORLD_SIZE", "2"]}, "REFERENCE_WORLD_SIZE"),
        ({"methods": ("nothing",)}, "there is no config file"),
        ({"methods": ("dann", "dann")}, "two rows of the name 'dann'"),
        ({"seeds": (1, 1)}, "--seeds"),
        ({"variants": {"mmd": {"a": ()}}}, "mmd is no method of this sweep"),
    ],
)
def test_mistakes_are_found_before_anything_runs(place, options, message):
    with pytest.raises(UserError, match=message):
        plan(place, **options)


# --- carrying out


def test_results_are_kept_and_nothing_runs_twice(place):
    runs = plan(place, seeds=(0, 1))
    assert sweep(place, runs).execute() == []
    assert [accuracy(r) for r in runs] == [30.5, 31.5]
    assert math.isnan(read_scores(runs[0])["mini_digits_target_val"]["classification/accuracy/one"])
    assert sweep(place, runs).execute() == []
    assert len(calls(place)) == 2
    assert {threads for *_, threads, _ in calls(place)} == {"1"}


def test_a_single_test_set_is_named_in_the_result_all_the_same(place):
    runs = plan(place, "office31")[:1]
    sweep(place, runs).execute()
    assert read_scores(runs[0])["office31_webcam"]["classification/accuracy"] == 10.5


def test_a_changed_config_runs_again_and_leaves_the_old_result(place):
    runs = plan(place)
    sweep(place, runs).execute()
    changed = plan(place, overrides=["SOLVER.BASE_LR", "0.25"])
    sweep(place, changed).execute()
    assert (accuracy(runs[0]), accuracy(changed[0])) == (30.5, 30.25)


def interrupt_when_all_hang(runs, exception=KeyboardInterrupt):
    def look(progress):
        if all((r.folder / "pid").exists() for r in runs):
            raise exception

    return look


def test_interrupted_runs_are_ended_and_continued_from_their_checkpoints(place):
    runs = plan(place, seeds=(0, 1))
    (place / "hang").touch()
    with pytest.raises(KeyboardInterrupt):
        sweep(place, runs, jobs=2, on_progress=interrupt_when_all_hang(runs)).execute()
    assert not any(alive(int((r.folder / "pid").read_text())) for r in runs)
    assert not any(collect_scores(r) for r in runs)
    (place / "hang").unlink()
    assert sweep(place, runs).execute() == []
    assert [resume for _, resume, *_ in calls(place)] == [False, False, True, True]
    assert all(read_scores(r) for r in runs)


def test_a_checkpoint_that_is_gone_is_not_resumed_from(place):
    (run,) = plan(place)
    run.folder.mkdir(parents=True)
    (run.folder / "last_checkpoint").write_text("model_0000001.pth")
    assert "--resume" not in run.arguments()
    (run.folder / "model_0000001.pth").touch()
    assert "--resume" in run.arguments()


def test_a_run_that_outlived_its_sweep_is_waited_for_and_counts(place):
    """As after ``kill -9``: the process still holds its lock, then ends with its result there."""
    (run,) = plan(place)
    run.folder.mkdir(parents=True)
    held = [_lock(run.folder / "sweep.lock")]

    def look(progress):
        if held and progress.elsewhere:
            record = {"iteration": 4}
            for name in run.tests:
                record[f"{name}/classification/accuracy"] = 77.0
            (run.folder / "metrics.json").write_text(json.dumps(record))
            held.pop().close()

    assert sweep(place, [run], on_progress=look).execute() == []
    assert not held
    assert accuracy(run) == 77.0
    assert calls(place) == []


def test_a_run_holds_its_lock_without_the_sweep(place):
    (run,) = plan(place)
    (place / "hang").touch()

    def look(progress):
        if (run.folder / "pid").exists():
            for worker in running._active:
                worker.lock.close()  # what the end of the sweep's process would do
            assert _lock(run.folder / "sweep.lock") is None
            raise KeyboardInterrupt

    running = sweep(place, [run], on_progress=look)
    with pytest.raises(KeyboardInterrupt):
        running.execute()
    _lock(run.folder / "sweep.lock").close()


def test_a_failed_run_is_reported_by_its_last_error_and_the_others_go_on(place):
    runs = plan(place, methods=("dann", "cdan"), seeds=(0, 1))
    (place / "fail-dann").touch()
    failures = sweep(place, runs).execute()
    assert [f.run for f in failures] == [r for r in runs if r.method == "dann"]
    assert {f.reason for f in failures} == {"ValueError: the learning rate is no number"}
    assert all(read_scores(r) for r in runs if r.method == "cdan")
    (place / "fail-dann").unlink()
    assert sweep(place, runs).execute() == []
    assert len(calls(place)) == 6


def test_never_more_runs_at_a_time_than_asked_for_and_as_many(place):
    (place / "meet").write_text("2")
    runs = plan(place, seeds=range(4))
    assert sweep(place, runs, jobs=2, gpus=["3", "5"]).execute() == []
    assert [int(n) for n in (place / "seen").read_text().split()] == [2] * 4
    assert {gpu for *_, gpu in calls(place)} == {"3", "5"}
    with pytest.raises(UserError, match="--jobs 0"):
        sweep(place, runs, jobs=0).execute()


def test_progress_counts_and_estimates(place):
    seen = []
    sweep(place, plan(place, seeds=(0, 1)), on_progress=seen.append).execute()
    assert (seen[0].done, seen[0].total, seen[0].seconds_left) == (0, 2, None)
    assert (seen[-1].done, seen[-1].running, seen[-1].seconds_left) == (2, (), 0.0)
    assert any(p.seconds_left for p in seen)


def test_checkpoints_can_be_discarded(place):
    runs = plan(place)
    sweep(place, runs, discard_checkpoints=True).execute()
    assert not list(runs[0].folder.glob("*.pth"))
    assert sweep(place, runs).execute() == []
    assert len(calls(place)) == 1


# --- pretraining


@pytest.mark.parametrize(("per_seed", "pretrained"), [(False, [3]), (True, [0, 1])])
def test_pretraining_comes_first_once_or_per_seed(place, per_seed, pretrained):
    (place / "pretrain.yaml").write_text(CONFIG + "SEED: 3\n")
    first = Pretraining(
        place / "pretrain.yaml", per_seed, ("DATASETS.TEST", "('mini_digits_source_test',)")
    )
    runs = plan(place, seeds=(0, 1), pretraining=first)
    assert sweep(place, runs, jobs=2).execute() == []
    (*before, a, b) = calls(place)
    assert sorted(int(o["SEED"]) for m, _, o, *_ in before if m == "pretrain") == pretrained
    for method, _, options, *_ in (a, b):
        assert method == "dann"
        weights = Path(options["MODEL.WEIGHTS"])
        assert weights.is_file()
        if per_seed:
            assert weights.parent.name.startswith(f"seed{options['SEED']}-")


def test_another_pretraining_makes_other_runs_and_lost_weights_are_made_again(place):
    (place / "pretrain.yaml").write_text(CONFIG)
    tests = ("DATASETS.TEST", "('mini_digits_source_test',)")
    runs = plan(place, pretraining=Pretraining(place / "pretrain.yaml", True, tests))
    longer = (*tests, "SOLVER.BASE_LR", "0.1")
    others = plan(place, pretraining=Pretraining(place / "pretrain.yaml", True, longer))
    assert len({r.identity for r in [*plan(place), *runs, *others]}) == 3
    sweep(place, runs).execute()
    runs[0].pretrain.weights.unlink()
    assert read_scores(runs[0].pretrain) is None
    sweep(place, runs).execute()
    assert [m for m, *_ in calls(place)] == ["pretrain", "dann", "pretrain"]


def test_one_source_is_pretrained_once_for_all_its_targets(place):
    (place / "pretrain.yaml").write_text(CONFIG)
    runs = plan(place, "office31", pretraining=Pretraining(place / "pretrain.yaml"))
    assert len({r.pretrain.folder for r in runs}) == 3


def test_what_starts_from_a_failed_pretraining_fails_with_it(place):
    (place / "pretrain.yaml").write_text(CONFIG)
    (place / "fail-pretrain").touch()
    runs = plan(place, pretraining=Pretraining(place / "pretrain.yaml"))
    failures = sweep(place, runs).execute()
    assert [f.run.method for f in failures] == ["pretraining", "dann"]
    assert "what it starts from has failed" in failures[1].reason


# --- reading


def test_half_a_record_of_a_killed_run_hides_nothing(place):
    (run,) = plan(place)
    run.folder.mkdir(parents=True)
    scores = {f"{name}/classification/accuracy": 50.0 for name in run.tests}
    text = '{"iteration": 1}\n{"iterat' + json.dumps({"iteration": 4, **scores}) + "\n"
    (run.folder / "metrics.json").write_text(text)
    assert last_iteration(run.folder) == 4
    assert collect_scores(run)
    assert accuracy(run) == 50.0


def test_an_evaluation_during_training_is_no_result(place):
    (run,) = plan(place)
    run.folder.mkdir(parents=True)
    scores = {f"{name}/classification/accuracy": 50.0 for name in run.tests}
    (run.folder / "metrics.json").write_text(json.dumps({"iteration": 3, **scores}))
    assert not collect_scores(run)


# --- tables


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


# --- the tool


@pytest.fixture
def tool():
    path = Path(__file__).resolve().parents[2] / "tools" / "sweep.py"
    spec = importlib.util.spec_from_file_location("sweep_tool", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_tool(tool, place, *args, benchmark="mini_digits", seeds=("0", "1")) -> int:
    fixed = ["--benchmark", benchmark, "--output", str(place / "out"), "--seeds", *seeds]
    return tool.main([*fixed, *args], train_script=place / "train.py")


def test_the_tool_prints_and_writes_the_table(tool, place, capsys):
    args = ["--configs", str(place / "dann.yaml"), "--", "SOLVER.BASE_LR", "0.25"]
    assert run_tool(tool, place, *args) == 0
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


def test_the_tool_says_what_is_missing_and_runs_nothing_with_table_only(tool, place, capsys):
    assert run_tool(tool, place, "--configs", str(place / "dann.yaml"), "--table-only") == 0
    assert (
        "2 of 2 runs are not complete: dann digits→photo digits seed 0" in capsys.readouterr().out
    )
    assert calls(place) == []


def test_the_tool_reports_failures_of_one_reason_together(tool, place, capsys):
    (place / "fail-dann").touch()
    configs = ["--configs", str(place / "dann.yaml"), str(place / "cdan.yaml")]
    assert run_tool(tool, place, *configs) == 1
    out, err = capsys.readouterr()
    assert "cdan" in out
    assert err.splitlines()[-1].startswith("error: 2 failed, dann digits→photo digits seed 0, dann")
    assert err.rstrip().endswith("ValueError: the learning rate is no number")


def test_the_tool_reports_the_test_of_what_it_chose(tool, place, capsys):
    args = ["--configs", str(place / "dann.yaml"), "--select", "--select-seeds", "7"]
    args += ["--variant", "low", "SOLVER.BASE_LR", "0.1"]
    args += ["--variant", "dann:high", "SOLVER.BASE_LR", "0.4", "--variant", "dann:own"]
    assert run_tool(tool, place, *args) == 0
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
        (["--", "SOLVER.BASE_LR"], "odd length"),
    ],
)
def test_mistakes_in_the_command_are_one_sentence(tool, place, capsys, args, message):
    assert run_tool(tool, place, "--configs", str(place / "dann.yaml"), *args) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert calls(place) == []


def test_sigterm_ends_the_tool_and_its_runs(tool, place, capsys, monkeypatch):
    (run,) = plan(place)
    (place / "hang").touch()

    class Killer(tool.ProgressLine):
        def __call__(self, progress):
            if (run.folder / "pid").exists():
                os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(tool, "ProgressLine", Killer)
    assert run_tool(tool, place, "--configs", str(place / "dann.yaml"), seeds=["0"]) == 130
    assert "the same command continues" in capsys.readouterr().err
    assert not alive(int((run.folder / "pid").read_text()))
    assert signal.getsignal(signal.SIGTERM) is before
