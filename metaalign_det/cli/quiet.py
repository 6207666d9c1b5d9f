"""Keep the warnings that other packages print at import time away from our users.

Command lines alone do this: importing ``metaalign_det`` changes nothing in a program of others.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# How the warnings begin that importing and using Detectron2 on a current torch gives rise to. None
# of them is about anything a user of this package could change.
_BEGINNINGS = ("pkg_resources is deprecated", "`torch.jit.script", "torch.meshgrid")


def silence_third_party() -> None:
    """Filter such warnings and log messages in this process; calling it twice is safe."""
    for beginning in _BEGINNINGS:
        warnings.filterwarnings("ignore", message=re.escape(beginning))
    logging.getLogger("torch.utils.cpp_extension").addFilter(_no_cuda_runtime)
    logging.getLogger("torch.fx._symbolic_trace").addFilter(_fx_tracing)


@contextmanager
def silenced_children() -> Iterator[None]:
    """Filter the warnings in processes that are started meanwhile, before these import anything.

    What the user has put into PYTHONWARNINGS still wins.
    """
    before = os.environ.get("PYTHONWARNINGS")
    ours = [f"ignore:{beginning}" for beginning in _BEGINNINGS]
    os.environ["PYTHONWARNINGS"] = ",".join([*ours, *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


@contextmanager
def warnings_alone(*names: str) -> Iterator[None]:
    """Loggers, and what is below them, say warnings alone meanwhile."""
    before = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.WARNING)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _no_cuda_runtime(record: logging.LogRecord) -> bool:
    return "No CUDA runtime" not in record.getMessage()


def _fx_tracing(record: logging.LogRecord) -> bool:
    return "is_fx_tracing" not in record.getMessage()
