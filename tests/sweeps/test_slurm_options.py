"""``--slurm KEY=VALUE``."""

from __future__ import annotations

import pytest

from metaalign_det.errors import UserError
from metaalign_det.sweeps.slurm_options import SlurmOptions, read_slurm_options
from tests.sweeps.fake_training import calls, run_tool


def test_options_are_those_of_sbatch_with_short_names_for_some():
    given = ["time=8:00:00", "gpus=2", "cpus=6", "mem=32G", "--mail_type=END"]
    expected = {"cpus-per-task": "6", "mem": "32G", "mail-type": "END"}
    assert read_slurm_options(given) == SlurmOptions(480, 2, "", expected)
    typed = read_slurm_options(["time=60", "gpus=a100:2"])
    assert (typed.gpus, typed.gpus_per_node) == (2, "a100:2")
    assert read_slurm_options(["time=60", "gpus=0"]).gpus_per_node is None


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("90:30", 91), ("1:30:00", 90), ("2-0", 2880), ("1-12:30", 2190), ("0-1:0:1", 61)],
)
def test_times_are_read_as_slurm_reads_them(text, minutes):
    assert read_slurm_options([f"time={text}"]).minutes == minutes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "needs the longest time of one job"),
        (["time=soon"], "minutes, H:MM:SS or D-H are wanted"),
        (["time=2"], "at least five minutes"),
        (["time=60", "partition"], "KEY=VALUE is wanted"),
        (["time=60", "array=0-9"], "the sweep sets array itself"),
        (["time=60", "mem=1G", "mem=2G"], "mem is given twice"),
        (["time=60", "gpus=two"], "the number of graphics cards"),
        (["time=60", "gres=gpu:a100:4"], "say gpus=4 or gpus=a100:4"),
    ],
)
def test_mistakes_are_one_sentence(given, message):
    with pytest.raises(UserError, match=message):
        read_slurm_options(given)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--no-wait"], "are for --launcher slurm"),
        (["--slurm", "time=60"], "are for --launcher slurm"),
        (["--launcher", "slurm", "--gpus", "0"], "--gpus shares out this machine's"),
        (["--launcher", "slurm"], "needs the longest time of one job"),
    ],
)
def test_options_of_the_other_launcher_are_refused(place, tool, capsys, args, message):
    assert run_tool(place, "--configs", str(place / "dann.yaml"), *args) == 2
    assert message in capsys.readouterr().err
    assert calls(place) == []
