"""The package as a wheel, away from a clone: its contents, its command, a training."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.data.trees import make_tiny_voc

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("metaalign_det", "configs", "setup.py", "README.md", "LICENSE", "NOTICE", "MANIFEST.in")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, as building leaves folders behind."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy2(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    command += ["--disable-pip-version-check", "--no-index", "-w", str(source / "out"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (built,) = (source / "out").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The wheel unpacked, a folder for PYTHONPATH; what it needs comes from this environment."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(installed: Path, cwd: Path, *args: str) -> subprocess.CompletedProcess:
    """``metaalign-det`` of the wheel, in a folder that has nothing to do with the clone."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "metaalign_det.cli", *args]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_wheel_has_the_configs_the_command_and_the_licences(installed):
    configs = {str(p.relative_to(ROOT / "configs")) for p in (ROOT / "configs").rglob("*.yaml")}
    inside = installed / "metaalign_det" / "configs"
    assert {str(p.relative_to(inside)) for p in inside.rglob("*.yaml")} == configs
    assert (installed / "metaalign_det" / "py.typed").is_file()
    (info,) = installed.glob("*.dist-info")
    assert (
        "metaalign-det = metaalign_det.cli.__main__:main" in (info / "entry_points.txt").read_text()
    )
    assert {p.name for p in (info / "licenses").iterdir()} == {"LICENSE", "NOTICE"}
    metadata = (info / "METADATA").read_text(encoding="utf-8")
    assert "Requires-Python: >=3.10" in metadata and "# metaalign_det" in metadata
    assert {p.name for p in installed.iterdir()} == {"metaalign_det", info.name}


def test_every_module_of_the_package_is_in_the_wheel(installed):
    def modules(folder: Path) -> set[Path]:
        return {p.relative_to(folder) for p in (folder / "metaalign_det").rglob("*.py")}

    assert modules(installed) == modules(ROOT)


def test_help_and_errors_from_another_folder(installed, tmp_path):
    done = run(installed, tmp_path, "--help")
    assert done.returncode == 0 and "train" in done.stdout
    done = run(installed, tmp_path, "benchmark", "--preset", "mini")
    assert done.returncode == 2
    assert done.stderr.startswith("error: benchmark needs a clone")


def test_the_miniature_trains_from_another_folder(installed, tmp_path, monkeypatch):
    """Its detector, by the name of its config, on pictures made here."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(make_tiny_voc(tmp_path / "data", images=2)))
    done = run(
        installed, tmp_path, "train", "--config-file", "mini/swda_meta.yaml",
        "DATASETS.TRAIN", "('voc6_2007_trainval',)", "DATASETS.TARGET", "('watercolor_train',)",
        "DATASETS.TEST", "()", "MODEL.WEIGHTS", "", "SOLVER.MAX_ITER", "5",
        "SOLVER.STEPS", "(4,)", "SOLVER.IMS_PER_BATCH", "1", "SOLVER.IMS_PER_BATCH_TARGET", "1",
        "OUTPUT_DIR", "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "model_final.pth").is_file()
    assert str(ROOT) not in (tmp_path / "run" / "log.txt").read_text().replace(sys.prefix, "")
    assert "Warning" not in done.stderr
