"""Runs as jobs of a cluster: submitit's local executor, and a Slurm of one machine."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from metaalign_det.errors import UserError
from metaalign_det.sweeps.attempt import start, take
from metaalign_det.sweeps.plan import Pretraining
from metaalign_det.sweeps.runs import collect_scores, read_scores
from metaalign_det.sweeps.slurm import JOB_FILE, SlurmSweep
from metaalign_det.sweeps.slurm_job import TrainingJob
from metaalign_det.sweeps.slurm_options import SlurmOptions
from tests.sweeps.fake_training import CONFIG, accuracy, alive, calls, plan, run_tool

submitit = pytest.importorskip("submitit")

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def importable(place, monkeypatch):
    """Jobs are processes of their own; none that hangs outlives its test."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    yield
    for file in place.rglob("pid"):
        with suppress(ProcessLookupError):
            os.killpg(int(file.read_text()), signal.SIGKILL)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The folder of a fake Slurm's commands, which are on the PATH."""
    folder = tmp_path / "bin"
    (folder / "state").mkdir(parents=True)
    text = (Path(__file__).parent / "fake_slurm.py").read_text()
    for name in ("sbatch", "srun", "sacct", "scontrol", "scancel", "supervise"):
        (folder / name).write_text(f"#!{sys.executable}\n{text}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(submitit.SlurmJob.watcher, "_delay_s", 0.2)
    submitit.SlurmJob.watcher.clear()
    yield folder
    for pid in folder.glob("pid-*"):
        if alive(int(pid.read_text())):
            os.killpg(int(pid.read_text()), 9)
    for job in (folder / "state").iterdir():
        job.write_text("CANCELLED")  # ends the supervisors


def jobs_of(place, runs, cluster="local", gpus=0, sbatch=None, **options) -> SlurmSweep:
    command = [sys.executable, str(place / "train.py")]
    asked = SlurmOptions(30, gpus, sbatch=sbatch or {})
    options = {"poll_seconds": 0.05, "cluster": cluster} | options
    return SlurmSweep(runs, command, place / "out", asked, **options)


def submissions(slurm) -> list[dict]:
    return [json.loads(x) for x in (slurm / "submissions.jsonl").read_text().splitlines()]


def wait_for(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def warn(run) -> None:
    """The signal at the end of a job's time, to the task of submitit's local controller."""
    controller = json.loads((run.folder / JOB_FILE).read_text())["job"]
    for task in Path(f"/proc/{controller}/task/{controller}/children").read_text().split():
        os.kill(int(task), signal.SIGUSR2)


# ---- submitit's local executor ---------------------------------------------------------------


def test_runs_are_jobs_and_nothing_runs_twice(place):
    runs = plan(place, seeds=(0, 1))
    seen = []
    assert jobs_of(place, runs, on_progress=seen.append).execute() == []
    assert [accuracy(r) for r in runs] == [30.5, 31.5]
    assert (seen[-1].done, seen[-1].total) == (2, 2)
    assert jobs_of(place, runs).execute() == []
    assert len(calls(place)) == 2
    assert {threads for *_, threads, _ in calls(place)} == {"1"}


def test_pretraining_ends_before_what_starts_from_it(place):
    (place / "pretrain.yaml").write_text(CONFIG)
    tests = ("DATASETS.TEST", "('mini_digits_source_test',)")
    runs = plan(place, seeds=(0, 1), pretraining=Pretraining(place / "pretrain.yaml", True, tests))
    assert jobs_of(place, runs, discard_checkpoints=True).execute() == []
    assert [m for m, *_ in calls(place)] == ["pretrain", "pretrain", "dann", "dann"]
    assert all(r.pretrain.weights.is_file() and not r.weights.exists() for r in runs)


def test_failures_are_reported_by_the_error_of_the_training(place):
    runs = plan(place, methods=("dann", "cdan"))
    (place / "fail-dann").touch()
    (failure,) = jobs_of(place, runs).execute()
    assert failure.run.method == "dann"
    assert failure.reason == "ValueError: the learning rate is no number"
    (place / "fail-dann").unlink()
    assert jobs_of(place, runs).execute() == []
    assert len(calls(place)) == 3


def test_what_starts_from_a_failed_pretraining_fails_with_it(place):
    (place / "pretrain.yaml").write_text(CONFIG)
    (place / "fail-pretrain").touch()
    runs = plan(place, pretraining=Pretraining(place / "pretrain.yaml"))
    first, second = jobs_of(place, runs).execute()
    assert first.run.method == "pretraining"
    assert second.reason.startswith("what it starts from has failed: pretraining")


def test_a_job_at_the_end_of_its_time_saves_and_goes_on_from_there(place):
    (run,) = plan(place)
    (place / "hang").touch()

    def look(progress):
        if (run.folder / "pid").exists() and (place / "hang").exists():
            (place / "hang").unlink()
            warn(run)

    running = jobs_of(place, [run], on_progress=look)
    assert running.execute() == []
    assert (run.folder / "saved").exists()
    assert [resume for _, resume, *_ in calls(place)] == [False, True]
    assert read_scores(run)


def test_a_job_has_the_lock_of_its_folder(place):
    (run,) = plan(place)
    (place / "hang").touch()
    running = jobs_of(place, [run], wait=False)
    running.execute()
    wait_for(lambda: (run.folder / "pid").exists())
    assert take(run) is None
    (place / "hang").unlink()
    warn(run)
    wait_for(lambda: collect_scores(run))
    wait_for(running._queue[run.folder][1].done)


@pytest.mark.parametrize("minutes", [0, 1000])
def test_a_job_that_got_nowhere_in_all_its_time_is_not_queued_again(place, minutes):
    (run,) = plan(place)
    run.folder.mkdir(parents=True)
    (run.folder / "model_0000001.pth").touch()
    (run.folder / "metrics.json").write_text('{"iteration": 2}\n')
    (place / "hang").touch()
    work = TrainingJob(run, [], minutes=minutes)
    work._started = time.monotonic()  # the clock counts from when the machine was started
    work._attempt = start(run, take(run), [sys.executable, str(place / "train.py")])
    wait_for(lambda: (run.folder / "pid").exists())
    if minutes:  # displaced soon after its start: it comes back
        assert work.checkpoint().function.run == run
    else:
        with pytest.raises(UserError, match="no iteration further .* --slurm time="):
            work.checkpoint()
    work._attempt.process.wait()
    work._attempt.lock.close()


def test_the_function_of_a_job_runs_under_the_debug_executor(place):
    (run,) = plan(place)
    work = jobs_of(place, [run])._work(run)
    submitit.DebugExecutor(folder=place / "debug").submit(work).result()
    assert accuracy(run) == 30.5


# ---- a Slurm of one machine ------------------------------------------------------------------


def test_runs_are_an_array_of_so_many_at_a_time_with_the_options_given(place, slurm):
    runs = plan(place, seeds=range(4))
    asked = {"partition": "gpu", "mem": "32G", "cpus-per-task": "6"}
    assert jobs_of(place, runs, "slurm", 2, asked, jobs=2).execute() == []
    (given,) = submissions(slurm)
    assert given["array"].strip("'") == "0-3%2"
    assert {k: given[k] for k in asked} == asked
    assert (given["time"], given["gpus-per-node"], given["signal"]) == ("30", "2", "USR2@120")
    (script,) = (place / "out" / "slurm").glob("*_submission.sh")
    assert "--cpus-per-task=6 " in script.read_text().partition("srun ")[2]
    assert max(map(int, (slurm / "at_once").read_text().split())) == 2
    assert {(o["--num-gpus"], o["--dist-url"]) for _, _, o, *_ in calls(place)} == {("2", "auto")}
    assert [accuracy(r) for r in runs] == [30.5, 31.5, 32.5, 33.5]


def test_jobs_depend_on_the_pretraining_without_the_sweep(place, slurm):
    (place / "pretrain.yaml").write_text(CONFIG)
    tests = ("DATASETS.TEST", "('mini_digits_source_test',)")
    runs = plan(place, seeds=(0, 1), pretraining=Pretraining(place / "pretrain.yaml", True, tests))
    queue = jobs_of(place, runs, "slurm", wait=False)
    assert queue.execute() == [] and queue.queued() == 4
    first, second = submissions(slurm)
    assert "dependency" not in first
    assert second["dependency"].strip("'") == "afterany:1001_0:1001_1"
    wait_for(lambda: all(collect_scores(r) for r in runs))
    assert [m for m, *_ in calls(place)] == ["pretrain", "pretrain", "dann", "dann"]


def test_the_same_command_finds_its_jobs_in_the_queue(place, slurm):
    runs = plan(place, seeds=(0, 1))
    (slurm / "full").touch()
    jobs_of(place, runs, "slurm", wait=False).execute()
    again = jobs_of(place, [*runs, *plan(place, seeds=(2,))], "slurm", wait=False)
    again.execute()
    assert again.queued() == 3
    assert len(submissions(slurm)) == 2
    assert "array" not in submissions(slurm)[1]
    (slurm / "full").unlink()
    seen = []
    last = jobs_of(place, runs, "slurm", on_progress=seen.append)
    assert last.execute() == []
    assert len(submissions(slurm)) == 2
    assert seen[-1].done == 2


def test_interrupted_waiting_leaves_the_jobs_and_says_how_they_are_called(place, slurm, caplog):
    runs = plan(place, seeds=(0, 1))

    def look(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs_of(place, runs, "slurm", on_progress=look).execute()
    assert "2 jobs go on without this command: 1001" in caplog.text
    assert jobs_of(place, runs, "slurm").execute() == []
    assert len(submissions(slurm)) == 1


def test_a_displaced_job_saves_once_and_goes_on_when_it_is_back(place, slurm):
    (run,) = plan(place)
    (place / "hang").touch()

    def look(progress):
        if (run.folder / "pid").exists() and (place / "hang").exists():
            (place / "hang").unlink()
            running._queue[run.folder][1]._interrupt()  # SIGTERM, and then the warning

    running = jobs_of(place, [run], "slurm", on_progress=look)
    assert running.execute() == []
    assert (run.folder / "saved").exists()
    assert [resume for _, resume, *_ in calls(place)] == [False, True]
    assert len(submissions(slurm)) == 1


def test_a_cancelled_job_is_a_failure_and_submitted_anew_next_time(place, slurm):
    (run,) = plan(place)
    (place / "hang").touch()

    def look(progress):
        if (run.folder / "pid").exists() and (place / "hang").exists():
            (place / "hang").unlink()
            running._queue[run.folder][1].cancel()
            os.killpg(int((run.folder / "pid").read_text()), 9)

    running = jobs_of(place, [run], "slurm", on_progress=look)
    (failure,) = running.execute()
    assert failure.reason.startswith("Slurm says CANCELLED of job 1001")
    assert jobs_of(place, [run], "slurm").execute() == []
    assert len(submissions(slurm)) == 2
    assert read_scores(run)


def test_what_slurm_refuses_is_one_sentence(place, slurm):
    with pytest.raises(UserError, match="Slurm took no job: .*invalid partition"):
        jobs_of(place, plan(place), "slurm", sbatch={"partition": "none"}).execute()


def test_the_tool_submits_returns_and_prints_the_table_later(place, slurm, tool, capsys):
    args = ["--configs", str(place / "dann.yaml"), "--launcher", "slurm", "--no-wait"]
    args += ["--slurm", "time=1:00:00", "gpus=0", "partition=cpu"]
    (slurm / "full").touch()
    assert run_tool(place, *args) == 0
    assert "2 runs are in the queue" in capsys.readouterr().out
    (slurm / "full").unlink()
    wait_for(lambda: all(collect_scores(r) for r in plan(place, seeds=(0, 1))))
    assert run_tool(place, "--configs", str(place / "dann.yaml"), "--table-only") == 0
    assert "31.0 ± 0.7" in capsys.readouterr().out
    (given,) = submissions(slurm)
    assert (given["time"], given["partition"]) == ("60", "cpu")
    assert "gpus-per-node" not in given


def test_the_tool_chooses_when_what_it_chooses_among_has_ended(place, slurm, tool, capsys):
    args = ["--configs", str(place / "dann.yaml"), "--select", "--select-seeds", "7"]
    args += ["--variant", "low", "SOLVER.BASE_LR", "0.1", "--variant", "high", "--no-wait"]
    args += ["--launcher", "slurm", "--slurm", "time=60", "gpus=0"]
    assert run_tool(place, *args, seeds=["0"]) == 0
    assert "2 runs are in the queue; the same command chooses" in capsys.readouterr().out
    wait_for(lambda: len(list((place / "out").glob("dann/*/*/*/result.json"))) == 2)
    assert run_tool(place, *[a for a in args if a != "--no-wait"], seeds=["0"]) == 0
    assert "dann: high chosen on target val" in capsys.readouterr().out


# ---- mistakes --------------------------------------------------------------------------------


def test_without_submitit_the_message_says_how_to_install_it(place, tool, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "submitit", None)
    args = ["--configs", str(place / "dann.yaml"), "--launcher", "slurm", "--slurm", "time=60"]
    assert run_tool(place, *args) == 2
    assert "pip install 'metaalign_det[slurm]'" in capsys.readouterr().err.splitlines()[-1]


def test_where_there_is_no_slurm_the_message_says_so(place, tool, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(place))
    args = ["--configs", str(place / "dann.yaml"), "--launcher", "slurm", "--slurm", "time=60"]
    assert run_tool(place, *args) == 2
    assert "srun" in capsys.readouterr().err.splitlines()[-1]
