"""One image that a model cannot use costs that image, not the results of the others."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from metaalign_det.explain.predict import Predictor
from metaalign_det.explain.predict_folder import PredictionFolder
from metaalign_det.explain.predict_inputs import InputFile, find_inputs
from metaalign_det.explain.predict_job import PredictJob
from tests.explain.checkpoints import classifier_cfg, detector_cfg, save_checkpoint, save_images


def predictor(folder, cfg=None):
    return Predictor.from_checkpoint(save_checkpoint(folder, cfg or detector_cfg()))


def job_of(models, tmp_path, **options):
    job = PredictJob(models, PredictionFolder(tmp_path / "out"), **options)
    job.run(find_inputs([str(tmp_path / "in")]))
    return job


@pytest.mark.parametrize("batch_size", [1, 2])
def test_an_image_too_long_to_be_resized_is_left_out_and_named(tmp_path, batch_size):
    files = save_images(tmp_path / "in")
    Image.new("RGB", (3000, 1)).save(tmp_path / "in" / "a.png")
    expected = predictor(tmp_path / "run")(files)
    job = job_of({"m": predictor(tmp_path / "run")}, tmp_path, batch_size=batch_size)
    assert [name for name, _ in job.results] == [f.name for f in files]
    for (_, found), alone in zip(job.results, expected, strict=True):
        torch.testing.assert_close(found.scores, alone.scores)
    assert list(job.unreadable) == ["a.png"]
    assert "image a.png, 3000x1 pixels: resized, its shorter side has 0" in job.unreadable["a.png"]
    assert job.example.shape[:2] == (60, 90), "an export's example is one that the model takes"


def test_an_image_that_the_model_compared_with_cannot_use_is_left_out_too(tmp_path):
    save_images(tmp_path / "in")
    Image.new("RGB", (300, 1)).save(tmp_path / "in" / "a.png")
    other = detector_cfg()
    other.INPUT.MAX_SIZE_TEST = 4096
    models = {"this": predictor(tmp_path / "one"), "last": predictor(tmp_path / "two", other)}
    models["last"].prepare(tmp_path / "in" / "a.png")
    job = job_of(models, tmp_path)
    assert len(job.results) == 3 and list(job.unreadable) == ["a.png"]


def test_an_image_so_narrow_that_the_backbone_has_nothing_left_is_left_out(tmp_path):
    save_images(tmp_path / "in")
    Image.new("RGB", (300, 12)).save(tmp_path / "in" / "a.png")
    model = predictor(tmp_path / "run")
    forward = model.model.forward

    def pooled(inputs):  # as VGG-16 does, which halves four times and does not pad
        for item in inputs:
            torch.nn.functional.max_pool2d(item["image"], 16)
        return forward(inputs)

    model.model.forward = pooled
    job = job_of({"m": model}, tmp_path)
    assert len(job.results) == 3
    assert "image a.png, 300x12 pixels: resized to 128x5, it is too" in job.unreadable["a.png"]


def test_an_image_smaller_than_a_classifiers_crop_is_named(tmp_path):
    save_images(tmp_path / "in", sizes=[(40, 30), (9, 30)])
    cfg = classifier_cfg()
    cfg.INPUT.CLASSIFICATION.RESIZE = 0
    job = job_of({"m": predictor(tmp_path / "run", cfg)}, tmp_path)
    assert len(job.results) == 1
    assert job.unreadable["image 1.png"].startswith("image image 1.png, 9x30 pixels: ")


def test_an_image_too_small_for_a_classifiers_poolings_is_left_out(tmp_path):
    save_images(tmp_path / "in", sizes=[(40, 30), (3, 30)])
    cfg = classifier_cfg()
    cfg.INPUT.CLASSIFICATION.RESIZE = cfg.INPUT.CLASSIFICATION.CROP = 0
    job = job_of({"m": predictor(tmp_path / "run", cfg)}, tmp_path)
    assert len(job.results) == 1
    assert "image image 1.png, 3x30 pixels: it is too small" in job.unreadable["image 1.png"]


def test_pictures_that_get_a_suffix_do_not_overwrite_others(tmp_path):
    for name in ("a.bmp", "a.bmp.png"):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.new("RGB", (90, 60)).save(tmp_path / "in" / name)
    job_of({"m": predictor(tmp_path / "run")}, tmp_path)
    drawn = sorted(p.name for p in (tmp_path / "out" / "pictures").iterdir())
    assert drawn == ["a.bmp.png", "a.bmp.png.png"]


def test_a_name_that_leads_out_of_the_output_folder_is_refused(tmp_path):
    (file,) = save_images(tmp_path / "in", sizes=[(90, 60)])
    job = PredictJob({"m": predictor(tmp_path / "run")}, PredictionFolder(tmp_path / "out"))
    with pytest.raises(ValueError, match="/../../in/image 0.png' is no name below"):
        job.run([InputFile(file, "../../in/image 0.png")])
