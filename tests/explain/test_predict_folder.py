"""A call removes the files of earlier ones, also of interrupted ones, and nothing else."""

from __future__ import annotations

import errno
from contextlib import suppress

import pytest
from filelock import FileLock

from metaalign_det.errors import UserError
from metaalign_det.explain.predict_folder import RECORD, PredictionFolder
from metaalign_det.explain.predict_inputs import InputFile, find_inputs
from metaalign_det.files import replaced_file


def write(path, *names):
    folder = PredictionFolder(path)
    for name in names:
        with folder.writing(name) as file:
            file.write_text(f"of {name}")
    return folder


def files(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_what_an_earlier_call_wrote_goes_and_what_it_did_not_write_stays(tmp_path):
    write(tmp_path, "pictures/a/b.png", "voc/a/b.xml", "summary.json")
    mine = ("pictures/c.png", "notes.txt", "yolo/labels/b.txt")
    for name in mine:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folder = PredictionFolder(tmp_path)
    folder.require_replaceable(["pictures/a/b.png", "summary.json"])
    folder.clear()
    assert files(tmp_path) == sorted(mine)
    assert not (tmp_path / "voc").exists() and not (tmp_path / "pictures" / "a").exists()


def test_a_killed_calls_unfinished_files_go_too(tmp_path):
    write(tmp_path, "pictures/a.png")
    with pytest.raises(KeyboardInterrupt), PredictionFolder(tmp_path).writing("coco.json") as path:
        path.write_text("half of it")
        (tmp_path / ".coco.json.12.partial").touch()
        (tmp_path / ".another.json.12.partial").touch()
        raise KeyboardInterrupt
    with (tmp_path / RECORD).open("a") as record:
        record.write('{"file": "cut o')
    folder = PredictionFolder(tmp_path)
    folder.require_replaceable(["pictures/a.png", "coco.json"])
    folder.clear()
    assert files(tmp_path) == [".another.json.12.partial"]


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_a_file_that_was_not_written_after_all_may_be_the_users_later(tmp_path, error):
    """As of an export that failed: somebody else's model may be put there."""
    write(tmp_path, "a.json")
    with suppress(RuntimeError), PredictionFolder(tmp_path).writing("model.ts"):
        if error is not None:
            raise error
    (tmp_path / "model.ts").write_text("mine")
    folder = PredictionFolder(tmp_path)
    with pytest.raises(UserError, match="in the way, .*model.ts"):
        folder.require_replaceable(["model.ts"])
    folder.require_replaceable(["a.json"])
    folder.clear()
    assert files(tmp_path) == ["model.ts"]


def test_files_that_are_gone_stop_nothing(tmp_path):
    write(tmp_path, "pictures/a.png", "b.json")
    (tmp_path / "pictures" / "a.png").unlink()
    (tmp_path / "pictures").rmdir()
    folder = PredictionFolder(tmp_path)
    folder.require_replaceable(["pictures/a.png"])
    folder.clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["yolo/labels/a.txt", "another.txt"])
def test_a_file_that_was_changed_since_is_the_users(tmp_path, name):
    write(tmp_path, "yolo/labels/a.txt", "b.txt")
    (tmp_path / "yolo" / "labels" / "a.txt").write_text("corrected by hand")
    (tmp_path / "b.txt").unlink()
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(UserError, match="changed since predict wrote it: .*a.txt and 1 more; move"):
        PredictionFolder(tmp_path).require_replaceable([name])
    assert (tmp_path / "yolo" / "labels" / "a.txt").read_text() == "corrected by hand"


@pytest.mark.parametrize("name", ["coco.json", "coco.json/a.png"])
def test_no_file_is_written_over_one_that_no_call_wrote(tmp_path, name):
    (tmp_path / "coco.json").write_text("mine")
    folder = PredictionFolder(tmp_path)
    with pytest.raises(UserError, match="in the way, .*/coco.json; move what is yours"):
        folder.require_replaceable([name])
    (tmp_path / "a.png").write_text("mine")
    with pytest.raises(UserError, match="in the way"), folder.writing("a.png"):
        pass
    assert (tmp_path / "coco.json").read_text() == (tmp_path / "a.png").read_text() == "mine"
    assert not (tmp_path / RECORD).exists()


def test_drawings_of_an_earlier_call_are_no_images_to_predict_on(tmp_path, caplog):
    (tmp_path / "a.png").touch()
    write(tmp_path / "out", "pictures/a.png")
    folder = PredictionFolder(tmp_path / "out")
    assert folder.without_earlier(find_inputs([str(tmp_path)])) == [
        InputFile(tmp_path / "a.png", "a.png")
    ]
    assert "1 drawings that an earlier predict left" in caplog.text
    with pytest.raises(UserError, match="every image given is a drawing"):
        folder.without_earlier(find_inputs([str(tmp_path / "out" / "pictures")]))
    assert folder.without_earlier([]) == []


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        '{"file": 1}',
        '{"file": ""}',
        '{"file": "../a.png"}',
        '{"file": "/a.png"}',
        '{"file": "a\\u0000b"}',
        '{"file": "a", "digest": 1}',
        "[" * 100_000,
    ],
)
def test_a_damaged_record_is_named(tmp_path, line):
    write(tmp_path, "a.png")
    with (tmp_path / RECORD).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=rf"{RECORD}, line 3: not a line of predict's record"):
        PredictionFolder(tmp_path)


def test_entries_are_finished_files_and_folders(tmp_path):
    folder = write(tmp_path, "pictures/a.png", "pictures/b.png", "coco.json")
    with folder.writing("model.ts"):
        pass  # nothing came of it
    assert folder.entries() == ["pictures/", "coco.json"]


def test_a_file_atomically_replaced_is_in_the_record(tmp_path):
    folder = PredictionFolder(tmp_path)
    with folder.writing("a.json") as path, replaced_file(path) as file:
        file.write(b"{}")
    assert PredictionFolder(tmp_path).earlier["a.json"]


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "out").touch()
    with (
        pytest.raises(UserError, match="out is a file: name a folder"),
        PredictionFolder.locked(tmp_path / "out"),
    ):
        pass


def test_a_folder_is_one_calls_alone_and_goes_where_nothing_was_written(tmp_path):
    path = tmp_path / "a" / "b"
    with PredictionFolder.locked(path) as folder:
        assert folder.is_empty()
        with pytest.raises(UserError, match="another predict is at work in .*b: wait"):
            PredictionFolder.locked(path).__enter__()
    assert not path.parent.exists()
    with PredictionFolder.locked(path) as folder, folder.writing("a.txt") as file:
        file.touch()
    assert files(path) == [RECORD, "a.txt"]


def test_a_disk_that_knows_no_locks_is_warned_of(tmp_path, monkeypatch, caplog):
    def fail(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", fail)
    with PredictionFolder.locked(tmp_path / "a") as folder, folder.writing("a.txt") as file:
        file.touch()
    assert "cannot be locked" in caplog.text and files(tmp_path / "a") == [RECORD, "a.txt"]


def test_what_is_kept_counts_as_written_by_this_call(tmp_path):
    write(tmp_path, "pictures/a.png", "pictures/b.png", "coco.json")
    folder = PredictionFolder(tmp_path)
    digest = folder.earlier["pictures/a.png"]
    assert folder.written_before("pictures/a.png") == ["pictures/a.png", digest]
    assert folder.written_before("pictures/c.png") is None
    folder.clear(keep={"pictures/a.png"})
    assert files(tmp_path) == [RECORD, "pictures/a.png"]
    assert folder.entries() == ["pictures/"]
    assert list(PredictionFolder(tmp_path).earlier) == ["pictures/a.png"]
