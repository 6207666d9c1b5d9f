"""From run directories to ``report.html``, ``report.md`` and ``report.json``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...errors import UserError
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
        output: the HTML file; its folder is made.
        title: "" = the target's name.
        baseline: label of the setting that the others are compared with; "" = the first.
        metric: a score as in ``metrics.json``, such as "voc/AP50_area"; "" = AP50_11pt of
            detectors, accuracy of classifiers.
        target, source: test sets of either domain; "" = told by their names.

    Returns:
        Path: ``output``.

    Raises:
        UserError: a folder that holds no run, runs without results, an unknown name.
    """
    output = Path(output)
    if output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output {output}: the report is a file, name it *.html")
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
    output.write_text(to_html(document), encoding="utf-8")
    output.with_suffix(".md").write_text(to_markdown(document), encoding="utf-8")
    to_json(document, output.with_suffix(".json"))
    return output
