"""Find what is wrong with data before anything is trained on them.

metaalign-det check-data --config-file my.yaml          # all data of a run, in their roles
metaalign-det check-data voc6_2007_trainval             # a data set by its name
metaalign-det check-data photos/ drawings/              # folders: their format is found out
metaalign-det check-data photos/ --json findings.json

Looks at the tree, classes, boxes and sizes, decodes every image, and looks for copies and
look-alikes within data sets and across them. Exit code 0: no errors (there may be warnings);
1: errors were found; 2: a mistake in the command.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from detectron2.config import CfgNode

    from ..data.doctor.inspection import Subject


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to look at, and where to write what was found."""
    add = parser.add_argument
    add(
        "data",
        nargs="*",
        metavar="DATA",
        help="names of data sets, folders, or a config; with --config-file, KEY VALUE pairs",
    )
    add("--config-file", default="", metavar="FILE", help="check all data of this config")
    add("--json", metavar="FILE", help="also write all findings, with every file, as JSON")
    add("--jobs", type=int, metavar="N", help="images read at a time (default: one per core)")
    add("--quick", action="store_true", help="decode no image: what every training checks itself")


def run(args: argparse.Namespace) -> int:
    """Print the findings; 1 if there are errors among them."""
    import sys
    import time

    from ..data.doctor.findings import Severity
    from ..data.doctor.image_facts import read_facts
    from ..data.doctor.inspection import Inspection
    from ..data.doctor.registry import all_findings
    from ..data.doctor.report import findings_json, findings_table, summary_table
    from ..files import printable, write_json

    if args.jobs is not None and args.jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {args.jobs}")
    start = time.monotonic()
    cfg, subjects, configured = _subjects(args)
    facts = {}
    if not args.quick:
        files = [d["file_name"] for subject in subjects for d in subject.dicts]
        facts = read_facts(files, jobs=args.jobs)
    inspection = Inspection(subjects, cfg, configured, facts)
    findings = all_findings(inspection)
    if args.json:
        try:
            write_json(args.json, findings_json(inspection, findings))
        except OSError as error:
            raise UserError(f"--json {args.json}: {error.strerror}") from error
    counts = {s: sum(f.severity == s for f in findings) for s in Severity}
    out = sys.stdout.write
    out(printable(f"{summary_table(subjects)}\n\n"))
    if findings:
        out(printable(f"{findings_table(findings)}\n\n"))
    found = ", ".join(f"{n} {s.value}{'s' * (n != 1)}" for s, n in counts.items())
    out(f"{len(facts)} images decoded in {time.monotonic() - start:.0f} s: {found}\n")
    return int(counts[Severity.ERROR] > 0)


def _subjects(args: argparse.Namespace) -> tuple[CfgNode, list[Subject], bool]:
    """The config, the data sets, and whether they are those of the config."""
    from ..config import load_cfg
    from ..data import register_all
    from ..data.doctor.subjects import subjects_of_config, subjects_of_names

    file, data = args.config_file, list(args.data)
    if not file and len(data) == 1 and _is_config(data[0]):
        file, data = data[0], []
    if file:
        cfg = load_cfg(file, data)
        register_all(cfg)
        return cfg, subjects_of_config(cfg, strict=False), True
    if not data:
        raise UserError(
            "nothing to check: name data sets or folders, or a config with --config-file"
        )
    cfg = load_cfg()
    names = [name for place in data for name in _names(place, cfg)]
    register_all(cfg)
    return cfg, subjects_of_names(names), False


def _is_config(place: str) -> bool:
    """A YAML file, unless it is the one of a YOLO data set."""
    import os

    from ..data.doctor.detect import is_data_yaml

    yaml = place.lower().endswith((".yaml", ".yml"))
    return yaml and os.path.basename(place).lower() != "data.yaml" and not is_data_yaml(place)


def _names(place: str, cfg: CfgNode) -> list[str]:
    """A registered name as it is; a folder's splits, to be registered by ``cfg``."""
    import os

    from detectron2.data import DatasetCatalog

    from ..data.doctor.detect import detect
    from ..data.doctor.found_data import ALL

    if place in DatasetCatalog or not (os.sep in place or os.path.exists(place)):
        return [place]
    found = detect(place)
    names: list[str] = []
    for split in found.splits:
        # Of a hidden folder without its dot: no data set may be called so.
        name = (found.root.name.lstrip(".") or "data") + ("" if split == ALL else f"_{split}")
        taken = {*names, *DatasetCatalog.list(), *(e["NAME"] for e in cfg.DATASETS.REGISTER)}
        while name in taken:
            name += "_"
        cfg.DATASETS.REGISTER.append(found.entry(split, name))
        names.append(name)
    return names
