"""Files, folders, globs and videos as a user names them."""

from __future__ import annotations

import os

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


def test_no_name_leaves_the_output_folder_however_the_folders_are_given(tmp_path, monkeypatch):
    for folder in ("work/project/photos", "archive/photos"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.png").touch()
    monkeypatch.chdir(tmp_path / "work" / "project")
    assert names("photos", "../../archive/photos") == [
        "work/project/photos/a.png",
        "archive/photos/a.png",
    ]
    assert names("photos/a.png", "../../archive/photos/*.png")[1] == "archive/photos/a.png"
    assert names("photos", "../project/photos/../photos") == ["a.png"], "each file once"


def test_what_is_above_a_linked_folder_is_found_where_it_really_is(tmp_path):
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "a.png").write_bytes(b"real")
    (tmp_path / "a.png").write_bytes(b"another")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "deep")
    (found,) = find_inputs([str(tmp_path / "link" / ".." / "a.png")])
    assert found.path.read_bytes() == b"real"


def test_what_is_made_of_videos_of_one_stem_is_told_apart(tmp_path):
    for file in ("clip.avi", "clip.mp4", "clip.jpg", "b.mp4", "b/frame_000000.jpg", "c.mp4"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    stems = {f.name: f.stem for f in find_inputs([str(tmp_path)]) if f.is_video}
    assert stems == {
        "b.mp4": "b.mp4",  # the folder b has a frame of that name already
        "c.mp4": "c",
        "clip.avi": "clip.avi",
        "clip.mp4": "clip.mp4",
    }


def test_a_video_whose_name_is_not_utf8_is_refused_before_opencv_gets_it(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    path.touch()
    with pytest.raises(UserError, match=r"caf\\udce9.mp4: the path is not valid UTF-8.*rename"):
        Video.open(find_inputs([str(path)])[0])


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
    data = bytearray((tmp_path / "clip.avi").read_bytes())
    start = data.index(b"movi")
    data[start + 4 :] = bytes(len(data) - start - 4)  # a header, and no frame
    (tmp_path / "frameless.avi").write_bytes(data)
    with pytest.raises(UserError, match="frameless.avi cannot be read"):
        Video.open(find_inputs([str(tmp_path / "frameless.avi")])[0])
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(UserError, match="bad.mp4 cannot be read"):
        Video.open(find_inputs([str(tmp_path / "bad.mp4")])[0])
