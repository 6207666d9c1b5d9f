"""What is read from a run's folder."""

from __future__ import annotations

import json
import math

import pytest

from metaalign_det.errors import UserError
from metaalign_det.reports.run_report.run_files import (
    ScoreKey,
    find_runs,
    parse_score_key,
    read_run,
)
from metaalign_det.reports.run_report.run_log import (
    read_environment,
    read_peak_memory,
    read_training_seconds,
)

from .make_runs import LOG, SOURCE, TARGET, write_classifier, write_detector


@pytest.mark.parametrize(
    ("name", "tests", "expected"),
    [
        ("a/voc/AP50", ["a", "b"], ("student", "a", "voc/AP50")),
        ("voc/AP50/cat", ["a"], ("student", "a", "voc/AP50/cat")),
        ("a/teacher/voc/AP50", ["a", "b"], ("teacher", "a", "voc/AP50")),
        ("teacher/a/voc/AP50", ["a", "b"], ("teacher", "a", "voc/AP50")),
        ("teacher/voc/AP50", ["a"], ("teacher", "a", "voc/AP50")),
        ("teacher/labels_per_image", ["a"], None),
        ("loss_cls", ["a"], None),
        ("da/local_acc_source", ["a"], None),
        ("voc/AP50", ["a", "b"], None),
        # The only data set is called like a task.
        ("voc/AP50/cat", ["voc"], ("student", "voc", "voc/AP50/cat")),
        ("voc/voc/AP50", ["voc", "b"], ("student", "voc", "voc/AP50")),
    ],
)
def test_scores_are_told_from_other_scalars(name, tests, expected):
    assert parse_score_key(name, tests) == expected


def test_the_last_evaluation_counts(tmp_path):
    run = read_run(write_detector(tmp_path / "run", 3, 40.0, adapts=True, teacher=44.0))
    assert run.seed == 3
    assert run.is_complete
    assert run.scores[ScoreKey("student", TARGET, "voc/AP50_11pt")] == 40.0
    assert run.scores[ScoreKey("teacher", TARGET, "voc/AP50_11pt")] == 44.0
    series = run.score_series[ScoreKey("student", SOURCE, "voc/AP50_11pt")]
    assert [x.tolist() for x in series] == [[49, 100], [50.0, 60.0]]


def test_a_run_that_was_stopped_says_so(tmp_path):
    folder = write_detector(tmp_path / "run", 0, 40.0, adapts=False)
    lines = (folder / "metrics.json").read_text().splitlines()
    (folder / "metrics.json").write_text("\n".join(lines[:2]))
    run = read_run(folder)
    assert not run.is_complete
    assert run.iteration == 40
    assert run.scores == {}


def test_an_evaluation_without_training_has_its_scores_below_inference(tmp_path):
    folder = write_classifier(tmp_path / "run", 0, 7)
    (folder / "metrics.json").unlink()
    saved = {"results": {"accuracy": 70.0, "accuracy/dog": None}}
    (folder / "inference" / "figures_test" / "confusion_figures_test.json").write_text(
        json.dumps(saved)
    )
    scores = read_run(folder).scores
    assert scores[ScoreKey("student", "figures_test", "classification/accuracy")] == 70.0
    assert math.isnan(scores[ScoreKey("student", "figures_test", "classification/accuracy/dog")])


def test_a_folder_above_stands_for_the_runs_below_it(tmp_path):
    for seed in (1, 0):
        write_detector(tmp_path / "all" / f"seed{seed}", seed, 40.0, adapts=True)
    (tmp_path / "all" / "started").mkdir()
    (tmp_path / "all" / "started" / "config.yaml").write_text("SEED: 2")
    assert [run.seed for run in find_runs([tmp_path / "all"])] == [0, 1]
    # Asked for twice, it counts once.
    assert len(find_runs([tmp_path / "all", tmp_path / "all" / "seed0"])) == 2


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match="gone is no folder"):
        find_runs([tmp_path / "gone"])
    with pytest.raises(UserError, match="holds no run"):
        find_runs([tmp_path])
    folder = write_detector(tmp_path / "run", 0, 1.0, adapts=False)
    (folder / "selection.json").write_text("{")
    with pytest.raises(UserError, match="selection.json is damaged"):
        find_runs([folder])
    (folder / "selection.json").unlink()
    (folder / "config.yaml").write_text("- a list")
    with pytest.raises(UserError, match="config.yaml is not the config of a run"):
        find_runs([folder])


def test_the_log_tells_environment_time_and_memory():
    environment = read_environment(LOG)
    assert environment["PyTorch"] == "2.14.1+cu130"
    assert list(environment) == ["sys.platform", "Python", "PyTorch"]
    assert read_training_seconds(LOG) == 65.0
    assert read_training_seconds("9 iterations in 1 day, 1:00:00 (") == 90000.0
    assert read_peak_memory(LOG) == 512.0
    assert read_environment("") == {}
    assert math.isnan(read_training_seconds(""))
    assert math.isnan(read_peak_memory(""))


def test_the_time_of_a_run_is_not_that_of_its_last_process_alone():
    """The first was killed after 60 iterations, and has not said how long they took."""
    resumed = "Overall training speed: 38 iterations in 0:00:25 (0.6 s / it)"
    interrupted = "Overall training speed: 57 iterations in 0:00:40 (0.6 s / it)\n"
    assert math.isnan(read_training_seconds(resumed, 100))
    assert read_training_seconds(interrupted + resumed, 100) == 65.0
    assert read_training_seconds(LOG, 100) == 65.0


def test_what_the_runs_of_a_sweep_started_from_is_none_of_its_settings(tmp_path):
    first = write_detector(tmp_path / "pretraining" / "pre" / "seed0", 0, 30.0, adapts=False)
    (first / "result.json").write_text(json.dumps({"method": "pretraining", "pretraining": None}))
    for seed in (0, 1):
        folder = write_detector(tmp_path / "swda" / f"seed{seed}", seed, 40.0, adapts=True)
        told = {"method": "swda", "pretraining": str(first)}
        (folder / "result.json").write_text(json.dumps(told))
    assert [run.folder.parent.name for run in find_runs([tmp_path])] == ["swda", "swda"]
    # Asked for itself it counts, as does a method of that name.
    asked = find_runs([tmp_path / "pretraining", tmp_path / "swda"])
    assert [run.sweep["method"] for run in asked] == ["pretraining", "swda", "swda"]
    assert len(find_runs([tmp_path / "pretraining"])) == 1


def test_a_run_that_was_evaluated_once_more_is_one_run(tmp_path):
    folder = write_detector(tmp_path / "all" / "seed0", 0, 40.0, adapts=True)
    for number, weights in ((1, ""), (2, "other.pth")):
        evaluation = folder / f"eval-{number}"
        (evaluation / "inference").mkdir(parents=True)
        text = (folder / "config.yaml").read_text().replace(str(folder), str(evaluation))
        model = f"MODEL:\n  WEIGHTS: {weights}\n" if weights else ""
        (evaluation / "config.yaml").write_text(text + model)
    # Of other weights it is something else.
    assert [run.folder.name for run in find_runs([tmp_path])] == ["seed0", "eval-2"]
    assert [run.folder.name for run in find_runs([folder / "eval-1"])] == ["eval-1"]


def test_a_training_before_its_first_record_is_no_run_yet(tmp_path):
    write_detector(tmp_path / "all" / "done", 0, 40.0, adapts=True)
    begun = write_detector(tmp_path / "all" / "begun", 1, 40.0, adapts=True)
    (begun / "metrics.json").write_text("")  # and inference/, of an evaluation that early
    assert [run.folder.name for run in find_runs([tmp_path / "all"])] == ["done"]


@pytest.mark.parametrize(
    ("kind", "content"),
    [("predictions", "[1]"), ("predictions", '[{"image_id": 0}]'), ("confusion", "[1]")],
)
def test_a_file_that_no_evaluation_has_written_is_named(tmp_path, kind, content):
    folder = write_classifier(tmp_path / "run", 0, 7)
    file = folder / "inference" / "figures_test" / f"{kind}_figures_test.json"
    file.write_text(content)
    with pytest.raises(UserError, match=f"{file} is not what an evaluation writes"):
        read_run(folder).inference(kind, "figures_test")
