"""The example in the package's docstring, as a user without Detectron2 would type it."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import torch

import metaalign_det.coordination


def test_the_example_in_the_documentation_runs_and_learns():
    text = metaalign_det.coordination.__doc__.partition("::\n")[2]
    torch.manual_seed(0)
    names: dict = {}
    exec(textwrap.dedent(text), names)
    task = names["task"](names["params"])["task"]
    assert task.item() < 0.5
    assert names["beta"].values() != [1.0]


def test_the_library_imports_neither_detectron2_nor_the_alignment_package():
    code = (
        "import sys, metaalign_det.coordination; "
        "print([m for m in sys.modules if m.startswith(('detectron2', 'metaalign_det.alignment'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
