"""Any folder, glob or list of images."""

from __future__ import annotations

import pytest

from metaalign_det.data.catalog.detection import ImagesDomain
from metaalign_det.errors import UserError
from tests.data.make_tiny_formats import save_image


@pytest.fixture
def root(tmp_path):
    for name in ("z.jpg", "a b/1.PNG", "a b/deep/er/2.JpEg", "a b/._1.png", ".hidden/3.jpg"):
        save_image(tmp_path / name.replace("._1.png", "skip.png"))
    (tmp_path / "a b" / "skip.png").rename(tmp_path / "a b" / "._1.png")
    (tmp_path / "a b" / "notes.txt").write_text("no image")
    return tmp_path


def ids(*places, **options):
    return [d["image_id"] for d in ImagesDomain(name="i", root=places, **options)()]


EVERYTHING = ["a b/1.PNG", "a b/deep/er/2.JpEg", "z.jpg"]


def test_a_folder_in_any_nesting_sorted(root):
    dicts = ImagesDomain(name="i", root=root)()
    assert [d["image_id"] for d in dicts] == EVERYTHING
    assert dicts[0] == {
        "file_name": str(root / "a b/1.PNG"), "image_id": "a b/1.PNG", "height": 60, "width": 80
    }  # fmt: skip


def test_links_are_followed_and_loops_end(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    save_image(other / "4.jpg")
    (root / "linked").symlink_to(other)
    (other / "back").symlink_to(root)
    (root / "a b" / "loop").symlink_to(root)
    assert ids(root) == [*EVERYTHING[:2], "linked/4.jpg", "z.jpg"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["z.jpg"]),
        ("**/*.jpeg", ["deep/er/2.JpEg"]),
        ("a b/*.png", ["1.PNG"]),
        ("**/er", ["a b/deep/er/2.JpEg"]),
        ("a*", ["a b/1.PNG", "a b/deep/er/2.JpEg"]),
        ("**", EVERYTHING),
        ("?.jpg", ["z.jpg"]),
    ],
)
def test_globs(root, pattern, expected):
    found = ids(root / pattern)
    assert [i.split("/")[-1] for i in found] == [e.split("/")[-1] for e in expected]


def test_a_list_with_spaces_and_the_folder_that_it_must_not_leave(root):
    (root / "a b" / "some.txt").write_text("1.PNG\ndeep/er/2.JpEg\n")
    assert ids(root / "a b" / "some.txt") == ["1.PNG", "deep/er/2.JpEg"]
    (root / "a b" / "some.txt").write_text("1.PNG\n../z.jpg\n")
    with pytest.raises(UserError, match=r"some.txt, line 2: '../z.jpg' lies outside.*LIST_ROOT"):
        ids(root / "a b" / "some.txt")
    (root / "a b" / "some.txt").write_text(f"a b/1.PNG\n{root}/z.jpg\n")
    assert ids(root / "a b" / "some.txt", list_root=root) == ["a b/1.PNG", "z.jpg"]


def test_several_places_count_each_image_once(root):
    assert sorted(ids(root / "a b", root / "z.jpg", root / "**/*.png")) == EVERYTHING


def test_a_relative_place_is_below_detectron2_datasets(root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    assert ids("a b") == ids("a b/**/*") == ["1.PNG", "deep/er/2.JpEg"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "nowhere does not exist"),
        ("nowhere/*.jpg", "nowhere does not exist"),
        (".hidden/none*", "no image in it or below it"),
        ("a b/notes.txt", "line 1: 'no image' is no image by its suffix"),
        ("x" * 300, "has a name of more than 255 bytes"),
    ],
)
def test_places_without_images(root, place, message):
    with pytest.raises(UserError, match=message):
        ids(root / place)


@pytest.mark.parametrize("place", [(), 5, [3], "", {}])
def test_places_that_are_none(place):
    with pytest.raises(UserError, match="'i': .*ROOT"):
        ImagesDomain(name="i", root=place)


def test_a_folder_whose_name_looks_like_a_pattern_may_stand_before_one(tmp_path):
    save_image(tmp_path / "scans [2024]" / "a" / "1.png")
    assert ids(tmp_path / "scans [2024]" / "**" / "*.png") == ["a/1.png"]


def test_pictures_of_formats_that_are_not_read_are_warned_of(root, caplog):
    (root / "a b" / "IMG_1.HEIC").write_bytes(b"heic")
    (root / "a b" / "1.NEF").write_bytes(b"raw, and a JPEG or PNG of it is beside")
    assert ids(root) == EVERYTHING
    assert "1 pictures of a format that is not read are left out" in caplog.text
    assert "IMG_1.HEIC: convert them" in caplog.text


def test_pictures_that_a_glob_does_not_ask_for_are_none_that_are_left_out(root, caplog):
    (root / "a b" / "IMG_1.HEIC").write_bytes(b"heic")
    assert ids(root / "*" / "*.png")
    assert not caplog.text
    assert ids(root / "a *")
    assert "IMG_1.HEIC: convert them" in caplog.text
