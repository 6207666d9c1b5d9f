"""What may differ between a run and its resumption."""

from __future__ import annotations

import pytest

from metaalign_det.engine.resume_settings import check_settings, flat_settings, settings_hash
from metaalign_det.errors import UserError
from tests.engine.small import small_cfg


def saved(cfg, iteration=9):
    return {"config": cfg.dump(), "iteration": iteration, "settings": settings_hash(cfg)}


@pytest.mark.parametrize(
    "opts, effect",
    [
        (("SOLVER.BASE_LR", 0.5), ["SOLVER.BASE_LR 0.001 -> 0.5"]),
        (("SOLVER.STEPS", (3, 4)), ["SOLVER.STEPS [30000] -> [3, 4]"]),
        (("SOLVER.DISCRIMINATOR.BASE_LR", 0.5), ["SOLVER.DISCRIMINATOR.BASE_LR 0.001 -> 0.5"]),
        (("OUTPUT_DIR", "elsewhere"), []),
        (("MODEL.WEIGHTS", "x.pth"), []),
        (("TEST.EVAL_PERIOD", 5, "DATASETS.TEST", ("x",), "INPUT.MIN_SIZE_TEST", 9), []),
        (("LOGGING.WANDB.ENABLED", True, "METAALIGN.TELEMETRY_PERIOD", 3), []),
        (("SOLVER.CHECKPOINT_KEEP", 3, "SOLVER.CHECKPOINT_PERIOD", 3), []),
        (("SOLVER.REFERENCE_WORLD_SIZE", 1), []),  # what it scales is compared
    ],
)
def test_what_may_change_takes_effect_or_changes_nothing_learned(tmp_path, opts, effect):
    before, now = small_cfg(tmp_path), small_cfg(tmp_path, *opts)
    assert check_settings(saved(before), now, "x.pth") == effect
    assert settings_hash(before) == settings_hash(now)


@pytest.mark.parametrize(
    "opts",
    [
        ("SEED", 4),
        ("SOLVER.MOMENTUM", 0.5),
        ("METAALIGN.RELATIVE_CHANGE_PERIOD", 5),  # alpha may follow it
        ("SOLVER.AMP.ENABLED", True),
        ("TEST.PRECISE_BN.ENABLED", True),
        ("INPUT.MIN_SIZE_TRAIN", (1,)),
        ("DATASETS.TRAIN", ("x",)),
    ],
)
def test_everything_else_is_refused_by_name(tmp_path, opts):
    before, now = small_cfg(tmp_path), small_cfg(tmp_path, *opts)
    with pytest.raises(UserError, match=f"other settings: {opts[0]} was .* and is"):
        check_settings(saved(before), now, "x.pth")
    assert settings_hash(before) != settings_hash(now)


def test_another_number_of_processes_is_named_where_it_scales_the_batch(tmp_path):
    before = small_cfg(tmp_path, "SOLVER.REFERENCE_WORLD_SIZE", 4, "SOLVER.IMS_PER_BATCH", 4)
    now = small_cfg(tmp_path, "SOLVER.REFERENCE_WORLD_SIZE", 1, "SOLVER.IMS_PER_BATCH", 1)
    with pytest.raises(UserError, match=r"IMS_PER_BATCH was 4 .* ran in 4 process\(es\): start as"):
        check_settings(saved(before), now, "x.pth")


def test_many_differences_are_counted(tmp_path):
    opts = ("SEED", 4, "SOLVER.MOMENTUM", 0.5, "SOLVER.NESTEROV", True, "SOLVER.IMS_PER_BATCH", 2)
    with pytest.raises(UserError, match="; and 1 more; set them back"):
        check_settings(saved(small_cfg(tmp_path)), small_cfg(tmp_path, *opts), "x.pth")


def test_a_key_that_an_earlier_version_did_not_know_was_at_its_default(tmp_path):
    cfg = small_cfg(tmp_path)
    text = cfg.dump().replace("  IMS_PER_BATCH_TARGET: 0\n", "")
    assert text != cfg.dump()
    assert check_settings({"config": text, "iteration": 0}, cfg, "x.pth") == []
    other = small_cfg(tmp_path, "SOLVER.IMS_PER_BATCH_TARGET", 4)
    with pytest.raises(UserError, match="SOLVER.IMS_PER_BATCH_TARGET was 0 and is 4"):
        check_settings({"config": text, "iteration": 0}, other, "x.pth")


def test_as_many_iterations_as_are_done_are_no_fewer(tmp_path):
    cfg = small_cfg(tmp_path, "SOLVER.MAX_ITER", 10)
    assert check_settings(saved(cfg, 9), cfg, "x.pth") == []
    with pytest.raises(UserError, match="SOLVER.MAX_ITER is 10, but x.pth has done 11"):
        check_settings(saved(cfg, 10), cfg, "x.pth")


@pytest.mark.parametrize("text", ["", "[", "- a", "!!python/object/apply:os.system ['true']", "3"])
def test_a_config_in_a_checkpoint_is_data_or_refused(text):
    with pytest.raises(UserError, match="x.pth: the config in it (cannot be read|is no mapping)"):
        flat_settings(text, "x.pth")
