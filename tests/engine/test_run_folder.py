"""One run per folder, and a failed start that changes nothing."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import socket
import time

import pytest

from metaalign_det.engine import run_folder
from metaalign_det.engine.run_folder import (
    HOLDER_FILE,
    check_space,
    check_unused,
    checkpoint_bytes,
    evaluation_folder,
    locked_folder,
)
from metaalign_det.errors import UserError
from tests.engine.small import save, small_run, start


def hold(folder, child_lives):
    """The id of a process that holds the lock, with a child as loader processes are."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        assert os.read(read, 1) == b"!"
        os.close(read)
        return pid
    try:
        with locked_folder(folder):
            if os.fork() == 0:
                time.sleep(child_lives)
                os._exit(0)
            os.write(write, b"!")
            time.sleep(60)
    finally:
        os._exit(1)


def test_a_second_run_in_a_folder_is_told_who_is_there_and_a_killed_one_frees_it(tmp_path):
    pid = hold(tmp_path, child_lives=1)
    try:
        with pytest.raises(UserError) as error, locked_folder(tmp_path):
            pass
        assert f"in use by process {pid} on {socket.gethostname()} since 2" in str(error.value)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    # Its child outlives it for a moment, and must not keep the lock.
    with locked_folder(tmp_path):
        holder = json.loads((tmp_path / HOLDER_FILE).read_text())
        assert holder["pid"] == os.getpid()
    assert not (tmp_path / HOLDER_FILE).exists()


def test_a_lock_can_be_taken_again_and_makes_its_folder(tmp_path):
    for _ in range(2):
        with locked_folder(tmp_path / "a" / "b"):
            pass


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pid": "x", "host": null}', '{"pid": -5}'])
def test_whatever_the_holders_file_says_the_lock_is_what_counts(tmp_path, text):
    (tmp_path / HOLDER_FILE).write_text(text)
    with locked_folder(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    message = "cannot be written to: a part of the path is a file"
    with pytest.raises(UserError, match=message), locked_folder(tmp_path / "file" / "run"):
        pass


def test_a_read_only_folder_is_one_sentence(tmp_path, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(run_folder.FileLock, "acquire", read_only)
    message = "the file system is read-only; set OUTPUT_DIR"
    with pytest.raises(UserError, match=message), locked_folder(tmp_path):
        pass


def test_a_used_folder_is_named_with_the_ways_on(tmp_path):
    check_unused(tmp_path / "missing")
    for name in ("config.yaml", "log.txt", "metrics.json"):  # of a start that failed
        (tmp_path / name).touch()
    check_unused(tmp_path)
    (tmp_path / "metrics.json").write_text("{}\n")
    with pytest.raises(UserError, match="before its first checkpoint: --overwrite"):
        check_unused(tmp_path)
    save(small_run(tmp_path, steps=1))
    with pytest.raises(UserError, match=r"\(model_0000000.pth, metrics.json\); --resume continues"):
        check_unused(tmp_path)


def test_an_evaluation_beside_a_run_gets_a_folder_of_its_own(tmp_path):
    assert evaluation_folder(tmp_path / "new") == tmp_path / "new"
    save(small_run(tmp_path, steps=1))
    assert evaluation_folder(tmp_path) == tmp_path / "eval-1"
    assert evaluation_folder(tmp_path) == tmp_path / "eval-2"


def test_a_start_writes_the_config_and_removes_what_was_left_half_written(tmp_path):
    save(small_run(tmp_path, steps=1))
    (tmp_path / ".model_0000001.pth.123.partial").touch()
    start(small_run(tmp_path, "SEED", 6))
    assert "SEED: 6" in (tmp_path / "config.yaml").read_text()
    assert not list(tmp_path.glob(".*partial"))
    assert (tmp_path / "model_0000000.pth").exists()
    start(small_run(tmp_path), overwrite=True)
    assert not (tmp_path / "model_0000000.pth").exists()


# ---- space -----------------------------------------------------------------------------------


def test_the_size_of_a_checkpoint_is_estimated_well(tmp_path):
    run = small_run(tmp_path, width=5000, steps=1)
    save(run)
    size = (tmp_path / "model_0000000.pth").stat().st_size
    assert checkpoint_bytes(run) == pytest.approx(size, rel=0.3)
    run.add_checkpointable("teacher", run.model)
    assert checkpoint_bytes(run) == pytest.approx(1.5 * size, rel=0.3)


def test_too_little_space_is_found_before_the_first_step(tmp_path, monkeypatch, caplog):
    opts = ("SOLVER.MAX_ITER", 100, "SOLVER.CHECKPOINT_PERIOD", 10)
    run = small_run(tmp_path, *opts, width=50000)
    one = checkpoint_bytes(run)
    assert one == 2 * 4 * 3 * 50000
    monkeypatch.setattr(run_folder, "free_bytes", lambda _: int(1.5 * one))
    with pytest.raises(UserError, match=r"1.8 MB are free, but a checkpoint takes about 1.2 MB"):
        check_space(run.cfg, run, 0)
    monkeypatch.setattr(run_folder, "free_bytes", lambda _: 4 * one)
    with caplog.at_level(logging.WARNING):
        check_space(run.cfg, run, 90)  # one more, and the final one
        assert not caplog.records
        check_space(run.cfg, run, 0)
    assert "4.8 MB are free, but the 11 checkpoints to come take about 13.2 MB" in caplog.text
    caplog.clear()
    kept = small_run(tmp_path, *opts, "SOLVER.CHECKPOINT_KEEP", 2, width=50000)
    check_space(kept.cfg, kept, 0)
    assert not caplog.records
    monkeypatch.setattr(run_folder, "free_bytes", lambda _: -1)
    check_space(run.cfg, run, 0)


def test_waiting_for_a_lock_that_nobody_holds_takes_no_time(tmp_path):
    begin = time.monotonic()
    with locked_folder(tmp_path):
        pass
    assert time.monotonic() - begin < 5
