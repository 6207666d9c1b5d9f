"""Benchmarks, and the runs that a sweep of them has."""

from __future__ import annotations

import argparse

import pytest
from detectron2.data import DatasetCatalog

import metaalign_det.data  # noqa: F401  (registers)
from metaalign_det.cli import sweep
from metaalign_det.config import load_cfg
from metaalign_det.errors import UserError
from metaalign_det.sweeps.suites import BENCHMARKS, get_benchmark
from tests.sweeps.fake_training import CONFIG, plan


def test_columns_are_in_the_usual_order():
    def labels(name):
        return [c.label for c in BENCHMARKS[name].columns]

    assert labels("office31") == ["A→W", "D→W", "W→D", "A→D", "D→A", "W→A"]
    assert labels("office_home") == [
        *("Ar→Cl", "Ar→Pr", "Ar→Rw", "Cl→Ar", "Cl→Pr", "Cl→Rw"),
        *("Pr→Ar", "Pr→Cl", "Pr→Rw", "Rw→Ar", "Rw→Cl", "Rw→Pr"),
    ]
    assert labels("pacs") == ["Art", "Cartoon", "Sketch", "Photo"]


def test_every_benchmark_names_registered_data_and_its_own_tasks():
    registered = set(DatasetCatalog.list())
    for benchmark in BENCHMARKS.values():
        for task in benchmark.tasks:
            assert {*task.train, *task.target, *task.test} <= registered
        tests = {t.label: t.test for t in benchmark.tasks}
        scored = [*benchmark.columns, *benchmark.columns_to_choose_by()]
        assert all(c.dataset in tests[c.task] for c in scored)
        assert benchmark.validation in {"", *(c.label for c in benchmark.columns)}
        assert len({t.slug for t in benchmark.tasks}) == len(benchmark.tasks)


def test_pairs_of_the_embedded_sets_are_all_there_and_chosen_on_no_test():
    for name, pairs in (("icons", 12), ("digits", 6)):
        benchmark = get_benchmark(name)
        assert len(benchmark.tasks) == len(benchmark.columns) == pairs
        for task in benchmark.tasks:
            assert all(n.endswith("_train") for n in (*task.train, *task.target))
        assert {c.dataset.rpartition("_")[2] for c in benchmark.columns} == {"test"}
        assert {c.dataset.rpartition("_")[2] for c in benchmark.columns_to_choose_by()} == {"val"}


def test_pacs_trains_on_all_but_the_test_domain():
    for task in BENCHMARKS["pacs"].tasks:
        assert len(task.train) == 3
        assert set(task.test).isdisjoint(task.train)


def test_some_tasks_of_a_benchmark_have_no_average():
    some = get_benchmark("office31").restrict(["w->A", "A→W"])
    assert [c.label for c in some.columns] == ["A→W", "W→A"]
    assert not some.average
    with pytest.raises(UserError, match="no task 'A→B'; it has: A→W, D→W"):
        get_benchmark("office31").restrict(["A→B"])
    with pytest.raises(UserError, match="'office' is none of office31"):
        get_benchmark("office")


def test_every_pair_of_every_method_and_seed_is_a_run_with_its_own_folder(place):
    runs = plan(place, "office31", ("dann", "cdan"), (0, 1))
    assert len(runs) == len({r.folder for r in runs}) == 2 * 6 * 2
    assert [r.seed for r in runs] == [0] * 12 + [1] * 12
    run = runs[2]
    assert (run.method, run.task.label) == ("dann", "W→D")
    args = [a for a in run.arguments() if a != "--overwrite"]
    pairs = dict(zip(args[::2], args[1::2]))
    assert pairs["DATASETS.TRAIN"] == "('office31_webcam',)"
    assert pairs["DATASETS.TARGET"] == pairs["DATASETS.TEST"] == "('office31_dslr',)"
    assert pairs["OUTPUT_DIR"] == str(run.folder)


def test_a_method_without_target_images_gets_none(place):
    (place / "source.yaml").write_text(CONFIG.replace('("office31_webcam",)', "()"))
    (run, *_) = plan(place, "office31", ("source",))
    assert "DATASETS.TRAIN" in run.overrides
    assert "DATASETS.TARGET" not in run.overrides


@pytest.mark.parametrize("benchmark", ["icons", "digits"])
def test_an_oracle_is_trained_on_each_pairs_target(benchmark):
    task = get_benchmark(benchmark).tasks[1]
    found = {}
    for method in ("oracle", "source", "dann"):
        pairs = task.overrides(load_cfg(f"{benchmark}/{method}.yaml"))
        found[method] = dict(zip(pairs[::2], pairs[1::2]))
    assert found["oracle"]["DATASETS.TRAIN"] == repr(task.target)
    assert found["source"]["DATASETS.TRAIN"] == found["dann"]["DATASETS.TRAIN"] == repr(task.train)
    assert "DATASETS.TARGET" not in found["oracle"]


def test_only_what_changes_the_result_makes_another_run(place):
    (before,) = plan(place)
    same = ["SOLVER.CHECKPOINT_PERIOD", "1", "SOLVER.MOMENTUM", "0.9", "SOLVER.BASE_LR", "0.5"]
    same += ["SOLVER.CHECKPOINT_KEEP", "2", "SOLVER.CHECKPOINT_SAFETENSORS", "True"]
    same += ["LOGGING.WANDB.ENABLED", "True", "LOGGING.MLFLOW.NAME", "x", "VIS.TARGET_IMAGES", "4"]
    same += ["METAALIGN.TELEMETRY_PERIOD", "7", "DATALOADER.NUM_WORKERS", "1"]
    assert plan(place, overrides=same)[0].folder == before.folder
    assert plan(place, overrides=["SOLVER.MOMENTUM", "0.8"])[0].folder != before.folder
    (place / "dann.yaml").write_text("# said otherwise\n" + CONFIG)
    assert plan(place)[0].folder == before.folder
    (place / "dann.yaml").write_text(CONFIG.replace("0.5", "0.25"))
    assert plan(place)[0].folder != before.folder


@pytest.mark.parametrize(
    "pairs",
    [
        ("MODEL.WEIGHTS", "x.pth"),
        ("MODEL.DEVICE", "cuda"),
        ("INPUT.MIN_SIZE_TEST", "9"),
        ("TEST.ADAPTIVE_BN", "2"),
        ("TEST.EVAL_PERIOD", "2"),
        # It stands in the configs of the embedded sets, whose results are on disks.
        ("INPUT.CLASSIFICATION.CACHE_MB", "64"),
    ],
)
def test_what_a_checkpoint_may_be_continued_with_can_be_another_result(place, pairs):
    (before,) = plan(place)
    assert plan(place, overrides=pairs)[0].folder != before.folder


def test_an_update_renames_no_folder(place):
    """Otherwise whatever was trained before it would be trained again."""
    assert plan(place)[0].identity == "00e8c69c4c"


def test_a_config_written_for_one_process_is_the_same_run(place):
    (before,) = plan(place)
    (now,) = plan(place, overrides=["SOLVER.REFERENCE_WORLD_SIZE", "1"])
    assert now.folder == before.folder


def test_a_run_is_what_its_number_of_processes_makes_of_the_config(place):
    written_for_two = ["SOLVER.REFERENCE_WORLD_SIZE", "2", "SOLVER.MAX_ITER", "30"]
    batch = ["SOLVER.IMS_PER_BATCH", "4", "SOLVER.IMS_PER_BATCH_TARGET", "4"]
    (one,) = plan(place, overrides=[*written_for_two, *batch])
    (two,) = plan(place, overrides=[*written_for_two, *batch], processes=2)
    assert (one.max_iter, two.max_iter) == (60, 30)
    assert one.folder != two.folder


def test_a_pattern_of_config_files_may_match_their_base(place):
    assert [r.method for r in plan(place, methods=("Base", "dann"))] == ["dann"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overrides": ["SOLVER.NONE", "1"]}, "there is no key SOLVER.NONE"),
        ({"overrides": ["SEED", "1"]}, "SEED cannot be overridden"),
        ({"methods": ("nothing",)}, "there is no config file"),
        ({"methods": ("Base",)}, "no method is left"),
        ({"methods": ("dann", "dann")}, "two rows of the name 'dann'"),
        ({"seeds": (1, 1)}, "--seeds"),
        ({"variants": {"mmd": {"a": ()}}}, "mmd is no method of this sweep"),
        ({"variants": {"*_meta": {"a": ()}}}, r"\*_meta is no method of this sweep"),
        ({"variants": {"dann": {"a": ()}, "d*": {"a": ()}}}, "dann has a twice"),
    ],
)
def test_mistakes_are_found_before_anything_runs(place, options, message):
    with pytest.raises(UserError, match=message):
        plan(place, **options)


def test_a_run_on_a_cluster_has_a_process_for_each_of_its_graphics_cards():
    parser = argparse.ArgumentParser()
    sweep.add_arguments(parser)
    words = [
        "--output",
        "x",
        "--configs",
        "a.yaml",
        "--launcher",
        "slurm",
        "--slurm",
        "time=1:00:00",
    ]
    assert sweep._processes(parser.parse_args(words)) == 1
    assert sweep._processes(parser.parse_args([*words, "gpus=4"])) == 4
