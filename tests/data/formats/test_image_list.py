"""Class names are the identity of classes, whatever lists and folders call or number them."""

from __future__ import annotations

import logging

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from metaalign_det.data.catalog import builtin_classification as builtin
from metaalign_det.data.catalog.classes import agree, check_held_out, classes_of
from metaalign_det.data.catalog.classification import register_image_folder, register_image_list
from metaalign_det.data.formats.class_names import ClassIndex, ClassRule, normalise
from metaalign_det.data.formats.image_list import read_folder, read_image_list, read_unsorted
from metaalign_det.errors import UserError
from tests.data.make_tiny_office import make_tiny_office


def make_images(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(root / file)
    return root


def rule(classes=None):
    return ClassRule(None if classes is None else tuple(classes))


def load_image_folder(root, classes=None, **options):
    return read_folder(root, rule(classes), **options)[1]


def load_image_list(list_file, root, classes=None, **options):
    return read_image_list(list_file, root, rule(classes), **options)[1]


def agreed(*datasets):
    return agree({name: classes_of(name) for name in datasets}, None)


def labels(dicts):
    return {d["image_id"]: d["label"] for d in dicts}


@pytest.mark.parametrize("spelling", ["Real World", "RealWorld", "real_world", "REAL-WORLD"])
def test_spellings_of_a_name_are_one_name(spelling):
    assert normalise(spelling) == normalise("Real_World")


def test_a_class_listed_twice_is_refused():
    with pytest.raises(UserError, match="Alarm_Clock.*listed twice.*alarm clock"):
        ClassIndex(["Alarm_Clock", "Bed", "alarm clock"])


class TestFolders:
    def test_labels_follow_the_given_order_and_not_the_alphabet(self, tmp_path):
        make_images(tmp_path, "Alarm Clock/1.jpg", "bed/2.PNG", "Drill/sub/3.jpeg")
        dicts = load_image_folder(tmp_path, ["Drill", "Bed", "Alarm_Clock"])
        assert labels(dicts) == {"Drill/sub/3.jpeg": 0, "bed/2.PNG": 1, "Alarm Clock/1.jpg": 2}
        assert all((tmp_path / d["image_id"]).samefile(d["file_name"]) for d in dicts)

    def test_without_classes_the_folders_are_the_classes(self, tmp_path):
        make_images(tmp_path, "b/1.jpg", "A/1.jpg", ".hidden/1.jpg")
        (tmp_path / "A" / "notes.txt").write_text("no image")
        assert labels(load_image_folder(tmp_path)) == {"A/1.jpg": 0, "b/1.jpg": 1}

    def test_what_a_mac_adds_to_an_archive_is_no_class(self, tmp_path):
        make_images(tmp_path, "cat/1.jpg", "dog/1.jpg")
        (tmp_path / "__MACOSX" / "cat").mkdir(parents=True)
        assert read_folder(tmp_path, rule())[0] == ("cat", "dog")

    def test_a_link_to_itself_is_no_class(self, tmp_path):
        make_images(tmp_path, "cat/1.jpg", "dog/1.jpg")
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        assert read_folder(tmp_path, rule())[0] == ("cat", "dog")

    def test_folders_that_differ_in_spelling_only_are_not_quietly_one_class(self, tmp_path):
        make_images(tmp_path, "A/1.jpg", "a/1.jpg", "b/1.jpg")
        with pytest.raises(UserError, match="'A' .* and 'a' .* differ only in case"):
            read_folder(tmp_path, rule())

    def test_a_relative_root_is_below_detectron2_datasets(self, tmp_path, monkeypatch, catalog):
        make_images(tmp_path, "mine/a/1.jpg")
        monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
        register_image_folder("mine", "mine")
        assert len(DatasetCatalog.get("mine")) == 1

    def test_a_missing_class_is_named_together_with_folders_that_might_be_it(self, tmp_path):
        make_images(tmp_path, "cat/1.jpg", "dgo/1.jpg")
        with pytest.raises(UserError, match="no image of class dog.*no class: dgo"):
            load_image_folder(tmp_path, ["cat", "dog"])

    def test_an_empty_folder_is_a_missing_class_and_a_warning_where_that_is_allowed(
        self, tmp_path, caplog
    ):
        make_images(tmp_path, "cat/1.jpg")
        (tmp_path / "dog").mkdir()
        with pytest.raises(UserError, match="class dog"):
            load_image_folder(tmp_path, ["cat", "dog"])
        with caplog.at_level(logging.WARNING):
            assert len(load_image_folder(tmp_path, ["cat", "dog"], require_all=False)) == 1
        assert "class dog" in caplog.text

    def test_folders_without_images_are_no_classes_unless_they_are_named(self, tmp_path, caplog):
        make_images(tmp_path, "cat/1.jpg", "dog/deeper/1.jpg")
        for folder in ("empty", "docs", "skipped"):
            (tmp_path / folder).mkdir()
        (tmp_path / "docs" / "readme.txt").write_text("no image")
        unnamed = ClassRule(None, ignore=frozenset({"skipped"}))
        assert read_folder(tmp_path, unnamed)[0] == ("cat", "dog")
        assert "folders without an image are no classes: docs, empty\n" in caplog.text
        # Numbers of classes stay what they were for whoever says so.
        kept = ("cat", "docs", "dog", "empty")
        assert read_folder(tmp_path, unnamed, require_all=False)[0] == kept
        with pytest.raises(UserError, match="of class empty; .*Add images of it, .*REQUIRE_ALL"):
            load_image_folder(tmp_path, ["cat", "dog", "empty"])

    def test_another_number_of_images_warns_with_both_numbers(self, tmp_path, caplog, catalog):
        make_images(tmp_path, "cat/1.jpg", "cat/2.jpg")
        with caplog.at_level(logging.WARNING):
            register_image_folder("right", tmp_path, expected=2)
            DatasetCatalog.get("right")
            assert not caplog.text
            register_image_folder("wrong", tmp_path, expected=17)
            DatasetCatalog.get("wrong")
        assert "2 images where there should be 17" in caplog.text

    def test_no_image_is_an_error(self, tmp_path):
        (tmp_path / "cat").mkdir()
        with pytest.raises(UserError, match=r"no image in any folder in it \(cat\): put the"):
            load_image_folder(tmp_path)

    def test_a_missing_root_shows_path_tree_and_the_miniature(self, tmp_path):
        with pytest.raises(UserError) as error:
            load_image_folder(tmp_path / "office")
        for part in (str(tmp_path / "office"), "<class>/<image>.jpg", "mini_digits/dann.yaml"):
            assert part in str(error.value)

    def test_an_unsorted_target_has_no_labels(self, tmp_path):
        make_images(tmp_path, "1.jpg", "later/2.jpg")
        dicts = read_unsorted(tmp_path)
        assert [d["image_id"] for d in dicts] == ["1.jpg", "later/2.jpg"]
        assert not any("label" in d for d in dicts)


class TestLists:
    @pytest.fixture
    def root(self, tmp_path):
        return make_images(
            tmp_path, "Real_World/dog/1.jpg", "Real_World/Alarm_Clock/1.jpg", "Real_World/dog/2.jpg"
        )

    def test_the_folder_decides_and_not_the_number(self, root):
        # 1-based, in an order of its own, the domain spelled with a space.
        (root / "list.txt").write_text(
            "Real World/dog/1.jpg 2\nReal World/Alarm Clock/1.jpg 1\n\nReal World/dog/2.jpg\n"
        )
        dicts = load_image_list(root / "list.txt", root, ["Dog", "Alarm_Clock"])
        assert [d["label"] for d in dicts] == [0, 1, 0]
        assert dicts[1]["file_name"] == str(root / "Real_World/Alarm_Clock/1.jpg")

    def test_numbers_count_where_they_are_all_there_is(self, root):
        (root / "list.txt").write_text("Real_World/dog/1.jpg 1\nReal_World/dog/2.jpg 0\n")
        dicts = load_image_list(root / "list.txt", root, ["a", "b"], numbered=True)
        assert [d["label"] for d in dicts] == [1, 0]
        (root / "list.txt").write_text("Real_World/dog/1.jpg 0\nReal_World/dog/2.jpg 2\n")
        with pytest.raises(UserError, match=r"list.txt:2: class number 2 is not in 0 to 1"):
            load_image_list(root / "list.txt", root, ["a", "b"], numbered=True)

    def test_an_image_has_one_class(self, root):
        (root / "twice.txt").write_text("a b/1.jpg 0\na b/1.jpg 1\n")
        make_images(root, "a b/1.jpg")
        message = "twice.txt:2: 'a b/1.jpg' is of class 1 here and of class 0 in line 1"
        with pytest.raises(UserError, match=message):
            load_image_list(root / "twice.txt", root, ["cat", "dog"], numbered=True)

    def test_an_image_in_no_folder_has_no_class(self, root):
        make_images(root, "1.jpg")
        (root / "list.txt").write_text("1.jpg 0\n")
        for classes in (None, ["a", "b"]):
            with pytest.raises(UserError, match=r"list.txt:1: '1.jpg' names no folder.*NUMBERED"):
                load_image_list(root / "list.txt", root, classes)

    def test_an_image_that_does_not_exist_is_named_with_its_line(self, root):
        (root / "list.txt").write_text("Real_World/dog/1.jpg 0\nReal_World/dog/9.jpg 0\n")
        with pytest.raises(UserError, match=r"list.txt:2: .*dog/9.jpg does not exist \(1 of"):
            load_image_list(root / "list.txt", root)

    def test_an_unknown_class_is_named_with_its_line_and_a_suggestion(self, root):
        (root / "list.txt").write_text("Real_World/dog/1.jpg 0\n")
        with pytest.raises(UserError, match=r"list.txt:1: class 'dog'.*did you mean 'dogs'"):
            load_image_list(root / "list.txt", root, ["cat", "dogs"])

    def test_a_missing_list_says_where_it_was_looked_for(self, root):
        with pytest.raises(UserError, match="no_such.txt does not exist"):
            load_image_list(root / "no_such.txt", root)


class TestRegistration:
    def test_metadata_and_data(self, tmp_path, catalog):
        make_images(tmp_path, "cat/1.jpg", "dog/1.jpg")
        register_image_folder("tiny", tmp_path, ["dog", "cat"])
        metadata = MetadataCatalog.get("tiny")
        assert metadata.thing_classes == ["dog", "cat"]
        assert metadata.evaluator_type == "classification"
        assert labels(DatasetCatalog.get("tiny")) == {"dog/1.jpg": 0, "cat/1.jpg": 1}

    def test_classes_of_a_folder_or_list_are_known_once_it_was_read(self, tmp_path, catalog):
        make_images(tmp_path, "cat/1.jpg", "dog/1.jpg")
        (tmp_path / "list.txt").write_text("dog/1.jpg\ncat/1.jpg\n")
        register_image_folder("folder", tmp_path)
        register_image_list("list", tmp_path / "list.txt", tmp_path)
        assert agreed("folder", "list") == ("cat", "dog")
        assert MetadataCatalog.get("list").thing_classes == ["cat", "dog"]

    def test_again_changes_nothing_but_otherwise_the_name_is_taken(self, tmp_path, catalog):
        register_image_folder("tiny", tmp_path, ["a", "b"])
        register_image_folder("tiny", tmp_path, ("a", "b"))
        with pytest.raises(UserError, match="'tiny' is registered already"):
            register_image_folder("tiny", tmp_path, ["b", "a"])

    def test_errors_name_the_data_set(self, tmp_path, catalog):
        register_image_folder("tiny", tmp_path / "nowhere")
        with pytest.raises(UserError, match="data set 'tiny': .*nowhere does not exist"):
            DatasetCatalog.get("tiny")


class TestChecks:
    @pytest.fixture(autouse=True)
    def sets(self, catalog):
        register_image_folder("photo", "a", ["cat", "dog", "Alarm Clock"], domain="photo")
        register_image_folder("photo_test", "a", ["cat", "dog", "alarm_clock"], domain="photo")
        register_image_folder("sketch", "b", ["cat", "dog", "bed"])
        register_image_folder("reverse", "b", ["Alarm Clock", "dog", "cat"])

    def test_equal_classes_in_any_spelling_pass(self):
        assert agreed("photo", "photo_test") == ("cat", "dog", "Alarm Clock")

    def test_a_class_of_one_domain_only_is_named(self):
        with pytest.raises(UserError, match="'sketch' lacks Alarm Clock; 'photo' lacks bed"):
            agreed("photo", "sketch")

    def test_another_order_is_the_same_list_in_the_order_of_the_first(self):
        assert agreed("photo", "reverse") == ("cat", "dog", "Alarm Clock")

    def test_a_target_among_the_sources_is_found_under_another_split(self):
        check_held_out(["photo", "reverse"], ["sketch"])
        with pytest.raises(UserError, match="photo_test is among the sources, as photo"):
            check_held_out(["sketch", "photo"], ["photo_test"])


@pytest.fixture(scope="module")
def tiny_office(tmp_path_factory):
    benchmarks = ["office31", "office_home", "pacs", "visda"]
    return make_tiny_office(tmp_path_factory.mktemp("tiny"), per_class=1, benchmarks=benchmarks)


class TestBuiltin:
    @pytest.fixture(autouse=True)
    def below_root(self, tiny_office, monkeypatch, catalog):
        monkeypatch.setenv("DETECTRON2_DATASETS", str(tiny_office))
        builtin.register_builtin_classification()
        builtin.register_builtin_classification()

    @pytest.mark.parametrize(
        "name, classes",
        [
            *[(f"office31_{d}", builtin.OFFICE31_CLASSES) for d in builtin.OFFICE31_IMAGES],
            *[
                (f"office_home_{d}", builtin.OFFICE_HOME_CLASSES)
                for d in ("art", "clipart", "product", "real_world")
            ],
            *[(f"pacs_{d}", builtin.PACS_CLASSES) for d in builtin.PACS_IMAGES],
            *[(f"pacs_sketch_{s}", builtin.PACS_CLASSES) for s in ("train", "val", "test")],
            ("visda_train", builtin.VISDA_CLASSES),
            ("visda_validation", builtin.VISDA_CLASSES),
        ],
    )
    def test_every_benchmark_reads_with_its_own_classes(self, name, classes):
        dicts = DatasetCatalog.get(name)
        assert sorted(d["label"] for d in dicts) == list(range(len(classes)))
        for d in dicts:
            assert d["file_name"].split("/")[-2] == classes[d["label"]]

    def test_class_lists_are_complete(self):
        lists = (
            builtin.OFFICE31_CLASSES,
            builtin.OFFICE_HOME_CLASSES,
            builtin.PACS_CLASSES,
            builtin.VISDA_CLASSES,
        )
        assert [len(ClassIndex(names).names) for names in lists] == [31, 65, 7, 12]

    def test_domainnet_has_the_classes_of_all_its_lists(self, tmp_path, monkeypatch, caplog):
        # The official order: capitals do not count, "zebra" is only in a list of another domain.
        images = ["real/The_Wall/1.jpg", "real/teapot/1.jpg", "sketch/zebra/1.jpg"]
        make_images(tmp_path / "domainnet", *images)
        lists = tmp_path / "domainnet" / "image_list"
        lists.mkdir()
        (lists / "real_train.txt").write_text(f"{images[0]} 1\n{images[1]} 0\n")
        (lists / "sketch_test.txt").write_text(f"{images[2]} 2\n")
        monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
        names = agreed("domainnet_real_train", "domainnet_sketch_test")
        assert names == ("teapot", "The_Wall", "zebra")
        assert [d["label"] for d in DatasetCatalog.get("domainnet_real_train")] == [1, 0]
        assert "no image of class zebra" in caplog.text

    def test_splits_of_a_domain_are_one_domain(self):
        with pytest.raises(UserError, match="pacs_sketch_test is among the sources"):
            check_held_out(["pacs_photo", "pacs_sketch"], ["pacs_sketch_test"])

    def test_missing_data_name_the_path_and_the_miniature(self, tmp_path, monkeypatch):
        monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
        for name, path in [
            ("office31_dslr", "office31/dslr/images"),
            ("office_home_real_world", "office_home/Real_World"),
            ("domainnet_real_test", "domainnet/real"),
        ]:
            with pytest.raises(UserError) as error:
                DatasetCatalog.get(name)
            assert str(tmp_path / path) in str(error.value)
            assert "mini_digits/dann.yaml" in str(error.value)


@pytest.mark.parametrize("spelling", ["Real World", "RealWorld", "Real_World", "real_world"])
def test_domains_are_found_in_any_spelling(spelling, tmp_path, monkeypatch, catalog):
    make_tiny_office(tmp_path, per_class=1, benchmarks=["office_home"])
    (tmp_path / "office_home").rename(tmp_path / "OfficeHomeDataset_10072016")
    real = tmp_path / "OfficeHomeDataset_10072016"
    (real / "Real_World").rename(real / spelling)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    builtin.register_builtin_classification()
    assert len(DatasetCatalog.get("office_home_real_world")) == 65


def test_office31_is_found_without_the_folder_images(tmp_path, monkeypatch, catalog):
    make_tiny_office(tmp_path, per_class=1, benchmarks=["office31"])
    for image_folder in (tmp_path / "office31").glob("*/images"):
        for folder in image_folder.iterdir():
            folder.rename(image_folder.parent / folder.name)
        image_folder.rmdir()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    builtin.register_builtin_classification()
    assert len(DatasetCatalog.get("office31_webcam")) == 31
