from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes

from metaalign_det.data import register_image_folder
from metaalign_det.errors import UserError
from metaalign_det.explain import feature_pictures
from metaalign_det.explain.feature_pictures import draw_embedding
from metaalign_det.explain.features import Features, balanced, extract_features
from metaalign_det.explain.runs import open_runs
from metaalign_det.explain.samples import default_sets, in_batches, read_samples
from tests.explain.checkpoints import classifier_cfg, save_images
from tests.explain.toys import register_own


@pytest.fixture
def run(run_folders, datasets):
    return open_runs([str(run_folders)])[1]


def both(run, count=3):
    sets = ("voc6_2007_test", "watercolor_test")
    return [read_samples(run.cfg, name, count, 0, d) for d, name in enumerate(sets)]


def test_there_is_one_feature_an_image_and_one_a_ground_truth_object(run):
    samples = both(run)
    found = extract_features(run, samples)
    images, objects = found["image"], found["object"]
    assert images.x.shape == (6, 32)
    assert images.domains.tolist() == [0, 0, 0, 1, 1, 1]
    assert set(images.classes.tolist()) == {-1}
    expected = [c for of_domain in samples for s in of_domain for c in s.classes]
    assert objects.classes.tolist() == expected
    assert len(objects.x) == len(expected)
    assert images.images.tolist() == list(range(6))
    counts = [len(s.boxes) for of_domain in samples for s in of_domain]
    assert objects.images.tolist() == np.repeat(range(6), counts).tolist()


def test_features_of_a_model_that_has_diverged_are_refused(run, monkeypatch):
    model = run.model()
    with torch.no_grad():
        next(model.backbone.parameters()).fill_(float("nan"))
    monkeypatch.setattr(type(run), "model", lambda self, checkpoint=None: model)
    with pytest.raises(UserError, match=f"{run.label}: features of .* are NaN or infinite"):
        extract_features(run, both(run, 1))


def test_object_features_are_what_the_box_predictor_reads(run):
    sample = both(run)[1][0]
    model = run.model()
    seen = []
    model.roi_heads.box_predictor.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    found = extract_features(run, [[sample], [sample]])["object"]
    with torch.no_grad():
        maps = model.backbone(model.preprocess_image([sample.input]).tensor)
        boxes = Boxes(torch.as_tensor(sample.boxes, dtype=torch.float32))
        expected = model.roi_heads.roi_features(maps, [boxes])
    assert np.allclose(found.x[: len(expected)], expected.numpy(), atol=1e-6)


def test_boxes_are_in_pixels_of_the_networks_input(run):
    for sample in both(run)[1]:
        height, width = sample.size
        assert min(height, width) == 64
        assert (sample.boxes[:, 2] <= width + 1).all()
        assert sample.boxes[:, 2].max() > 0.2 * width


def test_a_draw_is_the_same_for_the_same_seed_and_keeps_the_order(run):
    draws = [read_samples(run.cfg, "watercolor_test", 4, seed) for seed in (1, 1, 2)]
    names = [[s.file_name for s in draw] for draw in draws]
    assert names[0] == names[1] == sorted(names[0])
    assert names[0] != names[2]


def test_what_a_mac_adds_to_a_folder_is_no_image(run, datasets, tmp_path):
    image = next((datasets / "watercolor" / "JPEGImages").iterdir())
    shutil.copy(image, tmp_path / image.name)
    (tmp_path / f"._{image.name}").write_bytes(b"resource fork")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / image.name).write_bytes(b"resource fork")
    assert len(read_samples(run.cfg, str(tmp_path), 5)) == 1


def test_a_folder_of_images_has_no_boxes(run, datasets):
    folder = datasets / "watercolor" / "JPEGImages"
    found = read_samples(run.cfg, str(folder), 2)
    assert len(found) == 2
    assert found[0].boxes is None
    assert found[0].input["image"].shape[0] == 3


def test_where_a_domain_has_no_boxes_there_are_no_features_of_objects(run, datasets):
    folder = str(datasets / "watercolor" / "JPEGImages")
    samples = [
        read_samples(run.cfg, where, 3, 0, domain)
        for domain, where in enumerate(("voc6_2007_test", folder))
    ]
    found = extract_features(run, samples)
    assert set(found) == {"image"} and len(found["image"].x) == 6


def test_examples_of_unknown_class_have_a_color_of_their_own(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(feature_pictures, "save", lambda figure, path: drawn.append(figure))
    classes = np.array([0, 9, 9, -1, -1])
    features = Features(np.zeros((5, 2)), np.array([0, 0, 0, 1, 1]), classes, np.arange(5))
    points = {"run": np.arange(10.0).reshape(5, 2)}
    draw_embedding(tmp_path / "x.png", points, {"run": features}, (), "title")
    by_class = drawn[0].axes[1]
    source, target = (c.get_facecolor()[:, :3] for c in by_class.collections[:2])
    assert len(np.unique(source, axis=0)) == 2
    assert not any(np.allclose(a, b) for a in source for b in target)
    assert "unknown" in [t.get_text() for t in by_class.get_legend().get_texts()]


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_a_gray_input_is_a_picture_in_three_channels(run):
    cfg = run.cfg.clone()
    cfg.defrost()
    cfg.INPUT.FORMAT = "L"
    (sample,) = read_samples(cfg, "watercolor_test", 1)
    assert sample.rgb(cfg).shape == (*sample.size, 3)


@pytest.mark.parametrize(
    ("where", "message"),
    [("watercolour_test", "Did you mean watercolor_test"), ("{empty}", "no image")],
)
def test_data_that_are_not_there_are_the_users_to_fix(run, where, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read_samples(run.cfg, where.format(empty=tmp_path))


def test_batches_hold_one_image_size(run):
    samples = [s for domain in both(run, 6) for s in domain]
    batches = list(in_batches(samples, 4))
    assert [s for b in batches for s in b] == samples
    assert all(len({s.size for s in b}) == 1 and len(b) <= 4 for b in batches)


def test_default_sets_are_those_named_like_source_and_target(run):
    assert default_sets([run.cfg]) == ("voc6_2007_test", "watercolor_test")
    cfg = run.cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TEST = ("watercolor_test",)
    assert default_sets([cfg]) == ("voc6_2007_trainval", "watercolor_test")
    cfg.DATASETS.TEST = ()
    with pytest.raises(UserError, match=r"DATASETS\.TEST"):
        default_sets([cfg])


@pytest.mark.parametrize(
    ("train", "target", "tests", "expected"),
    [
        (["photos_train"], ["photos_night_train"], ["photos_night_val", "photos_val"],
         ("photos_val", "photos_night_val")),
        (["photos_night_train"], ["photos_train"], ["photos_night_val", "photos_val"],
         ("photos_night_val", "photos_val")),
        (["visda_train"], ["visda_validation"], ["visda_validation"],
         ("visda_train", "visda_validation")),
        (["a_train"], ["b_train"], ["b_val", "b_test", "a_val", "a_test"], ("a_test", "b_test")),
        (["a_train"], [], ["a_test", "b_test"], ("a_test", "b_test")),
        (["a_train"], [], ["a_test"], ("a_train", "a_test")),
        (["a_train"], ["b_train"], ["a_test"], ("a_train", "a_test")),
    ],
)  # fmt: skip
def test_default_sets_are_those_of_a_report(run, train, target, tests, expected):
    cfg = run.cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TARGET, cfg.DATASETS.TEST = train, target, tests
    assert default_sets([cfg]) == expected


def test_a_classifier_of_a_name_of_its_own_looks_at_classified_images(
    tmp_path, catalog, monkeypatch
):
    register_own(monkeypatch)
    cfg = classifier_cfg()
    cfg.MODEL.META_ARCHITECTURE = "OwnClassifier"
    for name in ("cat", "dog"):
        save_images(tmp_path / name)
    register_image_folder("own_photos", str(tmp_path))
    cfg.DATASETS.TRAIN = ("own_photos",)
    assert [s.classes.tolist() for s in read_samples(cfg, "own_photos")] == [[0]] * 3 + [[1]] * 3


def test_balanced_takes_equally_many_of_both_domains():
    domains = np.array([0] * 30 + [1] * 20)
    features = Features(np.arange(50.0)[:, None], domains, np.full(50, -1), np.arange(50))
    found = balanced(features, 15, np.random.default_rng(0))
    assert np.bincount(found.domains).tolist() == [15, 15]
    with pytest.raises(UserError, match="5 examples of the target are .*--images.* by --target"):
        balanced(features.subset(np.arange(35)), 15, np.random.default_rng(0))


@pytest.mark.parametrize(("images", "words"), [(1, "1 image are"), (4, "4 images are")])
def test_objects_of_fewer_images_than_folds_are_too_few(images, words):
    domains = np.repeat([0, 1], 40)
    of_image = np.concatenate([np.arange(40) % 20, 20 + np.arange(40) % images])
    features = Features(np.zeros((80, 2)), domains, np.zeros(80, dtype=int), of_image)
    with pytest.raises(UserError, match=f"{words} too few.*--images"):
        balanced(features, 40, np.random.default_rng(0))
