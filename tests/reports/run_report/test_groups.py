"""What belongs together, what differs, and which test set is which."""

from __future__ import annotations

import pytest

from metaalign_det.errors import UserError
from metaalign_det.reports.run_report.domains import choose_dataset, domain_of
from metaalign_det.reports.run_report.groups import config_differences, group_runs, put_first
from metaalign_det.reports.run_report.run_files import find_runs

from .make_runs import write_detector


def groups_of(*folders, labels=()):
    given = list(zip(labels, folders)) if labels else list(folders)
    return group_runs(find_runs(given))


@pytest.fixture
def runs(tmp_path):
    for seed in (1, 0):
        for name in ("plain", "adapted"):
            folder = tmp_path / name / f"seed{seed}-0a1b"
            weights = f"pre/seed{seed}-99/model_final.pth"
            write_detector(
                folder, seed, 40.0, adapts=name == "adapted", config={"MODEL": {"WEIGHTS": weights}}
            )
    return tmp_path


def test_runs_that_differ_in_their_seed_are_one_setting(runs):
    groups = groups_of(runs)
    assert [g.label for g in groups] == ["adapted", "plain"]
    assert [list(g.runs) for g in groups] == [[0, 1], [0, 1]]


def test_only_keys_that_differ_are_told_and_pretraining_by_seed_is_none(runs):
    differences = config_differences(groups_of(runs))
    assert differences == {"DATASETS.TARGET": {"adapted": ["tiny_ink_train"], "plain": []}}


def test_a_key_that_is_newer_than_a_run_has_its_default_there(tmp_path):
    write_detector(tmp_path / "old", 0, 40.0, adapts=True)
    for seed, decay in ((1, 0.9996), (2, 0.5)):
        ema = {"EMA": {"DECAY": decay}}
        write_detector(tmp_path / f"new{seed}", seed, 40.0, adapts=True, config=ema)
    groups = groups_of(tmp_path)
    assert [sorted(g.runs) for g in groups] == [[0, 1], [2]]
    (values,) = config_differences(groups).values()
    assert list(values.values()) == [0.9996, 0.5]


def test_what_changes_no_result_makes_no_setting_of_its_own(tmp_path):
    """A sweep continues its runs with other such values, and has one row for all of them."""
    for seed, workers in enumerate((0, 4)):
        solver = {"MAX_ITER": 100, "CHECKPOINT_PERIOD": 10 + seed, "CHECKPOINT_KEEP": seed}
        other = {"DATALOADER": {"NUM_WORKERS": workers}, "SOLVER": solver}
        write_detector(tmp_path / f"seed{seed}", seed, 40.0, adapts=True, config=other)
    (group,) = groups_of(tmp_path)
    assert list(group.runs) == [0, 1]


def test_labels_that_are_given_are_kept_and_keep_runs_apart(runs):
    folders = [runs / "plain" / "seed0-0a1b", runs / "plain" / "seed1-0a1b"]
    assert [g.label for g in groups_of(*folders, labels=["one", "two"])] == ["one", "two"]
    assert [g.label for g in groups_of(*folders)] == ["plain"]


def test_a_seed_that_is_there_twice_stays_two_runs(tmp_path):
    for name in ("a", "b"):
        write_detector(tmp_path / name, 0, 40.0, adapts=True)
    (group,) = groups_of(tmp_path)
    assert len(group.runs) == 2


def test_settings_of_the_same_label_are_told_apart_by_their_folders(tmp_path):
    for name, rate in (("a", 0.1), ("a/below", 0.2)):
        solver = {"SOLVER": {"MAX_ITER": 100, "BASE_LR": rate}}
        write_detector(tmp_path / name, 0, 40.0, adapts=True, config=solver)
    groups = groups_of(tmp_path / "a", tmp_path / "a" / "below", labels=["x", "x"])
    assert [g.label for g in groups] == ["x", "x (below)"]


def test_the_baseline_goes_first(runs):
    groups = groups_of(runs)
    assert [g.label for g in put_first(groups, "plain")] == ["plain", "adapted"]
    with pytest.raises(UserError, match="--baseline 'gone' is none of 'adapted', 'plain'"):
        put_first(groups, "gone")


@pytest.mark.parametrize(
    ("dataset", "sources", "targets", "expected"),
    [
        ("mini_watercolor_test", ["mini_photo_train"], ["mini_watercolor_train"], "target"),
        ("mini_photo_test", ["mini_photo_train"], ["mini_watercolor_train"], "source"),
        ("voc20_2007_test", ["voc20_2007_trainval"], ["clipart_train"], "source"),
        ("clipart_test", ["voc20_2007_trainval"], ["clipart_train"], "target"),
        # An oracle trains on the target.
        ("clipart_test", ["voc20_2007_trainval", "clipart_train"], ["clipart_train"], "target"),
        ("other_set", ["voc20_2007_trainval"], ["clipart_train"], "other"),
        # One name is the beginning of the other.
        ("photos_test", ["photos_train"], ["photos_night_train"], "source"),
        ("photos_night_test", ["photos_train"], ["photos_night_train"], "target"),
        ("photos_night_val", ["photos_night_trainval"], ["photos"], "source"),
        ("photos_rain_test", ["photos_train"], ["photos_night_train"], "source"),
        ("photos_rain_test", ["photos_night_train"], ["photos_train"], "target"),
        ("photos_night_rain_test", ["photos_train"], ["photos_night_train"], "target"),
        # The split is what tells the domains apart.
        ("visda_train", ["visda_train"], ["visda_validation"], "source"),
        ("visda_validation", ["visda_train"], ["visda_validation"], "target"),
        ("visda_test", ["visda_train"], ["visda_validation"], "target"),
        ("test", ["train"], ["val"], "other"),
    ],
)
def test_domains_are_told_by_names(dataset, sources, targets, expected):
    assert domain_of(dataset, sources, targets) == expected


def test_a_test_set_stands_for_its_domain_before_a_validation_set():
    domains = {"d_target_val": "target", "d_target_test": "target", "d_source_test": "source"}
    assert choose_dataset(domains, "target") == "d_target_test"
    assert choose_dataset(domains, "target", "d_target_val") == "d_target_val"
    assert choose_dataset({"d_source_test": "source"}, "target") == ""
    for name in ("d_valid", "d_Validation"):
        assert choose_dataset({name: "target", "d_test": "target"}, "target") == "d_test"
    with pytest.raises(UserError, match="--target gone: no run has been tested on it"):
        choose_dataset(domains, "target", "gone")
