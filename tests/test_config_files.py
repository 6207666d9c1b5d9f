"""Config files are found by name, stand on each other, and name mistakes with what was meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metaalign_det.config import load_cfg
from metaalign_det.config_files import CONFIG_ROOT, did_you_mean, find_config, read_config
from metaalign_det.errors import UserError


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# ---- where ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mini/swda.yaml", "configs/mini/swda.yaml"])
def test_a_config_of_the_package_is_found_from_any_folder(here, name):
    assert find_config(name) == CONFIG_ROOT / "mini" / "swda.yaml"
    assert load_cfg(name).MODEL.DA.GLOBAL.ENABLED


def test_a_file_in_the_working_directory_comes_first(here):
    write(here / "mini/swda.yaml", "SEED: 7")
    assert load_cfg("mini/swda.yaml").SEED == 7
    assert load_cfg(here / "mini/swda.yaml").SEED == 7


def test_home_is_expanded(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    write(here / "my.yaml", "SEED: 3")
    assert load_cfg("~/my.yaml").SEED == 3


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("voc2watercolor_swda_met.yaml", "'voc2watercolor_swda_meta.yaml'"),
        ("configs/mini/sdwa.yaml", "'mini/swda.yaml'"),
        ("pretrain.yaml", "'mini/pretrain.yaml'"),
        ("gardn.yaml", "'garden.yaml'"),
    ],
)
def test_a_missing_file_names_those_that_are_spelled_like_it(here, name, meant):
    write(here / "garden.yaml", "SEED: 1")
    with pytest.raises(UserError, match="there is no config file") as error:
        load_cfg(name)
    assert name in str(error.value) and f"did you mean {meant}" in str(error.value)


# ---- bases ----------------------------------------------------------------------------------


def test_a_base_is_looked_for_beside_the_file_and_then_in_the_package(here):
    write(here / "own/base.yaml", '_BASE_: "configs/mini/swda_meta.yaml"\nSOLVER: {MAX_ITER: 7}')
    top = write(here / "own/top.yaml", '_BASE_: "base.yaml"\nSOLVER: {BASE_LR: 0.5}')
    cfg = load_cfg(top)
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR) == (7, 0.5)
    assert cfg.METAALIGN.ENABLED and cfg.MODEL.BACKBONE.NAME == "build_mini_resnet_backbone"


def test_of_several_bases_the_later_one_wins(here):
    write(here / "a.yaml", "SEED: 1\nSOLVER: {MAX_ITER: 5, BASE_LR: 0.5}")
    write(here / "b.yaml", "SEED: 2\nSOLVER: {MAX_ITER: 6}")
    write(here / "c.yaml", "_BASE_: [a.yaml, b.yaml]")
    cfg = load_cfg("c.yaml")
    assert (cfg.SEED, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR) == (2, 6, 0.5)


def test_bases_in_a_circle_are_an_error(here):
    write(here / "a.yaml", "_BASE_: b.yaml")
    write(here / "b.yaml", "_BASE_: a.yaml")
    with pytest.raises(UserError, match=r"a\.yaml: its _BASE_ leads back to itself"):
        load_cfg("a.yaml")


@pytest.mark.parametrize("base", ["https://example.org/a.yaml", "nowhere.yaml", "."])
def test_a_base_is_a_file(here, base):
    write(here / "a.yaml", f'_BASE_: "{base}"')
    with pytest.raises(UserError, match=r"config a\.yaml, _BASE_: there is no config file"):
        load_cfg("a.yaml")


@pytest.mark.parametrize("base", ["3", "{a: b}", "[1]"])
def test_a_base_that_is_no_name_is_an_error(here, base):
    write(here / "a.yaml", f"_BASE_: {base}")
    with pytest.raises(UserError, match=r"config a\.yaml: _BASE_ is a file name or several"):
        load_cfg("a.yaml")


# ---- contents -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        "!!python/object/apply:os.mkdir [{target}]",
        "!!python/object/new:os.mkdir [{target}]",
        "!!python/name:os.mkdir",
    ],
)
def test_a_config_runs_no_code(here, payload):
    target = here / "made"
    write(here / "base.yaml", f"OUTPUT_DIR: {payload.format(target=target)}")
    write(here / "top.yaml", "_BASE_: base.yaml")
    for name in ("base.yaml", "top.yaml"):
        with pytest.raises(UserError, match=r"base\.yaml cannot be read as plain YAML"):
            load_cfg(name)
    assert not target.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"a: [",
        b"- a",
        b"words",
        b"\xff\xfe\x00",
        b"a: 1\n\tb: 2",
        b"1: 2",
        b"[" * 10**5,
        b"- " * 10**5,
    ],
)
def test_what_is_no_config_is_one_sentence(here, data):
    (here / "a.yaml").write_bytes(data)
    with pytest.raises(UserError, match=r"config a\.yaml") as error:
        load_cfg("a.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["SOLVER:\n  BASE_LR: 1\nSEED: 3\nSOLVER:\n  MAX_ITER: 3\n", "{SOLVER: {}, SOLVER: {}}"],
)
def test_a_key_that_stands_twice_is_an_error(here, text):
    (here / "a.yaml").write_text(text)
    with pytest.raises(UserError, match="a.yaml .*key 'SOLVER' stands in line 1 and again in"):
        load_cfg("a.yaml")


def test_a_key_may_replace_one_that_an_alias_brings(here):
    (here / "a.yaml").write_text(
        "A: &a {X: 1, Y: 2}\nB: &b\n  <<: *a\n  Y: 3\nC:\n  <<: *b\n  X: 4\n"
    )
    found = read_config(here / "a.yaml")
    assert (found["B"], found["C"]) == ({"X": 1, "Y": 3}, {"X": 4, "Y": 3})


def test_an_empty_file_changes_nothing(here):
    write(here / "a.yaml", "# nothing yet\n")
    assert load_cfg("a.yaml") == load_cfg()


def test_another_version_of_detectron2s_keys_is_refused(here):
    write(here / "a.yaml", "VERSION: 1")
    with pytest.raises(UserError, match="VERSION 1 is not 2.*upgrade_config"):
        load_cfg("a.yaml")


@pytest.mark.parametrize(
    ("text", "opts", "message"),
    [
        ("SOLVER: {MAX_ITR: 3}", [], r"no key SOLVER\.MAX_ITR; did you mean 'SOLVER\.MAX_ITER'"),
        ("METAALGN: {ENABLED: 1}", [], "no key METAALGN; did you mean 'METAALIGN'"),
        ("", ["MAX_ITER", "3"], r"with MAX_ITER 3: .* did you mean 'SOLVER\.MAX_ITER'"),
        ("", ["solver.max_iter", "3"], r"did you mean 'SOLVER\.MAX_ITER'"),
        ("", ["QQQ", "3"], "there is no key QQQ; if it is a plug-in's, METAALIGN_PLUGINS"),
        ("", ["SEED"], "odd length"),
        ("SOLVER: {MAX_ITER: soon}", [], r"a\.yaml: Type mismatch"),
        ("SOLVER: 3", [], r"a\.yaml: SOLVER takes no value, it holds keys \(SOLVER\.\w+, "),
        ("", ["SOLVER", "3"], r"SOLVER takes no value"),
        ("SEED: {A: 1}", [], r"a\.yaml: Type mismatch"),
    ],
)
def test_mistakes_name_file_and_key_and_what_was_meant(here, text, opts, message):
    write(here / "a.yaml", text)
    with pytest.raises(UserError, match=message):
        load_cfg("a.yaml", opts)


def test_a_whole_number_will_do_where_a_fraction_may_stand(here):
    write(here / "a.yaml", "MODEL: {ALIGN: {LAMBDA: 2}}\nSOLVER: {MAX_ITER: 3}")
    for opts in (["METAALIGN.META_LR", "-3"], ["METAALIGN.META_LR", -3]):
        cfg = load_cfg("a.yaml", opts)
        assert (cfg.MODEL.ALIGN.LAMBDA, cfg.METAALIGN.META_LR) == (2.0, -3.0)
        assert isinstance(cfg.MODEL.ALIGN.LAMBDA, float) and isinstance(cfg.SOLVER.MAX_ITER, int)
    for wrong in ("True", "ten", "9" * 5000):
        with pytest.raises(UserError):
            load_cfg("a.yaml", ["METAALIGN.META_LR", wrong])


def test_nothing_near_suggests_nothing():
    assert did_you_mean("zebra", ["SOLVER.MAX_ITER", "SEED"]) == ""
    assert did_you_mean("SEDE", ["SOLVER.MAX_ITER", "SEED"]) == "; did you mean 'SEED'?"


def test_every_config_of_the_package_is_plain_yaml():
    files = sorted(CONFIG_ROOT.rglob("*.yaml"))
    assert len(files) > 50
    for path in files:
        assert read_config(path)["VERSION"] == 2, os.fspath(path)
