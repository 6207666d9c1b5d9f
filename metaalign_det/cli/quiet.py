"""Keep the warnings that other packages print at import time away from our users.

Command lines alone do this: importing ``metaalign_det`` changes nothing in a program of others.
"""

from __future__ import annotations

import logging
import warnings


def silence_third_party() -> None:
    """Filter the messages that importing and using Detectron2 on a current torch gives rise to.

    None of them is about anything a user of this package could change.
    """
    warnings.filterwarnings("ignore", message=r".*pkg_resources.*")
    warnings.filterwarnings("ignore", message=r".*`?torch\.jit\.script.*deprecated.*")
    warnings.filterwarnings("ignore", message=r".*torch\.meshgrid.*indexing.*")
    logging.getLogger("torch.utils.cpp_extension").addFilter(
        lambda record: "No CUDA runtime" not in record.getMessage()
    )
    logging.getLogger("torch.fx._symbolic_trace").addFilter(
        lambda record: "is_fx_tracing" not in record.getMessage()
    )
