"""How a process of several ends."""

from __future__ import annotations

import subprocess
import sys

ENDS = """
import atexit, os, sys
import torch.distributed as dist
from torch.utils.data import DataLoader
from metaalign_det.engine.processes import end_process

atexit.register(os.abort)  # as gloo's threads now and then do
if __name__ == "__main__":
    dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=0, world_size=1)
    workers = iter(DataLoader(range(4), num_workers=1, persistent_workers=True))
    next(workers)
    sys.stdout.write("the last word")
    end_process()
"""


def test_a_finished_process_is_no_failed_one_whatever_a_teardown_would_do(tmp_path):
    script = tmp_path / "ends.py"
    script.write_text(ENDS)
    words = [sys.executable, str(script), str(tmp_path / "store")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "the last word"), done.stderr
