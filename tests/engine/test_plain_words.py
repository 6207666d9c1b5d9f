"""Adaptation's numbers in the words of the log."""

from __future__ import annotations

import logging
import re

import pytest
from detectron2.utils.events import EventStorage

from metaalign_det.config import load_cfg
from metaalign_det.data import register_all
from metaalign_det.engine.plain_words import in_words
from metaalign_det.engine.printer import MetricPrinter, recent
from metaalign_det.engine.trainer import AdaptationTrainer
from tests.data.make_tiny_formats import coco_json, make_tiny_coco, save_image
from tests.tiny import tiny_cfg


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (0.48, 0.53, "local discriminator 50 % right: at chance"),
        (0.70, 0.80, "local discriminator 75 % right"),
        (0.30, 0.32, "local discriminator 31 % right: below chance"),
        (0.99, 0.97, "local discriminator 98 % right: it tells the domains apart"),
        (
            1.0,
            0.0,
            "local discriminator 50 % right: at chance, always the same answer",
        ),
    ],
)
def test_a_discriminator_is_judged_by_both_domains(source, target, words):
    assert in_words({"da/local_acc_source": source, "da/local_acc_target": target}) == [words]


def test_a_classifier_has_one_discriminator_and_maybe_more_than_two_domains():
    assert in_words({"da/acc_source": 0.5, "da/acc_target": 0.5}) == [
        "domain discriminator 50 % right: at chance"
    ]
    assert in_words({"da/acc_source": 0.02}) == ["domain discriminator 2 % right"]
    three = {f"da/acc_domain{d}": 0.36 for d in range(3)}
    assert in_words(three) == ["domain discriminator 36 % right: at chance"]


def test_the_two_gradients_agree_or_do_not():
    for cosine, words in ((0.2, "agree (cosine +0.20)"), (-0.2, "conflict (cosine -0.20)"),
                          (0.01, "go their own ways (cosine +0.01)")):  # fmt: skip
        said = [f"gradients of task and alignment {words}"]
        assert in_words({"lookahead/cosine/alignment/res3": cosine}) == said
        assert in_words({"projection/cosine/all": cosine}) == said


def test_alignment_that_reaches_nothing_is_said_once():
    numbers = {f"lookahead/{of}/alignment/res3": 0.0 for of in ("cosine", "step_ratio")}
    (said,) = in_words(numbers)
    assert said.startswith("task or alignment has no gradient in the backbone")


def test_the_look_ahead_has_a_length_and_an_effect():
    numbers = {
        "lookahead/step_ratio/alignment/res3": 0.001,
        "lookahead/step_ratio/alignment/res4": 0.002,
    }
    length = "alignment looks ahead by 0.2 % of the weights"
    assert in_words(numbers) == [length]
    numbers["lookahead/relative_change/alignment"] = 0.3
    assert in_words(numbers) == [f"{length}, which changes the gradient of the task by 30 %"]


def test_the_teacher_says_how_much_it_labels():
    numbers = {"teacher/images_with_labels": 0.75, "teacher/labels_per_image": 2.125}
    assert in_words(numbers) == ["teacher labels 75 % of the target images, 2.1 labels per image"]
    numbers |= {"teacher/least_odds": 0.4, "teacher/greatest_odds": 2.5}
    assert in_words(numbers)[0].endswith("2.1 labels per image, class odds times 0.4 to 2.5")


def test_without_adaptation_there_is_nothing_to_say():
    assert in_words({"total_loss": 1.0, "lr": 0.1}) == []


def test_what_is_older_than_the_window_is_not_said_again():
    with EventStorage(0) as storage:
        storage.put_scalar("lookahead/cosine/task/res3", 0.5)
        storage.iter = 30
        for value in (0.4, 0.6, float("nan")):
            storage.put_scalar("da/acc_source", value)
        assert recent(storage) == {"da/acc_source": pytest.approx(0.5)}


def test_the_words_stand_in_the_log_below_detectron2s_line(caplog):
    with EventStorage(0) as storage, caplog.at_level(logging.INFO):
        storage.put_scalars(**{"da/local_acc_source": 0.5, "da/local_acc_target": 0.5})
        printer = MetricPrinter(max_iter=40)
        printer.write()
        printer.write()
    ours = [r.getMessage() for r in caplog.records if r.name == "metaalign_det.engine.printer"]
    assert ours == ["local discriminator 50 % right: at chance"]  # once an iteration


def test_a_training_of_a_detector_and_of_a_classifier_says_it(
    tmp_path, monkeypatch, catalog, caplog
):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    make_tiny_coco(tmp_path / "photos", coco_json(4, ("cat", "dog")))
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"):
        save_image(tmp_path / "drawings" / name, (64, 96))
        save_image(tmp_path / "classes" / name, (64, 96))
    detector = tiny_cfg(
        "DATASETS.TRAIN", ("photos",), "DATASETS.TARGET", ("drawings",),
        "MODEL.ROI_HEADS.NUM_CLASSES", 2, "INPUT.MIN_SIZE_TRAIN", (64,), "METAALIGN.ENABLED", True,
    )  # fmt: skip
    detector.DATASETS.REGISTER = [
        {"NAME": "photos", "FORMAT": "coco", "ROOT": "photos/images",
         "JSON_FILE": "photos/instances.json"},
        {"NAME": "drawings", "FORMAT": "images", "ROOT": "drawings"},
    ]  # fmt: skip
    caplog.set_level(logging.INFO, "metaalign_det")
    train(detector, tmp_path / "detector")
    log = caplog.text
    assert re.search(r"local discriminator \d+ % right.*; global discriminator \d+ % right", log)
    assert "gradients of task and alignment " in log and "looks ahead by " in log

    classifier = load_cfg("mini_digits/dann.yaml", ["MODEL.CLASSIFIER.NUM_CLASSES", "2"])
    classifier.DATASETS.TRAIN, classifier.DATASETS.TARGET = ("classes",), ("drawings",)
    classifier.DATASETS.REGISTER = [
        {"NAME": "classes", "FORMAT": "folder", "ROOT": "classes"},
        detector.DATASETS.REGISTER[1],
    ]
    train(classifier, tmp_path / "digits")
    assert re.search(r"domain discriminator \d+ % right", caplog.text)


def train(cfg, folder):
    """Two steps."""
    cfg.MODEL.DEVICE, cfg.DATASETS.TEST, cfg.OUTPUT_DIR = "cpu", (), str(folder)
    cfg.SOLVER.IMS_PER_BATCH = cfg.SOLVER.IMS_PER_BATCH_TARGET = 2
    cfg.SOLVER.MAX_ITER, cfg.DATALOADER.NUM_WORKERS = 2, 0
    register_all(cfg)
    trainer = AdaptationTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
