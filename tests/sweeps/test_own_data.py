"""A sweep of configs on data of their own."""

from __future__ import annotations

import json

import pytest

from metaalign_det.errors import UserError
from metaalign_det.sweeps.own_data import own_benchmark
from metaalign_det.sweeps.plan import plan_runs
from metaalign_det.sweeps.suites import ACCURACY, DETECTION_METRICS
from metaalign_det.sweeps.tables import choose, make_rows
from tests.explain.toys import register_own
from tests.sweeps.fake_training import CONFIG, calls, run_tool, sweep

OWN = """
MODEL: {META_ARCHITECTURE: "DomainAdaptiveClassifier", DEVICE: "cpu"}
DATASETS:
  REGISTER:
    - {NAME: photos, FORMAT: folder, ROOT: /data/photos}
    - {NAME: drawings, FORMAT: images, ROOT: /data/drawings}
    - {NAME: drawings_val, FORMAT: folder, ROOT: /data/labelled/val}
    - {NAME: drawings_test, FORMAT: folder, ROOT: /data/labelled/test}
  TRAIN: ("photos",)
  TARGET: ("drawings",)
  TEST: ("drawings_test", "photos")
SOLVER: {MAX_ITER: 4, BASE_LR: 0.5}
"""
SOURCE_ONLY = OWN.replace('("drawings",)', "()")


@pytest.fixture
def own(place):
    (place / "source.yaml").write_text(SOURCE_ONLY)
    (place / "dann.yaml").write_text(OWN)
    return place


def files(own, *names):
    return [own / f"{name}.yaml" for name in names]


def plan(own, *names, validation="", **options):
    benchmark = own_benchmark(files(own, *names), validation=validation)
    return benchmark, plan_runs(benchmark, files(own, *names), (0,), own / "out", **options)


def test_the_task_is_named_after_source_and_target_and_has_a_column_for_each_test(own):
    benchmark, runs = plan(own, "source", "dann")
    assert [t.label for t in benchmark.tasks] == [benchmark.title] == ["photos→drawings"]
    assert [c.label for c in benchmark.columns] == ["drawings_test", "photos"]
    assert benchmark.metrics == (ACCURACY,)
    assert not benchmark.columns_to_choose_by()
    assert all(run.overrides == () for run in runs)
    assert own_benchmark(files(own, "source")).title == "photos"


def test_data_with_boxes_gets_the_metrics_of_detection(own):
    (own / "dann.yaml").write_text(OWN.replace("DomainAdaptiveClassifier", "SWDARCNN"))
    assert own_benchmark(files(own, "dann")).metrics == DETECTION_METRICS


@pytest.mark.parametrize("name", ["OwnClassifier", "FromScratch"])
def test_a_classifier_of_a_name_of_its_own_gets_that_of_classification(own, name, monkeypatch):
    register_own(monkeypatch)
    (own / "dann.yaml").write_text(OWN.replace("DomainAdaptiveClassifier", name))
    assert own_benchmark(files(own, "dann")).metrics == (ACCURACY,)


def test_a_run_stays_where_it_is_whatever_other_configs_are_swept_with_it(own):
    _, (alone,) = plan(own, "source")
    _, (with_another, _) = plan(own, "source", "dann")
    assert alone.folder == with_another.folder
    assert alone.folder.parent == own / "out" / "source"


def test_another_folder_of_images_is_another_run(own):
    _, (before,) = plan(own, "dann")
    (own / "dann.yaml").write_text(OWN.replace("/data/photos", "/data/more_photos"))
    _, (after,) = plan(own, "dann")
    assert after.folder != before.folder


def test_the_validation_set_is_scored_beside_the_tests_and_chosen_by(own):
    variants = {"": {"low": ["SOLVER.BASE_LR", "0.1"], "high": ["SOLVER.BASE_LR", "0.4"]}}
    benchmark, runs = plan(own, "dann", validation="drawings_val", variants=variants)
    assert [r.tests for r in runs] == [("drawings_test", "photos", "drawings_val")] * 2
    sweep(own, runs).execute()
    rows, columns = make_rows(benchmark, runs, ACCURACY)
    assert columns == ["method", "drawings_test", "photos"]
    (choice,) = choose(benchmark, runs, ACCURACY)
    assert (choice.variant, choice.by) == ("high", "drawings_val")
    assert choice.validation == pytest.approx({"low": 30.1, "high": 30.4})


def test_a_validation_set_among_the_tests_is_a_column_and_no_other_run(own):
    _, (before,) = plan(own, "dann")
    benchmark, (run,) = plan(own, "dann", validation="photos")
    assert run.folder == before.folder
    assert [c.label for c in benchmark.columns_to_choose_by()] == ["photos"]


@pytest.mark.parametrize(
    ("text", "validation", "message"),
    [
        (OWN.replace('("drawings_test", "photos")', "()"), "", "DATASETS.TEST is empty"),
        (OWN.replace('"photos")', ")"), "", "one table compares both: put the same into"),
        (OWN.replace("/data/labelled/test", "/data/other"), "", "'drawings_test' in DATASETS.REG"),
        (OWN, "drawings", "'drawings' has no labels"),
        (OWN, "drawings_vla", "data set 'drawings_vla'; did you mean 'drawings_val'"),
    ],
)
def test_configs_that_one_table_cannot_compare_are_refused(own, text, validation, message):
    (own / "other.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        own_benchmark(files(own, "dann", "other"), validation=validation)


def test_what_is_reported_is_not_chosen_by(own):
    (own / "dann.yaml").write_text(OWN.replace(', "photos")', ",)"))
    with pytest.raises(UserError, match="--val drawings_test is all that DATASETS.TEST names"):
        own_benchmark(files(own, "dann"), validation="drawings_test")


def test_the_tool_sweeps_configs_as_they_are(own, tool, capsys):
    configs = [str(f) for f in files(own, "source", "dann")]
    args = ["--configs", *configs, "--select", "--val", "drawings_val"]
    args += ["--variant", "dann:low", "SOLVER.BASE_LR", "0.1", "--variant", "dann:own"]
    args += ["--", "DATASETS.TEST", "('drawings_test', 'photos')"]
    assert run_tool(own, *args, benchmark=None, seeds=["0"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("photos→drawings, accuracy in percent")
    assert "dann: own chosen on drawings_val" in out
    assert {len(eval(o["DATASETS.TEST"])) for _, _, o, *_ in calls(own)} == {3}
    saved = json.loads((own / "out" / "table_accuracy.json").read_text())
    assert saved["columns"] == ["method", "drawings_test", "photos"]


@pytest.mark.parametrize(
    ("args", "benchmark", "message"),
    [
        (["--tasks", "A->W"], None, "--tasks chooses among the tasks of a --benchmark"),
        (["--val", "photos"], None, "--val is a part of --select"),
        (["--val", "x", "--select"], "mini_digits", "mini_digits has its own validation"),
        (["--select", "--variant", "a"], None, "--val names a validation set"),
    ],
)
def test_mistakes_in_the_command_are_one_sentence(own, tool, capsys, args, benchmark, message):
    (own / "dann.yaml").write_text(CONFIG if benchmark else OWN)
    assert run_tool(own, "--configs", str(own / "dann.yaml"), *args, benchmark=benchmark) == 2
    assert message in capsys.readouterr().err
    assert calls(own) == []
