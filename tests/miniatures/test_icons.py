"""Icons: chosen names, a package that is read as it is, disjoint splits, the same bytes."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

import metaalign_det.data  # noqa: F401  (registers)
from metaalign_det.errors import UserError
from metaalign_det.miniatures import iconify, icons
from tests.folders import contents

SQUARE = '<path fill="currentColor" d="M4 4h{0}v16H4z"/>'
NAMES = {
    name: {style: {f"{style}-set": [f"{name}-{i}" for i in range(10)]} for style in icons.STYLES}
    for name in ("cat", "car")
}


def package_files(**changes):
    """A small @iconify/json: every icon a rectangle of its own width."""
    sets = {f"{style}-set": {} for style in icons.STYLES}
    for styles in NAMES.values():
        for by_set in styles.values():
            for prefix, names in by_set.items():
                for i, name in enumerate(names):
                    sets[prefix][name] = {"body": SQUARE.format(3 + i)}
    licence = {"title": "MIT License", "spdx": "MIT", "url": "https://example.org"}
    listed = {p: {"name": p, "author": {"name": "A. Uthor"}, "license": licence} for p in sets}
    files = {
        "package.json": {"version": iconify.VERSION},
        "collections.json": listed,
        **{f"json/{p}.json": {"icons": i, "width": 24, "height": 24} for p, i in sets.items()},
    }
    return {**files, **changes}


def write_folder(folder, **changes):
    for name, content in package_files(**changes).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


def write_archive(file):
    with tarfile.open(file, "w:gz") as archive:
        for name, content in package_files().items():
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file


@pytest.fixture
def small(monkeypatch):
    pytest.importorskip("resvg_py")
    monkeypatch.setattr(icons, "icon_names", lambda: NAMES)
    monkeypatch.setattr(icons, "CLASSES", tuple(NAMES))


# ---- the names ----------------------------------------------------------------------------------


def test_every_class_has_8_to_24_icons_in_every_style():
    names = icons.icon_names()
    assert tuple(names) == icons.CLASSES and len(icons.CLASSES) >= 30
    for name in icons.CLASSES:
        assert tuple(names[name]) == icons.STYLES
        for style in icons.STYLES:
            assert 8 <= len(icons.icons_of(style, name)) <= 24


def test_no_icon_shows_two_classes_or_styles():
    everything = [
        i for style in icons.STYLES for c in icons.CLASSES for i in icons.icons_of(style, c)
    ]
    assert len(everything) == len(set(everything))


def test_splits_are_disjoint_and_complete_and_follow_the_seed():
    for style in icons.STYLES:
        for name in icons.CLASSES:
            split = icons.split_of(style, name)
            together = [icon for part in split.values() for icon in part]
            assert sorted(together) == sorted(icons.icons_of(style, name))
            assert min(len(part) for part in split.values()) >= 2
            assert len(split["train"]) in (len(together) // 2, -(-len(together) // 2))
    assert icons.split_of("emoji", "cat") == icons.split_of("emoji", "cat", seed=0)
    assert icons.split_of("emoji", "cat") != icons.split_of("emoji", "cat", seed=1)


# ---- on disk ------------------------------------------------------------------------------------


def test_layout_lists_and_manifest(small, tmp_path, monkeypatch):
    archive = write_archive(tmp_path / f"iconify-json-{iconify.VERSION}.tgz")
    folder = icons.ensure_icons(tmp_path, progress=False)
    assert folder == tmp_path / "icons"
    listed = []
    for style in icons.STYLES:
        for split in icons.SHARES:
            lines = (folder / f"image_list/{style}_{split}.txt").read_text().splitlines()
            assert len(lines) == {"train": 10, "val": 4, "test": 6}[split]
            listed += [line.split()[0] for line in lines]
    assert sorted(listed) == sorted(str(p.relative_to(folder)) for p in folder.rglob("*.png"))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["package"] == f"@iconify/json {iconify.VERSION}"
    assert manifest["sets"]["emoji-set"] == {
        "name": "emoji-set",
        "author": "A. Uthor",
        "licence": "MIT",
        "url": "https://example.org",
    }
    # What is there is used: the package is not needed any more.
    archive.unlink()
    assert icons.ensure_icons(tmp_path, progress=False) == folder
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert icons.find_icons() == folder
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    root = f"~/{tmp_path.name}"
    assert icons.ensure_icons(root) == icons.find_icons(root) == folder


def test_archive_and_folder_give_the_same_pictures(small, tmp_path):
    one = icons.ensure_icons(
        tmp_path / "a", package=write_archive(tmp_path / "package.tgz"), progress=False
    )
    two = icons.ensure_icons(
        tmp_path / "b", package=write_folder(tmp_path / "package"), progress=False
    )
    assert contents(one) == contents(two)


def test_an_icon_is_black_on_white_as_large_as_it_fits(small):
    pytest.importorskip("resvg_py")
    sets = iconify.IconSet("x", {}, {"icons": {"a": {"body": SQUARE.format(8)}}, "height": 24})
    image = icons.draw_icon(sets.svg("a"))
    assert image.shape == (128, 128, 3) and image.dtype == np.uint8
    rows, columns = np.nonzero(image[..., 0] < 128)
    # 8 x 16 units, the longer side 112 pixels.
    assert rows.min() == 8 and rows.max() == 119
    assert abs(columns.max() - columns.min() + 1 - 56) <= 1
    assert image[64, 64].tolist() == [0, 0, 0] and image[0, 0].tolist() == [255] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"json/line-set.json": {"icons": {}, "width": 24}},
            "lacks 20 of the icons, such as line-set:cat-0: they were chosen from",
        ),
        ({"package.json": None}, "has no"),
    ],
)
def test_another_version_of_the_package_is_named(small, tmp_path, changes, message):
    package = write_folder(tmp_path / "package", **changes)
    if changes == {"package.json": None}:
        (package / "package.json").unlink()
    with pytest.raises(UserError, match=message):
        icons.ensure_icons(tmp_path, package=package, progress=False)
    assert not (tmp_path / "icons").exists()


def test_a_set_under_another_licence_is_refused(small, tmp_path):
    listed = package_files()["collections.json"]
    listed["line-set"]["license"] = {"title": "CC BY-NC 4.0", "spdx": "CC-BY-NC-4.0"}
    package = write_folder(tmp_path / "package", **{"collections.json": listed})
    with pytest.raises(UserError, match="'line-set' is under 'CC BY-NC 4.0'"):
        icons.ensure_icons(tmp_path, package=package, progress=False)


def test_without_the_package_the_command_that_fetches_it_is_named(small, tmp_path, monkeypatch):
    command = f"npm pack @iconify/json@{iconify.VERSION} --pack-destination {tmp_path}"
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(UserError, match=command):
        icons.ensure_icons()
    with pytest.raises(UserError, match=command):
        DatasetCatalog.get("icons_emoji_train")
    with pytest.raises(UserError, match=f"there is no {tmp_path}/x.tgz: {command}"):
        icons.ensure_icons(package=tmp_path / "x.tgz")


def test_an_archive_that_is_cut_off_or_none_is_named(small, tmp_path):
    file = write_archive(tmp_path / "package.tgz")
    for content, message in ((file.read_bytes()[:300], "incomplete"), (b"text", "cannot read")):
        file.write_bytes(content)
        with pytest.raises(UserError, match=f"(?s){message}.*Fetch it again: npm pack"):
            icons.ensure_icons(tmp_path, package=file)
