"""The snippets of datasets/README.md work as printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from detectron2.data import DatasetCatalog

from metaalign_det.config import load_cfg
from metaalign_det.data import check_data, register_all
from metaalign_det.data.catalog.register import FORMATS
from metaalign_det.data.doctor.registry import registered_checks
from tests.data.make_tiny_formats import coco_json, make_tiny_coco, make_tiny_yolo, save_image
from tests.data.make_tiny_voc import annotation_xml

README = Path(__file__).parents[2] / "datasets" / "README.md"
OWN, _, CHECKED = (
    README.read_text(encoding="utf-8").partition("## Your own")[2].partition("\n## Checked before")
)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", OWN, flags=re.DOTALL)


@pytest.fixture
def _trees(tmp_path, monkeypatch, catalog):
    """What the snippets speak of, in ./datasets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    root = tmp_path / "datasets"
    for i, name in enumerate(("cat", "dog")):
        save_image(root / "garden" / "JPEGImages" / f"{i}.jpg")
        path = root / "garden" / "Annotations" / f"{i}.xml"
        path.parent.mkdir(exist_ok=True)
        annotation_xml(f"{i}.jpg", (80, 60), [(name, (1, 1, 9, 9), False)]).write(path)
    save_image(root / "garden" / "JPEGImages" / "no object.jpg")
    lists = root / "garden" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("0\n1\n")
    make_tiny_coco(root / "photos", coco_json(3, ("cat", "kitten", "automobile", "tree")))
    make_tiny_yolo(root / "traffic")
    for name in ("my drawings/a b/1.PNG", "more/2.jpg", "mugs/photo/red/1.jpg"):
        save_image(root / name)
    (root / "my drawings" / "chosen.txt").write_text("a b/1.PNG\n")
    (root / "mugs" / "train.txt").write_text("photo/red/1.jpg 0\n")


@pytest.mark.parametrize("snippet", blocks("yaml"))
def test_a_config_registers_data_that_can_be_read(snippet, _trees, tmp_path):
    (tmp_path / "config.yaml").write_text(snippet)
    cfg = load_cfg(tmp_path / "config.yaml")
    register_all(cfg)
    for entry in yaml.safe_load(snippet)["DATASETS"]["REGISTER"]:
        assert DatasetCatalog.get(entry["NAME"])
    if cfg.DATASETS.CLASSES == "intersection":
        cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
        assert [row.role for row in check_data(cfg)] == ["source 0", "target", "test"]


@pytest.mark.parametrize("snippet", blocks("python"))
def test_a_call_registers_data_that_can_be_read(snippet, _trees):
    before = set(DatasetCatalog.list())
    exec(compile(snippet, str(README), "exec"), {})
    added = set(DatasetCatalog.list()) - before
    assert added and all(DatasetCatalog.get(name) for name in added)


def test_every_format_has_a_row_and_an_example():
    rows = re.findall(r"^\| `(\w+)` \|", OWN, flags=re.MULTILINE)
    assert rows == ["FORMAT", *FORMATS]
    shown = " ".join(blocks("yaml"))
    public = {"cityscapes", "kitti"}  # registered by name, above
    assert all(f"FORMAT: {name}" in shown for name in set(FORMATS) - public)


def test_every_check_is_in_the_table_and_no_other():
    table = CHECKED.partition("| check | finds |")[2].partition("\n\n")[0]
    first_columns = [line.split("|")[1] for line in table.strip().splitlines()[1:]]
    named = {name for column in first_columns for name in re.findall(r"`(\w+)`", column)}
    assert named == {check.name for check in registered_checks()}
