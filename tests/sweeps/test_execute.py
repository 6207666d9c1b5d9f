"""A sweep carries out its runs, several at a time, and comes back to them after anything."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from metaalign_det.errors import UserError
from metaalign_det.sweeps.attempt import lock_file
from metaalign_det.sweeps.plan import Pretraining
from metaalign_det.sweeps.runs import collect_scores, last_iteration, read_scores
from tests.sweeps.fake_training import CONFIG, accuracy, alive, calls, plan, sweep


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
    assert all((r.folder / "saved").exists() for r in runs)
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
    assert "--overwrite" in run.arguments()
    (run.folder / "model_0000001.pth").touch()
    assert "--resume" in run.arguments()


def test_a_run_that_outlived_its_sweep_is_waited_for_and_counts(place):
    """As after ``kill -9``: the process still holds its lock, then ends with its result there."""
    (run,) = plan(place)
    run.folder.mkdir(parents=True)
    held = [lock_file(run.folder / "sweep.lock")]

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
                worker.attempt.lock.close()  # what the end of the sweep's process would do
            assert lock_file(run.folder / "sweep.lock") is None
            raise KeyboardInterrupt

    running = sweep(place, [run], on_progress=look)
    with pytest.raises(KeyboardInterrupt):
        running.execute()
    lock_file(run.folder / "sweep.lock").close()


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


def test_where_no_run_gets_to_its_first_step_the_others_are_not_tried(place):
    runs = plan(place, methods=("dann",), seeds=range(6))
    (place / "fail-dann").touch()
    with pytest.raises(UserError) as error:
        sweep(place, runs).execute()
    assert str(error.value) == (
        "the first 3 runs failed before their first step, 3 more were not started:\n"
        "ValueError: the learning rate is no number"
    )
    assert len(calls(place)) == 3
    (place / "fail-dann").unlink()
    assert sweep(place, runs).execute() == []


def test_never_more_runs_at_a_time_than_asked_for_and_as_many(place):
    (place / "meet").write_text("2")
    runs = plan(place, seeds=range(4))
    assert sweep(place, runs, jobs=2, gpus=["3", "5"]).execute() == []
    seen = [int(n) for n in (place / "seen").read_text().split()]
    assert (place / "met").exists()
    assert len(seen) == 4
    assert max(seen) <= 2
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


@pytest.mark.parametrize(("per_seed", "pretrained"), [(False, [3]), (True, [0, 1])])
def test_pretraining_comes_first_once_or_per_seed(place, per_seed, pretrained):
    (place / "pretrain.yaml").write_text(CONFIG + "SEED: 3\n")
    first = Pretraining(
        place / "pretrain.yaml", per_seed, ("DATASETS.TEST", "('mini_digits_source_test',)")
    )
    runs = plan(place, seeds=(0, 1), pretraining=first)
    assert sweep(place, runs, jobs=2).execute() == []
    made, started = {}, []
    for method, _, options, *_ in calls(place):  # seeds may overtake each other
        if method == "pretrain":
            made[Path(options["OUTPUT_DIR"])] = int(options["SEED"])
            continue
        started.append(method)
        weights = Path(options["MODEL.WEIGHTS"])
        assert weights.parent in made and weights.is_file()
        if per_seed:
            assert weights.parent.name.startswith(f"seed{options['SEED']}-")
    assert sorted(made.values()) == pretrained and started == ["dann", "dann"]


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
