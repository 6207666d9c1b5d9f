"""Lines of image lists that start with #: comments, unless a file is called so."""

from __future__ import annotations

import pytest

from metaalign_det.data.formats.class_names import ClassRule
from metaalign_det.data.formats.image_files import read_list
from metaalign_det.data.formats.image_list import read_image_list
from metaalign_det.data.formats.images import read_images
from metaalign_det.errors import UserError
from tests.data.make_tiny_formats import save_image

COMMENTS = ("# by hand, in May", "#cat/9.jpg", "# ../elsewhere/1.jpg", f"# {'x' * 300}", "#")


@pytest.fixture
def root(tmp_path):
    for name in ("#1/a.jpg", "cat/1.jpg"):
        save_image(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("number", ["", " 0"])
def test_a_path_that_starts_with_one_is_read_where_the_file_exists(root, number):
    lines = (*COMMENTS, f"#1/a.jpg{number}", f"cat/1.jpg{number}")
    (root / "list.txt").write_text("".join(f"{line}\n" for line in lines))
    names, dicts = read_image_list(root / "list.txt", root, ClassRule())
    assert [d["image_id"] for d in dicts] == ["#1/a.jpg", "cat/1.jpg"]
    assert [names[d["label"]] for d in dicts] == ["#1", "cat"]


def test_the_root_may_be_another_folder_than_that_of_the_list(root):
    (root / "lists").mkdir()
    (root / "lists" / "list.txt").write_text("#1/a.jpg 3\n#2/a.jpg 3\n")
    assert list(read_list(root / "lists" / "list.txt", root)) == [(1, "#1/a.jpg", 3)]


def test_lists_of_images_alone_have_the_same_comments(root):
    text = "".join(f"{line}\n" for line in (*COMMENTS, "#1\\a.JPG", "cat/1.jpg"))
    (root / "list.txt").write_text(text)
    records = read_images([root / "list.txt"])
    assert [r.image_id for r in records] == ["#1/a.jpg", "cat/1.jpg"]
    (root / "list.txt").write_text("# nothing\n")
    with pytest.raises(UserError, match="list.txt is empty"):
        read_images([root / "list.txt"])
