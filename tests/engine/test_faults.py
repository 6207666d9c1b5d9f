"""Faults of disks, folders and loader processes, each in one sentence."""

from __future__ import annotations

import errno
import logging
import re

import pytest

from metaalign_det.engine.faults import (
    explained_fault,
    explained_faults,
    explained_worker_fault,
    free_bytes,
    megabytes,
)
from metaalign_det.errors import UserError


@pytest.mark.parametrize(
    "number, words",
    [
        (
            errno.ENOSPC,
            r"the disk is full \(.* MB free\); make room, or set SOLVER",
        ),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, "still connected"),
        (errno.ESTALE, "network drive is gone"),
        (errno.EMFILE, "ulimit -n"),
    ],
)
def test_a_fault_in_a_block_becomes_one_sentence_without_a_traceback(
    tmp_path, number, words, caplog
):
    log = logging.getLogger("detectron2.engine.train_loop")
    log.addHandler(caplog.handler)
    try:
        with pytest.raises(UserError, match=words) as error, explained_faults(tmp_path):
            try:
                raise OSError(number, "?", str(tmp_path / "some" / "file"))
            except OSError:
                log.exception("Exception during training:")
                raise
    finally:
        log.removeHandler(caplog.handler)
    assert str(error.value).startswith(f"{tmp_path}/some/file: ")
    assert "continue with --resume" in str(error.value)
    assert not caplog.records


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.ENOTDIR])
def test_a_fault_elsewhere_brings_no_advice_on_the_run(tmp_path, number):
    run, data = tmp_path / "run", tmp_path / "data" / "set"
    run.mkdir()

    def fault() -> str:
        with pytest.raises(UserError) as error, explained_faults(run):
            raise OSError(number, "?", str(data))
        assert str(error.value).startswith(f"{data}: ") and "name" in str(error.value)
        assert "OUTPUT_DIR" not in str(error.value) and "SOLVER" not in str(error.value)
        return str(error.value)

    assert "--resume" not in fault()
    (run / "last_checkpoint").write_text("model_0000001.pth")
    assert "--resume" in fault()


def test_a_folder_that_the_run_is_in_is_its_own_fault(tmp_path):
    error = OSError(errno.EROFS, "?", str(tmp_path))
    assert "set OUTPUT_DIR" in explained_fault(error, tmp_path / "a" / "b")


def test_what_was_explained_first_is_not_hidden_by_what_came_of_it(tmp_path):
    with pytest.raises(UserError, match="^the checkpoint"), explained_faults(tmp_path):
        try:
            raise UserError("the checkpoint could not be written")
        finally:
            raise OSError(errno.ENOSPC, "closing the writer")


@pytest.mark.parametrize(
    "error", [OSError("?"), RuntimeError("mine"), BlockingIOError(errno.EAGAIN, "x"), KeyError("x")]
)
def test_other_errors_stay_what_they_are(tmp_path, error):
    assert explained_fault(error, tmp_path) is None
    with pytest.raises(type(error)), explained_faults(tmp_path):
        raise error


def test_an_error_of_mine_on_top_of_a_fault_is_not_taken_for_it(tmp_path):
    error = RuntimeError("mine")
    error.__context__ = FileNotFoundError(errno.ENOENT, "x")
    assert explained_fault(error, tmp_path) is None


@pytest.mark.parametrize(
    "error, words",
    [
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "was killed"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "was killed"),
        (RuntimeError("unable to open shared memory object </torch_1> in read-write"), "/dev/shm"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."), "/dev/shm"),
        (RuntimeError("unable to write to file </torch_7> shm_open"), "/dev/shm"),
        (OSError(errno.ENOSPC, "No space left on device"), "/dev/shm"),
        (OSError("Caught OSError in ...\nOSError: [Errno 28] No space left on device"), "/dev/shm"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.jpg"), "a.jpg"),
        (
            OSError(
                "Caught OSError in DataLoader worker process 0.\nOriginal Traceback:\n  ...\n"
                "OSError: [Errno 5] Input/output error: 'a.jpg'\n"
            ),
            r"an image could not be read: OSError: \[Errno 5\] Input/output error: 'a.jpg'; is",
        ),
    ],
)
def test_faults_of_loader_processes_are_told_apart(error, words):
    reason = explained_worker_fault(error)
    assert re.search(words, reason)
    assert "\n" not in reason


def test_an_error_in_a_mapper_is_no_fault():
    assert explained_worker_fault(KeyError("x")) is None
    assert explained_worker_fault(RuntimeError("size mismatch")) is None


def test_space_is_that_of_the_disk_also_before_the_folder_is_made(tmp_path):
    assert free_bytes(tmp_path / "a" / "b") == pytest.approx(free_bytes(tmp_path), rel=0.5)
    assert megabytes(2_500_000) == "2.5 MB"
    assert megabytes(-1) == "unknown space"
