"""Files, folders, globs and videos as a user names them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from metaalign_det.errors import UserError
from metaalign_det.explain.predict_inputs import Video, find_inputs


def names(*given):
    return [f.name for f in find_inputs([str(g) for g in given])]


@pytest.fixture
def tree(tmp_path):
    for file in ("b one.JPG", "deep/er/a.Png", "deep/notes.txt", ".hidden.png", "clip.MP4"):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_a_folder_stands_for_every_image_and_video_below_it(tree):
    assert names(tree) == ["b one.JPG", "clip.MP4", "deep/er/a.Png"]


def test_globs_and_single_files_come_in_their_order_and_once(tree):
    assert names(tree / "deep/er/a.Png", tree / "**" / "*.*") == [
        "a.Png",
        "b one.JPG",
        "clip.MP4",
    ]


def test_globs_match_in_either_case_and_keep_folders(tree):
    assert names(tree / "**" / "*.PNG") == ["deep/er/a.Png"]
    assert names(tree / "*.mp4") == ["clip.MP4"]
    assert names(tree / "dee*") == ["deep/er/a.Png"]


def test_links_are_followed_and_what_systems_leave_behind_is_passed_over(tree, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for file in (elsewhere / "c.png", tree / "__MACOSX" / "d.png", tree / ".trash" / "e.png"):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    (tree / "linked").symlink_to(elsewhere)
    assert names(tree)[-1] == "linked/c.png" and len(names(tree)) == 4


def test_a_named_file_counts_whatever_its_suffix(tree):
    assert names(tree / "deep/notes.txt") == ["notes.txt"]


def test_equal_names_of_two_folders_are_told_apart(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").touch()
    assert names(tmp_path / "x", tmp_path / "y") == ["x/a.png", "y/a.png"]


@pytest.mark.parametrize(
    "given, message",
    [
        ("nothing", "does not exist"),
        ("*.tga", "matches no image"),
        ("gone/*.png", "matches no image"),
        ("empty", "no image and no video in the folder"),
    ],
)
def test_an_argument_that_means_nothing_is_named(tmp_path, given, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        find_inputs([str(tmp_path / given)])


def test_a_video_gives_its_frames_in_rgb(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), (255, 0, 0), np.uint8))  # blue, as OpenCV orders it
    writer.release()
    video = Video.open(find_inputs([str(path)])[0])
    frames = list(video)
    assert [n for n, _ in frames] == [f"clip/frame_00000{i}.jpg" for i in range(3)]
    assert frames[0][1].shape == (48, 64, 3)
    assert frames[0][1][0, 0, 2] > 200 > 60 > frames[0][1][0, 0, 0]
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(UserError, match="bad.mp4 cannot be read"):
        Video.open(find_inputs([str(tmp_path / "bad.mp4")])[0])
