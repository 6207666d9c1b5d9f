"""What was run: the runs, what differs between their configs, and where they ran."""

from __future__ import annotations

from ..document import Block, Section, Table, Text
from .comparison import Comparison
from .groups import config_differences
from .run_log import read_environment
from .words import listed, setting

# What the environment table shows, in this order, if a log has it.
_ENVIRONMENT = (
    "Python",
    "PyTorch",
    "torchvision",
    "detectron2",
    "numpy",
    "cv2",
    "CUDA_HOME",
    "Driver version",
    "GPU available",
    "sys.platform",
)


def settings_section(comparison: Comparison) -> Section:
    """Differences between configs, the runs, the environment."""
    groups = comparison.groups
    labels = [group.label for group in groups]
    differences = config_differences(groups)
    blocks: list[Block] = []
    if differences:
        rows = [[key, *(setting(v[x]) for x in labels)] for key, v in differences.items()]
        caption = "Config keys that differ (but SEED and OUTPUT_DIR)"
        blocks.append(Table(caption, ["key", *labels], rows, text=True))
    elif len(groups) > 1:
        blocks.append(Text("The configs do not differ."))
    rows = []
    for group in groups:
        for seed, run in group.runs.items():
            done = str(run.iteration) if run.series else "evaluated only"
            rows.append([group.label, str(seed), done, str(run.folder)])
    blocks.append(
        Table("The runs", ["setting", "seed", "iterations", "folder"], rows, folded=True, text=True)
    )
    environments = {g.label: read_environment(g.first.log) for g in groups}
    names = [n for e in environments.values() for n in e]
    shown = [n for n in names if n in _ENVIRONMENT or n.startswith("GPU ")]
    order = sorted(dict.fromkeys(shown), key=lambda n: (n not in _ENVIRONMENT, _place(n), n))
    if order:
        table = []
        for name in order:
            values = [environments[label].get(name, "–") for label in labels]
            together = len(set(values)) == 1
            table.append([name, values[0] if together else listed([
                f"{label}: {value}" for label, value in zip(labels, values)
            ])])  # fmt: skip
        blocks.append(Table("Environment", ["what", "version"], table, folded=True, text=True))
    facts = {
        "differences": differences,
        "runs": {g.label: {str(s): str(r.folder) for s, r in g.runs.items()} for g in groups},
        "environment": environments,
    }
    return Section("settings", "What differs", blocks, facts)


def _place(name: str) -> int:
    return _ENVIRONMENT.index(name) if name in _ENVIRONMENT else len(_ENVIRONMENT)
