"""Ctrl-C and SIGTERM: the step in which they come is finished and saved, in all processes."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch.distributed as dist
from detectron2.utils.events import EventStorage

from metaalign_det.engine import interrupt
from metaalign_det.engine.interrupt import SaveOnInterrupt
from metaalign_det.engine.printer import MetricPrinter
from tests.data.trees import make_tiny_voc
from tests.engine.small import small_run
from tests.engine.tiny_training import CONFIG, ROOT, TINY
from tests.processes import run


class Trainer:
    iter = 0


def steps(folder, rank, act, count=20):
    """Iterations until a trainer with the hook alone stops; ``act(iteration)`` is its step."""
    checkpointer = small_run(folder)
    checkpointer.save_to_disk = rank == 0
    hook = SaveOnInterrupt(checkpointer)
    hook.trainer = Trainer()
    hook.before_train()
    try:
        for hook.trainer.iter in range(count):
            act(hook.trainer.iter)
            hook.after_step()
    except KeyboardInterrupt:
        return hook.trainer.iter
    finally:
        hook.after_train()
    return None


@pytest.mark.parametrize("number", interrupt.SIGNALS)
def test_one_process_saves_behind_the_step_and_leaves_handlers_as_they_were(tmp_path, number):
    before = signal.getsignal(number)
    stopped = steps(tmp_path, 0, lambda i: i == 3 and os.kill(os.getpid(), number))
    assert stopped == 3
    assert (tmp_path / "model_0000003.pth").is_file()
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000003.pth"
    assert signal.getsignal(number) == before


def test_a_run_that_is_stopped_where_it_has_just_printed_ends_as_asked():
    """Detectron2's printer divides by zero there, in the first iterations after a start."""
    with EventStorage(5) as storage:
        printer = MetricPrinter(max_iter=6)
        printer.write()
        printer.write()
        storage.step()
        printer.write()


def test_outside_the_main_thread_signals_are_left_to_others(tmp_path):
    found = []
    thread = threading.Thread(target=lambda: found.append(steps(tmp_path, 0, lambda i: None, 2)))
    thread.start()
    thread.join()
    assert found == [None]


def _terminate_at(asked, iteration):
    if iteration == asked:
        os.kill(os.getpid(), signal.SIGTERM)


def one_of_two(rank, folder):
    found = []
    for who in ((0,), (1,), (0, 1)):
        place = f"{folder}/{len(who)}{who[0]}"
        dist.barrier()
        asked = 3 if rank in who else -1
        act = functools.partial(_terminate_at, asked)
        stopped = steps(place, rank, act)
        found.append((stopped, os.path.isfile(f"{place}/model_0000003.pth")))
    return found


def test_two_processes_stop_behind_the_same_step_whoever_was_asked(tmp_path):
    results = run(one_of_two, str(tmp_path / "run"), store=tmp_path / "store", timeout=60)
    # None leaves before the checkpoint is there.
    assert [r[1:] for r in results] == [("ok", [(3, True)] * 3)] * 2


def _blocked(monkeypatch, grace, second):
    """A process whose step never ends is asked to stop; its exit code, seconds and last words."""
    monkeypatch.setattr(interrupt, "GRACE_SECONDS", grace)
    monkeypatch.setattr(interrupt, "SAME_REQUEST_SECONDS", 0.3)
    ready, ready_write = os.pipe()
    said, said_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(said_write, 2)
        signal.signal(signal.SIGTERM, lambda *_: None)
        interrupt._Watch()
        os.write(ready_write, b"!")
        lock = threading.Lock()
        lock.acquire()
        while True:
            lock.acquire()  # no instruction ends, as in a collective operation
    os.close(said_write)
    os.read(ready, 1)
    begin = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    time.sleep(0.1)
    os.kill(pid, signal.SIGTERM)  # the same request, passed on by a launcher
    if second:
        time.sleep(0.5)
        os.kill(pid, signal.SIGTERM)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, time.monotonic() - begin, os.read(said, 1000).decode()


def test_a_process_that_waits_for_one_that_is_gone_ends_itself(monkeypatch):
    code, seconds, said = _blocked(monkeypatch, grace=0.6, second=False)
    assert code == 143
    assert seconds > 0.5
    assert "did not end within" in said and "--resume continues from the last checkpoint" in said


def test_a_second_request_ends_it_at_once(monkeypatch):
    code, _, said = _blocked(monkeypatch, grace=1000, second=True)
    assert code == 143
    assert "asked a second time" in said


@pytest.mark.parametrize("when", ["data of this run", " iter: "])
def test_the_process_that_launched_two_passes_the_request_on_and_tells_the_truth(
    tmp_path, monkeypatch, when
):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(make_tiny_voc(tmp_path / "datasets")))
    out = tmp_path / "run"
    script = [sys.executable, str(ROOT / "tools" / "train_net.py"), "--config-file", CONFIG]
    opts = ("OUTPUT_DIR", str(out), "DATASETS.TEST", "()", "SOLVER.MAX_ITER", "100000")
    process = subprocess.Popen(
        [*script, "--num-gpus", "2", "--dist-url", "auto", *TINY, *opts],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if when in line:
            process.terminate()
            break
    rest, _ = process.communicate(timeout=200)
    assert process.returncode == 130, "".join(said[-20:]) + rest
    assert "Traceback" not in rest
    if when == "data of this run":  # nobody has come to train
        assert rest.endswith(f"interrupted; there is no checkpoint in {out} yet\n")
        return
    name = (out / "last_checkpoint").read_text()
    assert f"interrupted; --resume continues from {name} in {out}" in rest
    assert f"stopped after iteration {int(name[6:13])}" in rest
