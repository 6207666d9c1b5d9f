"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import threading
import time

import pytest

from benchmarks.crash_points import count_operations, failing_at, killed_at
from metaalign_det.errors import UserError
from metaalign_det.files import (
    PARTIAL,
    early_writeback,
    file_below,
    place_fault,
    printable,
    replaced_file,
    write_json,
    write_text,
)


def rewrite(path):
    with replaced_file(path) as file:
        file.write(b"new ")
        file.write(b"content")


def test_content_reaches_the_disk_before_the_name_and_the_name_before_the_return(tmp_path):
    names = count_operations(lambda: rewrite(tmp_path / "x"))
    written = ["write", "half-write"] * 2
    assert names == ["open", *written, "fsync", "replace", "open", "fsync", "close"]


@pytest.mark.parametrize("index", range(10))
def test_a_kill_at_any_operation_leaves_the_old_or_the_new_file(tmp_path, index):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    assert killed_at(index, lambda: rewrite(path))
    assert path.read_bytes() == (b"new content" if index > 6 else b"old")


@pytest.mark.parametrize("index", range(7))
def test_an_error_leaves_the_old_file_and_nothing_half_written(tmp_path, index):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"), failing_at(index):
        rewrite(path)
    assert path.read_bytes() == b"old"
    assert not list(tmp_path.glob(f".*{PARTIAL}"))


def test_an_error_names_the_file_that_was_to_be_written(tmp_path):
    """Those of writes name none, and the temporary file is nobody's business."""
    for index in range(7):
        with pytest.raises(OSError) as error, failing_at(index):
            rewrite(tmp_path / "x")
        assert error.value.filename == str(tmp_path / "x")
    with pytest.raises(OSError) as error, replaced_file(tmp_path / "x"):
        raise FileNotFoundError(errno.ENOENT, "gone", "another")
    assert error.value.filename == "another"


def test_what_a_place_cannot_do_is_told_from_bugs(tmp_path):
    (tmp_path / "file").touch()
    for number in (errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT):
        assert "name a place" in place_fault(OSError(number, "?"))
    with pytest.raises(OSError) as error:
        (tmp_path / "file" / "folder").mkdir(parents=True)
    assert "a part of the path is a file" in place_fault(error.value)
    assert place_fault(FileNotFoundError(errno.ENOENT, "?", "x")) is None
    assert place_fault(OSError("?")) is None and place_fault(KeyError("x")) is None


def test_a_file_system_without_flushes_of_folders_is_taken_as_it_is(tmp_path):
    with failing_at(8, errno.EINVAL):
        rewrite(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"new content"


def test_text_and_json_replace_what_was_there(tmp_path):
    write_text(tmp_path / "a", "é\n")
    write_json(tmp_path / "b", {"x": float("nan")})
    assert (tmp_path / "a").read_bytes() == "é\n".encode()
    assert (tmp_path / "b").read_text() == '{\n  "x": null\n}\n'
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_only_what_utf8_cannot_hold_is_escaped():
    assert printable("a é 猫 \\ \n") == "a é 猫 \\ \n"
    assert printable(os.fsdecode(b"caf\xe9")) == "caf\\udce9"


def test_a_file_to_write_lies_below_its_folder(tmp_path):
    assert file_below(tmp_path / "out", "a/b..png") == tmp_path / "out" / "a" / "b..png"
    assert (tmp_path / "out" / "a").is_dir()
    for name in ("../x", "a/../../x", "/x", "", "."):
        with pytest.raises(UserError, match="is no name below"):
            file_below(tmp_path / "out", name)


def test_early_writeback_changes_nothing_and_ends_its_thread(tmp_path):
    before = threading.active_count()
    with replaced_file(tmp_path / "a") as file:
        with early_writeback(file.fileno(), every=0.001):
            for i in range(20):
                file.write(bytes([i]) * 4096)
                time.sleep(0.001)
        assert threading.active_count() == before
    assert (tmp_path / "a").read_bytes() == b"".join(bytes([i]) * 4096 for i in range(20))
    with (
        open(tmp_path / "a", "rb") as file,
        pytest.raises(RuntimeError, match="inside"),
        early_writeback(file.fileno()),
    ):
        raise RuntimeError("inside")
    assert threading.active_count() == before
