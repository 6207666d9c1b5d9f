"""From run directories to ``report.html``, ``report.md`` and ``report.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from ...errors import UserError
from ...files import printable, write_text
from ..document import Document, Section
from ..render import to_html, to_json, to_markdown
from .comparison import Comparison, compare
from .groups import group_runs, put_first
from .mistakes import calibration_section, confusion_section, errors_section, samples_section
from .run_files import Folders, find_runs
from .scores import checkpoints_section, classes_section, results_section
from .settings import settings_section
from .summary import summary_section
from .training import coordination_section, cost_section, curves_section, discriminators_section

#: In the order of the report: what was found, what was done, why it came out like that.
SECTIONS: tuple[Callable[[Comparison], Section], ...] = (
    summary_section,
    results_section,
    settings_section,
    samples_section,
    errors_section,
    classes_section,
    checkpoints_section,
    curves_section,
    coordination_section,
    discriminators_section,
    calibration_section,
    confusion_section,
    cost_section,
)

_PAGES = (".html", ".htm")
#: Stems of ``.json`` files that runs and sweeps keep in their folders.
_OF_RUNS = ("metrics", "result", "selection", "run", "job")
# What tells an earlier report's files from others: footer, subtitle, and keys of the summary.
_SUBTITLE = re.compile(r"^\d+ runs of \d+ settings, compared by ", re.MULTILINE)
_FOOTER = "Written by metaalign-det report"
_SUMMARY = {"baseline", "best", "target", "metric", "differences"}


def write_report(
    runs: Folders,
    output: str | Path,
    *,
    title: str = "",
    baseline: str = "",
    metric: str = "",
    target: str = "",
    source: str = "",
) -> Path:
    """Write a report on finished runs, beside it the same as Markdown and as JSON.

    Reads the run directories and, where they are on this machine, the test images; loads no
    model. Runs that differ only in their seed are one setting.

    Args:
        runs: ``OUTPUT_DIR`` of each run, or (label, ``OUTPUT_DIR``), or a mapping of them; a
            folder that is no run stands for all runs below it.
        output: the HTML file; its folder is made. Earlier reports are replaced.
        title: "" = the target's name.
        baseline: label of the setting that the others are compared with; "" = the first.
        metric: a score as in ``metrics.json``, such as "voc/AP50_area"; "" = AP50_11pt of
            detectors, accuracy of classifiers.
        target, source: test sets of either domain; "" = told by their names.

    Returns:
        Path: ``output``.

    Raises:
        UserError: a folder that holds no run, runs without results, an unknown name; ``output``,
            or the Markdown or JSON file beside it, is a run's, or is there and no report.
    """
    output = Path(output)
    if output.suffix.lower() not in _PAGES:
        raise UserError(f"--output {output}: the report is a file, name it *.html")
    _check_beside(output)
    groups = group_runs(find_runs(runs))
    if baseline:
        groups = put_first(groups, baseline)
    comparison = compare(groups, metric=metric, target=target, source=source)
    sections = [build(comparison) for build in SECTIONS]
    count = sum(len(group.runs) for group in groups)
    document = Document(
        title or f"Adaptation to {comparison.target}",
        f"{count} runs of {len(groups)} settings, compared by {comparison.metric_name}; baseline: "
        f"{comparison.baseline.label}",
        [section for section in sections if section.blocks],
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, printable(to_html(document)))
    write_text(output.with_suffix(".md"), printable(to_markdown(document)))
    to_json(document, output.with_suffix(".json"))
    return output


def _check_beside(output: Path) -> None:
    """Nothing but an earlier report is overwritten.

    Raises:
        UserError: see :func:`write_report`.
    """
    if output.stem.lower() in _OF_RUNS:
        raise UserError(
            f"--output {output}: beside it goes {output.stem}.json, which is the name of a file "
            "that runs keep themselves; choose another name, such as report.html"
        )
    for path in (output, output.with_suffix(".md"), output.with_suffix(".json")):
        if path.exists() and not _is_report(path):
            beside = "" if path == output else f" beside it goes {path.name}, and"
            raise UserError(
                f"--output {output}:{beside} the {path} that is there is no earlier report; "
                "choose another name, or move that file away"
            )


def _is_report(path: Path) -> bool:
    """Whether a file has been written by :func:`write_report`."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".md":
            return _SUBTITLE.search(text) is not None
        if path.suffix.lower() in _PAGES:
            return _FOOTER in text
        summary = json.loads(text)["summary"]
        return isinstance(summary, dict) and summary.keys() >= _SUMMARY
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False
