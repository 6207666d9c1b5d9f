"""The one command: its table of subcommands, its exit codes, what it imports and when."""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from metaalign_det import __version__
from metaalign_det.cli import __main__ as command
from metaalign_det.cli.arguments import add_opts
from metaalign_det.cli.errors import DETECTRON2, exit_code_of
from metaalign_det.errors import BadImageError, UserError

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, **environ: str) -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter that finds this package."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
    )


# ---- the table ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", command.COMMANDS)
def test_every_command_has_a_sentence_and_an_example(name, capsys):
    module = importlib.import_module(command.COMMANDS[name])
    assert f"metaalign-det {name}" in module.__doc__
    assert module.__doc__.strip().splitlines()[0].endswith(".")
    if not getattr(module, "PARSER_OPTIONS", {}):  # else its --help is another program's
        with pytest.raises(SystemExit) as end:
            command.main([name, "--help"])
        assert end.value.code == 0
        assert f"metaalign-det {name}" in capsys.readouterr().out.partition("options:")[0]


def test_help_needs_neither_torch_nor_detectron2_nor_numpy():
    code = (
        "import sys\n"
        "for name in ('torch', 'detectron2', 'numpy', 'cv2', 'yaml'): sys.modules[name] = None\n"
        "from metaalign_det.cli.__main__ import main\n"
        "main(['--help'])\n"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    for name in command.COMMANDS:
        assert f"\n    {name}" in done.stdout


def test_version_is_the_packages(capsys):
    with pytest.raises(SystemExit):
        command.main(["--version"])
    assert capsys.readouterr().out == f"metaalign-det {__version__}\n"


def test_without_a_command_the_exit_code_is_2(capsys):
    with pytest.raises(SystemExit) as end:
        command.main([])
    assert end.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_a_command_knows_what_was_typed(monkeypatch):
    module = importlib.import_module(command.COMMANDS["train"])
    seen = []
    monkeypatch.setattr(module, "run", lambda args: seen.append(args.command_line) or 1)
    assert command.main(["train", "DATASETS.TEST", "('a b',)"]) == 1
    assert seen == ["""metaalign-det train DATASETS.TEST '('"'"'a b'"'"',)'"""]


# ---- exit codes -----------------------------------------------------------------------------


def _raise(error: BaseException):
    def work() -> int:
        raise error

    return work


def missing(name: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        (lambda: 0, 0, ""),
        (lambda: 1, 1, ""),
        (_raise(UserError("--jobs 0: at least 1")), 2, "error: --jobs 0: at least 1\n"),
        (_raise(KeyboardInterrupt("start it again")), 130, "interrupted; start it again\n"),
        (_raise(missing("detectron2")), 2, "error: Detectron2 is not installed, and PyPI does"),
        (_raise(missing("torch")), 2, "error: PyTorch is not installed: pip install torch"),
        (_raise(missing("cv2")), 2, "error: OpenCV is not installed: pip install opencv-python"),
    ],
    ids=["fine", "failed", "mistake", "interrupted", "no detectron2", "no torch", "no OpenCV"],
)
def test_exit_codes_and_the_one_sentence(capsys, work, code, said):
    assert exit_code_of(work) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(said) and err.count("\n") == (1 if said else 0)


@pytest.mark.parametrize("number", ["EROFS", "EACCES", "ENOSPC", "EDQUOT", "ENOTDIR", "EISDIR"])
def test_a_place_that_cannot_be_written_is_one_sentence(capsys, number):
    error = OSError(getattr(errno, number), "?", "ro/report.html")
    assert exit_code_of(_raise(error)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ro/report.html: ") and said.count("\n") == 1
    assert "name a" in said


def test_a_full_disk_is_one_sentence_also_where_the_error_names_no_file(capsys):
    assert exit_code_of(_raise(OSError(errno.ENOSPC, "No space left on device"))) == 2
    assert "error: a file cannot be written: the disk is full" in capsys.readouterr().err


def test_make_data_says_what_is_in_the_way(tmp_path, capsys):
    pytest.importorskip("sklearn")
    (tmp_path / "file").touch()
    assert command.main(["make-data", "classification", "--root", str(tmp_path / "file")]) == 2
    assert "or --root of make-data" in capsys.readouterr().err


def test_the_detectron2_to_install_is_the_pinned_one():
    assert DETECTRON2 in (ROOT / "requirements" / "detectron2-upstream.txt").read_text()


def test_bugs_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        exit_code_of(lambda: 1 // 0)
    with pytest.raises(ModuleNotFoundError, match="metaalign_det.nowhere"):
        exit_code_of(_raise(missing("metaalign_det.nowhere")))
    with pytest.raises(FileNotFoundError):
        exit_code_of(_raise(FileNotFoundError(errno.ENOENT, "?", "a file of ours")))
    with pytest.raises(PermissionError):
        exit_code_of(_raise(PermissionError(errno.EPERM, "of a process, not of a file")))
    with pytest.raises(BrokenPipeError):  # of a data loader, say: standard output is open
        exit_code_of(_raise(BrokenPipeError()))


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_no_error(unbuffered):
    code = (
        "import sys, time\n"
        "from metaalign_det.cli.errors import exit_code_of\n"
        "def work():\n"
        "    sys.stdin.read()\n"
        "    print('table')\n"
        "    return 0\n"
        "sys.exit(exit_code_of(work))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered},
    )
    process.stdout.close()
    process.stdin.close()
    assert process.wait(20) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


def test_an_interrupted_command_says_how_to_go_on(monkeypatch, capsys):
    module = importlib.import_module(command.COMMANDS["train"])
    monkeypatch.setattr(module, "run", lambda args: _raise(KeyboardInterrupt())())
    assert command.main(["train"]) == 130
    assert capsys.readouterr().err == "interrupted; continue with --resume\n"


# ---- KEY VALUE pairs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "opts"),
    [
        ([], []),
        (["--resume"], []),
        (["SOLVER.MAX_ITER", "5"], ["SOLVER.MAX_ITER", "5"]),
        (["--resume", "--", "SEED", "-1"], ["SEED", "-1"]),
        (["--files", "a", "b", "--", "SEED", "1"], ["SEED", "1"]),
    ],
)
def test_pairs_end_the_command_line(argv, opts):
    parser = _parser()
    assert parser.parse_args(argv).opts == opts


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["SOLVER.MAX_ITER"], "come in pairs"),
        (["SEED", "1", "--resume"], "--resume: options stand before"),
    ],
)
def test_what_is_no_pair_is_an_error(argv, message):
    with pytest.raises(UserError, match=message):
        _parser().parse_args(argv)


def _parser():
    import argparse

    parser = argparse.ArgumentParser()
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--files", nargs="+")
    add_opts(parser)
    return parser


# ---- single commands ------------------------------------------------------------------------


def test_train_takes_what_detectron2s_own_training_takes():
    from detectron2.engine import default_argument_parser

    for argv in (
        [],
        ["--config-file", "x.yaml", "--num-gpus", "4", "--resume", "SEED", "1"],
        ["--eval-only", "--num-machines", "2", "--machine-rank", "1", "--dist-url", "tcp://a:1"],
    ):
        theirs = vars(default_argument_parser().parse_args(argv))
        ours = vars(command.build_parser().parse_args(["train", *argv]))
        assert {k: ours[k] for k in theirs} == theirs


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], ("detection", 0, [])),
        (["--seed", "3"], ("detection", 3, [])),
        (["classification", "--seed", "3", "SEED", "1"], ("classification", 3, ["SEED", "1"])),
        (["--seed", "3", "detection", "--", "SEED", "1"], ("detection", 3, ["SEED", "1"])),
    ],
)
def test_demo_takes_options_before_and_behind_its_name(argv, expected):
    args = command.build_parser().parse_args(["demo", *argv])
    assert (args.demo, args.seed, args.opts) == expected
    assert args.jobs == 2


def test_demo_says_what_it_trains():
    from metaalign_det.cli.demo import DEMOS
    from metaalign_det.cli.demo_detection import demonstration

    for label in demonstration(Path("output"), 0).configs:
        words = label.replace("source only", "source-only").replace(" + ", " with ")
        assert words.replace("with mean", "with a mean") in DEMOS["detection"]
    for word in ("comes with the package", "adaptive BatchNorm", "report"):
        assert word in DEMOS["detection"]


def test_benchmark_hands_everything_on(monkeypatch):
    from metaalign_det.cli import benchmark

    commands = []

    def record(command_line, env):
        commands.append(command_line)
        return subprocess.CompletedProcess(command_line, 3)

    monkeypatch.setattr(benchmark.subprocess, "run", record)
    assert command.main(["benchmark", "--preset", "mini", "--help", "--", "SEED", "1"]) == 3
    assert commands[0][1:3] == ["-m", "benchmarks.step_cost"]
    assert commands[0][3:] == ["--preset", "mini", "--help", "--", "SEED", "1"]
    assert command.main(["benchmark", "--check-gpu", "--device", "cpu"]) == 3
    assert commands[1][1:] == ["-m", "benchmarks.gpu_check", "--device", "cpu"]


def test_benchmark_outside_a_clone_says_what_it_needs(monkeypatch, tmp_path, capsys):
    from metaalign_det.cli import benchmark

    monkeypatch.setattr(benchmark, "CLONE", tmp_path)
    assert command.main(["benchmark", "--preset", "mini"]) == 2
    assert capsys.readouterr().err.startswith("error: benchmark needs a clone")


# ---- nothing global -------------------------------------------------------------------------


def test_importing_the_package_changes_nothing_global():
    """Warnings and the filters of loggers are the program's, not a library's."""
    code = (
        "import logging, os, signal, sys, warnings\n"
        "import detectron2.engine, torch.utils.cpp_extension, torch.fx\n"
        "def state():\n"
        "    names = sorted(n for n in logging.root.manager.loggerDict if 'metaalign' not in n)\n"
        "    loggers = [logging.root, *map(logging.getLogger, names)]\n"
        "    changed = [l for l in loggers if l.filters or l.handlers or l.level]\n"
        "    return (list(warnings.filters), dict(os.environ),\n"
        "        [(l.name, list(l.filters), list(l.handlers), l.level) for l in changed],\n"
        "        signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))\n"
        "before = state()\n"
        "import metaalign_det, metaalign_det.data, metaalign_det.engine.trainer\n"
        "import metaalign_det.cli.__main__, metaalign_det.sweeps.execute\n"
        "after = state()\n"
        "assert before == after, (before, after)\n"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr[-2000:]


# ---- several processes ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [UserError, BadImageError])
def test_what_is_wrong_in_one_of_several_processes_is_one_sentence(kind, monkeypatch, capsys):
    from torch.multiprocessing import ProcessRaisedException

    def launch(*args, **kwargs):
        try:
            try:
                raise KeyError("a cause")
            except KeyError as error:
                raise kind("photo.jpg", *["is damaged"] * (kind is BadImageError)) from error
        except kind:
            raise ProcessRaisedException(traceback.format_exc(), 0, 1) from None

    monkeypatch.setattr("detectron2.engine.launch", launch)
    assert command.main(["train", "--num-gpus", "2"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "photo.jpg" in said
