"""The whole report, from folders to three files."""

from __future__ import annotations

import json
import re
import shutil
import time

import pytest
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog

from metaalign_det.errors import UserError
from metaalign_det.evaluation.label_free.outcome import Candidate, Chosen, Outcome
from metaalign_det.reports.run_report import write_report

from .make_runs import (
    CLASSES,
    SOURCE,
    TARGET,
    register_tiny,
    texts,
    write_classifier,
    write_detector,
)


def test_the_summary_says_which_is_better_by_how_much_and_whether_beyond_noise(runs, tmp_path):
    html, markdown, numbers = texts(write_report(runs, tmp_path / "new" / "report.html"))
    sentence = "after is better on the target (tiny_ink_test) than before by 11.0 points"
    assert sentence in html
    assert sentence in markdown
    assert "beyond noise" in markdown
    (difference,) = numbers["summary"]["differences"]
    assert difference["by_seed"] == {"0": 10.0, "1": 11.0, "2": 12.0}
    # t_{0.975, 2} = 4.302653, sd 1, over sqrt(3).
    assert difference["low"] == pytest.approx(11 - 4.302653 / 3**0.5, abs=1e-5)
    assert difference["beyond_noise"] is True
    assert difference["p_sign"] == pytest.approx(0.25)
    assert difference["interval_over"] == "seeds"
    assert difference["low_over_images"] <= difference["high_over_images"]


def test_errors_samples_and_roles_are_told(runs, tmp_path):
    html, markdown, numbers = texts(write_report(runs, tmp_path / "report.html"))
    # In one of four images a cat is called dog: nothing else is wrong with "after".
    assert numbers["errors"]["after"]["classification"]["count"] == [1, 1, 1]
    assert "mostly wrong class names" in markdown
    images = numbers["samples"]["images"]
    assert {i["image"] for i in images} == {"im1", "im2"}
    assert {(i["mistakes_before"], i["mistakes_after"]) for i in images} == {(3, 0)}
    assert html.count("data:image/jpeg;base64,") == len(images)
    assert numbers["checkpoints"]["roles"]["after"]["teacher"]["0"] == 53.0
    assert "| after     | 51.0 ± 1.0 | 53.0 ± 0.0 |" in markdown
    assert numbers["confusion"]["after"]["matrix"] == [[9, 3, 0], [0, 9, 3], [0, 0, 0]]


def test_every_part_of_a_whole_report_is_there(runs, tmp_path):
    html, _, _ = texts(write_report(runs, tmp_path / "report.html"))
    found = re.findall(r'<section id="(\w+)"', html)
    assert found == [
        "summary", "results", "settings", "samples", "errors", "classes", "checkpoints", "curves",
        "coordination", "discriminators", "calibration", "confusion", "cost",
    ]  # fmt: skip
    assert "chance" in html


def test_the_file_needs_no_network_and_is_the_same_when_written_again(runs, tmp_path):
    path = write_report(runs, tmp_path / "report.html")
    html = path.read_text()
    assert not re.search(r"(src|href)=\"(https?:)?//|url\(|@import|<script", html)
    assert write_report(runs, tmp_path / "again.html").read_text() == html
    assert write_report(runs, path).read_text() == html  # an earlier report is replaced


def test_five_runs_take_less_than_ten_seconds(runs, tmp_path):
    started = time.process_time()
    write_report(runs, tmp_path / "report.html")
    assert time.process_time() - started < 10


def test_one_seed_says_that_only_the_test_set_is_known(runs, tmp_path):
    one = {label: folder / "seed0" for label, folder in runs.items()}
    _, markdown, numbers = texts(write_report(one, tmp_path / "report.html"))
    assert "with one seed, 95 % interval over test images" in markdown
    (difference,) = numbers["summary"]["differences"]
    assert difference["interval_over"] == "images"
    assert difference["low"] < difference["high"]


def test_without_a_common_seed_nothing_is_compared(runs, tmp_path):
    apart = {"before": runs["before"] / "seed0", "after": runs["after"] / "seed1"}
    _, markdown, _ = texts(write_report(apart, tmp_path / "report.html"))
    assert "they share no seed, so they are not compared" in markdown


def test_one_run_alone_is_described(runs, tmp_path):
    _, markdown, _ = texts(write_report([runs["before"] / "seed0"], tmp_path / "report.html"))
    assert "There is nothing to compare it with" in markdown
    assert "The error that is left" in markdown


def test_a_baseline_that_is_not_beaten_is_named(runs, tmp_path):
    more = {**runs, "again": runs["before"] / "seed0"}
    write_detector(tmp_path / "worse", 0, 30.0, adapts=True, config={"SOLVER": {"MAX_ITER": 100}})
    more["worse"] = tmp_path / "worse"
    del more["again"]
    path = write_report(more, tmp_path / "report.html", baseline="after")
    assert "No setting beats after. The nearest: before is worse" in path.read_text()


def test_without_the_images_the_numbers_are_there_and_the_report_says_why(tmp_path, catalog):
    runs = {}
    for label, score in (("before", 40.0), ("after", 50.0)):
        runs[label] = write_detector(tmp_path / label, 0, score, adapts=label == "after")
    html, markdown, numbers = texts(write_report(runs, tmp_path / "report.html"))
    assert "by 10.0 points" in markdown
    assert f"The images of {TARGET} are not here" in markdown
    assert "the noise is not known" in markdown
    assert "errors" not in numbers


def test_checkpoints_of_a_selection_stand_apart(runs, tmp_path):
    for seed in range(3):
        chosen = {
            name: Chosen(
                f"model_{name}.pth",
                Candidate(3, {"fis": 0.5}, {TARGET: {"voc/AP50_11pt": score + seed}}),
            )
            for name, score in (("last", 50.0), ("selected", 49.0), ("oracle", 55.0))
        }
        Outcome("fis", True, **chosen).write(runs["after"] / f"seed{seed}")
    _, markdown, numbers = texts(write_report(runs, tmp_path / "report.html"))
    assert "| after     | 51.0 ± 1.0 | 50.0 ± 1.0 | 56.0 ± 1.0 |" in markdown
    assert "chosen by fis, without target labels" in markdown
    assert numbers["checkpoints"]["checkpoints"]["after"]["oracle"]["2"] == 57.0


def test_classifiers_have_confusions_and_calibration(tmp_path, catalog):
    for seed in (0, 1):
        write_classifier(tmp_path / "a" / f"seed{seed}", seed, 4)
        write_classifier(tmp_path / "b" / f"seed{seed}", seed, 8 + seed)
    runs = {"before": tmp_path / "a", "after": tmp_path / "b"}
    _, markdown, numbers = texts(write_report(runs, tmp_path / "report.html"))
    assert numbers["summary"]["metric"] == "classification/accuracy"
    assert "cat is taken for dog" in markdown
    assert numbers["confusion"]["after"]["matrix"] == [[17, 3], [0, 0]]
    ece = numbers["calibration"]["after"]["figures_test"]["ece"]
    assert ece == pytest.approx([0.0, 0.1])
    assert "IoU" not in markdown


def test_a_detector_that_finds_nothing_has_missed_everything(runs, tmp_path):
    for dataset in (TARGET, SOURCE):
        for seed in range(3):
            folder = runs["before"] / f"seed{seed}" / "inference" / dataset
            (folder / f"detections_{dataset}.json").write_text("[]")
    _, markdown, numbers = texts(write_report(runs, tmp_path / "report.html"))
    assert "No predictions" not in markdown
    errors = numbers["errors"]["before"]
    assert errors["missed"]["count"] == [8, 8, 8] and errors["missed"]["cost"] == [100.0] * 3
    assert errors["background"]["count"] == [0, 0, 0]
    assert numbers["confusion"]["before"]["matrix"] == [[0, 0, 12], [0, 0, 12], [0, 0, 0]]
    assert numbers["calibration"]["before"][TARGET]["answers"] == [0, 0, 0]
    # Of the collapsed run alone, too.
    _, markdown, _ = texts(write_report([runs["before"]], tmp_path / "alone.html"))
    assert "mostly missed objects" in markdown


def test_a_detector_without_saved_detections_is_named(runs, tmp_path):
    for file in runs["before"].rglob("detections_*.json"):
        file.unlink()
    _, markdown, numbers = texts(write_report(runs, tmp_path / "report.html"))
    assert f"No predictions on {TARGET} were saved by before." in markdown
    assert list(numbers["errors"]) == ["after"]


def test_a_run_without_any_evaluation_is_refused(tmp_path):
    folder = write_detector(tmp_path / "run", 0, 40.0, adapts=False)
    (folder / "metrics.json").write_text('{"iteration": 19, "lr": 0.1}\n')
    with pytest.raises(UserError, match="no run has been evaluated"):
        write_report([folder], tmp_path / "report.html")


def test_a_detector_without_errors_is_not_told_to_have_some(tmp_path, catalog):
    register_tiny(tmp_path / "data")
    run = write_detector(tmp_path / "run", 0, 100.0, adapts=True, found=4)
    _, markdown, _ = texts(write_report([run], tmp_path / "report.html"))
    assert "No kind of error costs run any AP50_11pt on tiny_ink_test" in markdown
    assert "mostly" not in markdown


def test_scores_that_are_not_those_of_the_end_are_told(runs, tmp_path):
    metrics = runs["before"] / "seed1" / "metrics.json"
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join(lines[:-1]) + "\n")  # ended in its last evaluation
    _, markdown, _ = texts(write_report(runs, tmp_path / "report.html"))
    said = "before, seed 1: the evaluation at its end is missing; its scores are those of iteration"
    assert f"{said} 50." in markdown
    assert markdown.count("the evaluation at its end is missing") == 1


def test_bars_in_a_label_do_not_break_tables(runs, tmp_path):
    labels = {f"run|{label}": folder for label, folder in runs.items()}
    _, markdown, _ = texts(write_report(labels, tmp_path / "report.html"))
    assert "run\\|after: cost" in markdown
    assert not re.search(r"^\|.*run\|", markdown, re.MULTILINE)


def test_a_classifier_that_has_diverged_is_reported(tmp_path, catalog):
    register_tiny(tmp_path / "data")
    for label, right, score in (("before", 8, 0.8), ("after", 2, None)):
        folder = write_classifier(tmp_path / label, 0, right)
        file = folder / "inference" / "figures_test" / "predictions_figures_test.json"
        answers = [{**a, "score": score} for a in json.loads(file.read_text())]
        file.write_text(json.dumps(answers))
    image = str(tmp_path / "data" / "image.png")
    dicts = [{"file_name": image, "image_id": i, "label": 0} for i in range(10)]
    DatasetCatalog.register("figures_test", lambda: dicts)
    kind = {"evaluator_type": "classification"}
    MetadataCatalog.get("figures_test").set(thing_classes=CLASSES, **kind)
    runs = {"before": tmp_path / "before", "after": tmp_path / "after"}
    _, markdown, numbers = texts(write_report(runs, tmp_path / "report.html"))
    assert "after says dog (nan%), wrong" in markdown
    assert numbers["calibration"]["after"]["figures_test"]["answers"] == [0]


def test_a_setting_that_is_better_on_the_common_seeds_is_not_called_beaten(runs, tmp_path):
    for seed, score in enumerate((35.0, 45.0, 55.0)):
        write_detector(tmp_path / "base" / f"seed{seed}", seed, score, adapts=False)
    again = {"SOLVER": {"MAX_ITER": 100, "BASE_LR": 0.2}}
    write_detector(tmp_path / "poor", 2, 44.0, adapts=True, config=again)
    write_detector(tmp_path / "good", 0, 39.0, adapts=True)
    given = {name: tmp_path / name for name in ("base", "poor", "good")}
    _, markdown, _ = texts(write_report(given, tmp_path / "report.html"))
    assert "good is better on the target (tiny_ink_test) than base by 4.0 points" in markdown
    assert "No setting beats" not in markdown


def test_scores_that_are_missing_are_not_taken_for_seeds_that_differ(runs, tmp_path):
    write_detector(tmp_path / "nan", 0, float("nan"), adapts=True)
    given = {"before": runs["before"], "after": tmp_path / "nan"}
    _, markdown, _ = texts(write_report(given, tmp_path / "report.html"))
    assert "after reaches – % on tiny_ink_test" in markdown
    assert "no seed has a score of both, so they are not compared" in markdown


def test_images_are_found_by_a_run_that_was_tested_on_them(runs, tmp_path):
    folder = runs["before"] / "seed0"
    shutil.rmtree(folder / "inference")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["DATASETS"] |= {"TEST": [SOURCE], "REGISTER": ["gone=/nowhere"]}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    given = {"before": folder, "after": runs["after"]}
    _, markdown, numbers = texts(write_report(given, tmp_path / "report.html"))
    assert f"The images of {TARGET} are not here" not in markdown
    assert list(numbers["errors"]) == ["after"]


def test_a_run_that_was_stopped_before_any_evaluation_is_not_told_to_have_scores(runs, tmp_path):
    metrics = runs["after"] / "seed2" / "metrics.json"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:2]))
    _, markdown, _ = texts(write_report(runs, tmp_path / "report.html"))
    assert "after, seed 2: stopped at iteration 40 of 100; it has no scores." in markdown


def test_a_test_set_that_is_not_the_same_in_all_runs_is_told(runs, tmp_path):
    """Other files under the same name, and classes that only one setting was scored on."""
    for folder in runs["after"].iterdir():
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["DATASETS"]["REGISTER"] = [{"NAME": TARGET, "FORMAT": "coco", "ROOT": "elsewhere"}]
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        metrics = folder / "metrics.json"
        metrics.write_text(metrics.read_text().replace(f"{TARGET}/voc/AP50_11pt/dog", "other"))
    _, markdown, _ = texts(write_report(runs, tmp_path / "report.html"))
    assert f"{TARGET} in DATASETS.REGISTER is not the same for after as for before" in markdown
    assert "(numbers of classes: before 2 and after 1)" in markdown
    assert f"{SOURCE} in DATASETS.REGISTER" not in markdown
    assert markdown.count("on the same classes") == 1
