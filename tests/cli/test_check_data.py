"""metaalign-det check-data: what it prints, writes and returns."""

from __future__ import annotations

import json
import os

import pytest
from PIL import Image

from metaalign_det.cli.__main__ import main
from tests.data.make_tiny_formats import coco_json, make_tiny_coco, make_tiny_yolo, save_image
from tests.data.trees import make_tiny_voc, write_annotation


@pytest.fixture(autouse=True)
def _forget(catalog):
    pass


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return make_tiny_voc(tmp_path, images=10, trees=("VOC2007", "watercolor"))


def check(*arguments) -> int:
    return main(["check-data", "--jobs", "1", *map(str, arguments)])


def findings(path) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for finding in json.loads(path.read_text())["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return found


CONFIG = """
MODEL: {ROI_HEADS: {NUM_CLASSES: 6}}
DATASETS:
  TRAIN: ["voc6_2007_trainval"]
  TARGET: ["watercolor_train"]
  TEST: ["watercolor_test"]
INPUT: {MIN_SIZE_TRAIN: [48], MIN_SIZE_TEST: 48}
SOLVER: {IMS_PER_BATCH: 2}
"""


def test_a_clean_config_exits_0(root, tmp_path, capsys):
    (tmp_path / "my.yaml").write_text(CONFIG)
    assert check("--config-file", tmp_path / "my.yaml", "--json", tmp_path / "f.json") == 0
    printed = capsys.readouterr().out
    assert "| source 0 | voc6_2007_trainval |" in printed and "0 errors" in printed
    written = json.loads((tmp_path / "f.json").read_text())
    assert written["clean"] and written["images_decoded"] == 29
    assert [d["role"] for d in written["data"]] == ["source 0", "target", "test"]
    assert check(tmp_path / "my.yaml", "--quick") == 0


def test_everything_that_is_wrong_is_found_in_one_go(root, tmp_path, capsys):
    tree = root / "watercolor"
    images = tree / "JPEGImages"
    whole = (images / "000001.jpg").read_bytes()
    (images / "000002.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "000003.jpg").unlink()
    (images / "000004.jpg").write_bytes((root / "VOC2007/JPEGImages/000001.jpg").read_bytes())
    Image.new("RGB", (8000, 1)).save(images / "000005.jpg")
    (tree / "Annotations" / "000012.xml").write_text("<not xml")
    write_annotation(tree, "000013", [("cat", (1, 1, 4000, 20), False)])
    write_annotation(tree, "000014", [("cat", (5, 5, 90, 90), False)] * 2)
    (tmp_path / "my.yaml").write_text(CONFIG)
    assert check("--config-file", tmp_path / "my.yaml", "--json", tmp_path / "f.json") == 1
    found = findings(tmp_path / "f.json")
    target, test = found["reading"]
    assert target["data"] == "watercolor_train" and target["count"] == 2
    assert any("000002.jpg" in e and "truncated" in e for e in target["examples"])
    assert any("000003.jpg does not exist" in e for e in target["examples"])
    assert test["data"] == "watercolor_test" and test["count"] == 2
    assert any("000012.xml is not valid XML" in e for e in test["examples"])
    assert any("000013.xml" in e and "lies outside" in e for e in test["examples"])
    (resized,) = found["cannot_be_resized"]
    assert "000005.jpg: 8000x1" in resized["message"]
    (copies,) = found["copies"]
    assert (
        copies["severity"] == "error" and copies["data"] == "voc6_2007_trainval, watercolor_train"
    )
    assert found["boxes_twice"][0]["count"] == 1
    printed = capsys.readouterr().out
    assert "remedy" in printed and "4 errors" in printed


def test_data_sets_by_name_and_keys_on_top_of_a_config(root, tmp_path, capsys):
    assert check("watercolor_train", "watercolor_test", "--quick") == 0
    (tmp_path / "my.yaml").write_text(CONFIG)
    options = ("--quick", "--json", tmp_path / "f.json", "MODEL.ROI_HEADS.NUM_CLASSES", 5)
    assert check("--config-file", tmp_path / "my.yaml", *options) == 1
    assert "the data have 6 classes" in findings(tmp_path / "f.json")["class_lists"][0]["message"]


def test_a_folder_may_be_called_as_a_data_set_is(root):
    assert check(root / "watercolor", "--quick") == 0


def test_folders_of_any_format(tmp_path, capsys):
    content = coco_json(3)
    content["annotations"][0]["bbox"] = [70, 10, 40, 30]  # beyond the image of 80 px
    make_tiny_coco(tmp_path / "photos", content)
    make_tiny_yolo(tmp_path / "signs")
    save_image(tmp_path / "drawings" / "one more" / "1.PNG")
    folders = [tmp_path / name for name in ("photos", "signs", "drawings")]
    assert check(*folders, "--json", tmp_path / "f.json") == 1
    (wrong,) = findings(tmp_path / "f.json")["reading"]
    assert wrong["data"] == "photos" and "annotations[0]" in wrong["examples"][0]
    written = json.loads((tmp_path / "f.json").read_text())["data"]
    assert [(d["name"], d["images"]) for d in written] == [
        ("photos", 3), ("signs_train", 4), ("signs_val", 4), ("drawings", 1)
    ]  # fmt: skip


def test_annotations_of_turned_images_are_in_the_table(tmp_path, capsys):
    content = coco_json(3)
    content["images"][0].update(width=60, height=80)
    make_tiny_coco(tmp_path / "photos", content)
    assert check(tmp_path / "photos", "--quick", "--json", tmp_path / "f.json") == 0
    (found,) = findings(tmp_path / "f.json")["size_disagrees"]
    assert found["severity"] == "warning" and "image 10 says 60x80" in found["examples"][0]
    assert "disagree" not in capsys.readouterr().err


def test_the_yaml_of_yolo_and_that_of_a_config_whatever_they_are_called(tmp_path, root, capsys):
    make_tiny_yolo(tmp_path / "signs").rename(tmp_path / "signs" / "signs.yaml")
    assert check(tmp_path / "signs" / "signs.yaml", "--quick") == 0
    assert "| signs_train |" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "mydata.yaml").write_text(CONFIG)
    assert check(tmp_path / "mydata.yaml", "--quick") == 0
    assert "| source 0 | voc6_2007_trainval |" in capsys.readouterr().out


def test_a_hidden_folder_that_is_named(tmp_path, capsys):
    save_image(tmp_path / ".cache" / "1.png")
    assert check(tmp_path / ".cache", "--quick") == 0
    assert "| cache " in capsys.readouterr().out


def test_a_damaged_image_whose_name_is_not_utf8_is_named_all_the_same(tmp_path, capsys):
    save_image(tmp_path / "drawings" / "1.png")
    (tmp_path / "drawings" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"\xff\xd8")
    assert check(tmp_path / "drawings", "--json", tmp_path / "f.json") == 1
    assert "1 error" in capsys.readouterr().out
    (bad,) = findings(tmp_path / "f.json")["reading"]
    assert os.fsdecode(b"caf\xe9.jpg") in bad["examples"][0]


def test_data_that_are_not_there_are_findings_and_names_that_are_not_are_mistakes(root, capsys):
    assert check("clipart_train", "watercolor_train", "--quick") == 1
    assert "clipart" in capsys.readouterr().out
    for arguments, message in (
        (("watercolour_train",), "Did you mean watercolor_train"),
        ((), "nothing to check"),
        (("watercolor_train", "--jobs", "0"), "--jobs must be at least 1"),
        (("watercolor_train", "--quick", "--json", root / "no" / "f.json"), "--json"),
    ):
        assert check(*arguments) == 2
        assert message in capsys.readouterr().err


def test_a_target_that_is_not_there_has_no_wrong_annotation(root, tmp_path):
    register = 'DATASETS:\n  REGISTER: [{NAME: gone_here, FORMAT: images, ROOT: "/no/such"}]'
    text = CONFIG.replace("DATASETS:", register).replace('["watercolor_train"]', '["gone_here"]')
    (tmp_path / "my.yaml").write_text(text)
    assert check(tmp_path / "my.yaml", "--quick", "--json", tmp_path / "f.json") == 1
    (wrong,) = findings(tmp_path / "f.json")["reading"]
    assert wrong["data"] == "gone_here" and wrong["message"] == "nothing of it can be read"
    assert "/no/such does not exist" in wrong["examples"][0]


def test_labels_beside_images_that_are_not_read_are_a_finding(tmp_path):
    for split in ("train", "val"):
        save_image(tmp_path / "marked" / split / "1.jpg")
        (tmp_path / "marked" / split / "1.json").write_text('{"shapes": []}')
    save_image(tmp_path / "plain" / "1.jpg")
    options = ("--quick", "--json", tmp_path / "f.json")
    assert check(tmp_path / "marked", tmp_path / "plain", *options) == 0
    (found,) = findings(tmp_path / "f.json")["reading"]
    assert found["severity"] == "warning" and found["data"] == "marked"
    assert "1.json looks like labelme's" in found["message"]
