"""Benchmarks as tables: which runs make one up, and which score stands in which column.

A *task* is one training run per method and seed; a *column* is the score of one task on one data
set. Office-Home has twelve tasks of one column each, a detection miniature one task of four.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:  # names of benchmarks are in a command line's --help, which waits for nothing
    from detectron2.config import CfgNode

ACCURACY = "classification/accuracy"
DETECTION_METRICS = ("voc/AP50_11pt", "voc/AP50_area")


@dataclass(frozen=True)
class Task:
    """The data of one run; () leaves what the config says.

    Args:
        label: as people write it, ``A→W``.
        train, target, test: data set names for ``DATASETS.TRAIN``, ``.TARGET`` and ``.TEST``.
        validation: further names for ``DATASETS.TEST``, whatever else is there.
        folder: of the runs, below that of their method; None = after the label, "" = none.
    """

    label: str
    train: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    folder: str | None = None

    @property
    def slug(self) -> str:
        """The label as a folder name, ``a2w``, unless there is another."""
        if self.folder is not None:
            return self.folder
        return re.sub(r"[^a-z0-9]+", "_", self.label.lower().replace("→", "2")).strip("_")

    def overrides(self, cfg: CfgNode) -> list[str]:
        """``KEY VALUE`` pairs that give ``cfg`` the data of this task.

        A config without target images (source only, domain generalisation) keeps none: a target
        stream would change its batches, which must see the sources alone. One that is trained on
        the domain it is tested on (an oracle) is trained on the task's target.
        """
        target = self.target if cfg.DATASETS.TARGET else ()
        train = self.target if self.train and _is_oracle(cfg) else self.train
        chosen = (("TRAIN", train), ("TARGET", target), ("TEST", self.test))
        return [x for key, names in chosen if names for x in (f"DATASETS.{key}", repr(names))]


def _is_oracle(cfg: CfgNode) -> bool:
    """Whether a config trains on labels of its last test set's domain, which is the target's."""

    def domains(names: Iterable[str]) -> set[str]:
        return {re.sub(r"_(train|val|test)$", "", name) for name in names}

    train, test = cfg.DATASETS.TRAIN, cfg.DATASETS.TEST
    return not cfg.DATASETS.TARGET and domains(train) == domains(test[-1:])


@dataclass(frozen=True)
class Column:
    """The score of the run of ``task`` (a label) on ``dataset``."""

    label: str
    task: str
    dataset: str


@dataclass(frozen=True)
class Benchmark:
    """A table to fill.

    Args:
        name: as ``--benchmark`` knows it.
        title: above the table.
        tasks: runs per method and seed.
        columns: in the usual order.
        metrics: names as in ``metrics.json``, without the data set; one table each.
        average: add the mean over all columns, taken per seed.
        validation: label of the column that settings may be chosen on; "" where there is none,
            so that nothing is chosen on a test.
        validation_columns: instead of such a column, scores that are in no table, by whose mean
            settings may be chosen.
    """

    name: str
    title: str
    tasks: tuple[Task, ...]
    columns: tuple[Column, ...]
    metrics: tuple[str, ...] = (ACCURACY,)
    average: bool = False
    validation: str = ""
    validation_columns: tuple[Column, ...] = ()

    def columns_to_choose_by(self) -> tuple[Column, ...]:
        """The scores whose mean chooses settings; () where there is no validation data."""
        chosen = tuple(c for c in self.columns if c.label == self.validation)
        return self.validation_columns or chosen

    def restrict(self, labels: Sequence[str]) -> Benchmark:
        """The benchmark with some of its tasks, in its own order; without their average.

        Args:
            labels: of tasks; ``->`` does for ``→``, and case does not matter.

        Raises:
            UserError: a label that is no task's.
        """
        known = {t.label.casefold(): t for t in self.tasks}
        wanted = [label.replace("->", "→").casefold() for label in labels]
        for given, label in zip(labels, wanted):
            if label not in known:
                names = ", ".join(t.label for t in self.tasks)
                raise UserError(f"{self.name} has no task {given!r}; it has: {names}")
        tasks = tuple(t for t in self.tasks if t.label.casefold() in wanted)
        return replace(
            self,
            tasks=tasks,
            columns=tuple(c for c in self.columns if c.task in {t.label for t in tasks}),
            validation_columns=tuple(
                c for c in self.validation_columns if c.task in {t.label for t in tasks}
            ),
            average=self.average and len(tasks) == len(self.tasks),
        )


def _transfers(
    name: str, title: str, prefix: str, domains: Mapping[str, str], order: Iterable[str]
) -> Benchmark:
    """One source, one target: ``order`` lists pairs such as "A→W" of the short names."""
    tasks = []
    for label in order:
        source, target = (f"{prefix}_{domains[x]}" for x in label.split("→"))
        tasks.append(Task(label, (source,), (target,), (target,)))
    columns = tuple(Column(t.label, t.label, t.test[0]) for t in tasks)
    return Benchmark(name, title, tuple(tasks), columns, average=True)


def _adaptations(name: str, title: str, prefix: str, domains: Mapping[str, str]) -> Benchmark:
    """Every ordered pair of domains that have splits: adapted on ``train``, scored on ``test``.

    The target's ``val`` is evaluated beside it: settings are chosen by its mean over the pairs.
    """
    tasks, columns, validation = [], [], []
    for s, source in domains.items():
        for t, target in domains.items():
            if s == t:
                continue
            test, val = f"{prefix}_{target}_test", f"{prefix}_{target}_val"
            task = Task(
                f"{s}→{t}",
                (f"{prefix}_{source}_train",),
                (f"{prefix}_{target}_train",),
                (test, val),
            )
            tasks.append(task)
            columns.append(Column(task.label, task.label, test))
            validation.append(Column(f"{task.label} val", task.label, val))
    return Benchmark(
        name,
        title,
        tuple(tasks),
        tuple(columns),
        average=True,
        validation_columns=tuple(validation),
    )


def _leave_one_out(name: str, title: str, domains: Mapping[str, str]) -> Benchmark:
    """Each domain in turn is the test, the others, in the order of ``domains``, are trained on.

    It is the target as well where the config has one: multi-source adaptation.
    """
    tasks = tuple(
        Task(label, tuple(d for d in domains.values() if d != held_out), (held_out,), (held_out,))
        for label, held_out in domains.items()
    )
    columns = tuple(Column(t.label, t.label, t.test[0]) for t in tasks)
    return Benchmark(name, title, tasks, columns, average=True)


def _one_task(
    name: str, title: str, task: str, columns: Mapping[str, str], **options: Any
) -> Benchmark:
    """One run, scored on several data sets: column label -> data set."""
    return Benchmark(
        name,
        title,
        (Task(task, test=tuple(columns.values())),),
        tuple(Column(label, task, dataset) for label, dataset in columns.items()),
        **options,
    )


def _detection(name: str, target: str, title: str, source_test: str) -> Benchmark:
    columns = {f"{target} test": f"{target}_test", "VOC 2007 test": source_test}
    return _one_task(name, title, f"voc→{target}", columns, metrics=DETECTION_METRICS)


_OFFICE31 = {"A": "amazon", "W": "webcam", "D": "dslr"}
_ICONS = {"Em": "emoji", "Co": "color", "Li": "line", "Gl": "glyph"}
_DIGITS = {"Mn": "mnist", "Op": "optdigits", "Mf": "mfeat"}
_OFFICE_HOME = {"Ar": "art", "Cl": "clipart", "Pr": "product", "Rw": "real_world"}

#: By the name that ``--benchmark`` takes.
BENCHMARKS: dict[str, Benchmark] = {
    b.name: b
    for b in (
        _transfers(
            "office31",
            "Office-31",
            "office31",
            _OFFICE31,
            ("A→W", "D→W", "W→D", "A→D", "D→A", "W→A"),
        ),
        _transfers(
            "office_home",
            "Office-Home",
            "office_home",
            _OFFICE_HOME,
            [f"{s}→{t}" for s in _OFFICE_HOME for t in _OFFICE_HOME if s != t],
        ),
        _leave_one_out(
            "pacs",
            "PACS, leave one domain out",
            {
                "Art": "pacs_art_painting",
                "Cartoon": "pacs_cartoon",
                "Sketch": "pacs_sketch",
                "Photo": "pacs_photo",
            },
        ),
        _one_task(
            "mini_digits",
            "Mini Digits",
            "digits→photo digits",
            {
                "source test": "mini_digits_source_test",
                "target val": "mini_digits_target_val",
                "target test": "mini_digits_target_test",
            },
            validation="target val",
        ),
        _one_task(
            "mnistm",
            "MNIST→MNIST over photographs",
            "mnist→mnistm",
            {
                "source test": "digits_mnist_test",
                "target val": "digits_mnistm_val",
                "target test": "digits_mnistm_test",
            },
            validation="target val",
        ),
        _adaptations("digits", "Digits of three collections", "digits", _DIGITS),
        _adaptations("icons", "Icons", "icons", _ICONS),
        _one_task(
            "mini",
            "Mini VOC→Watercolor",
            "photo→watercolor",
            {
                "target val": "mini_openmoji_val",
                "target test": "mini_openmoji_test",
                "source test": "mini_photo_test",
                "mixed test": "mini_mixed_test",
            },
            metrics=DETECTION_METRICS,
            validation="target val",
        ),
        _detection("voc2watercolor", "watercolor", "VOC→Watercolor2k", "voc6_2007_test"),
        _detection("voc2comic", "comic", "VOC→Comic2k", "voc6_2007_test"),
        _detection("voc2clipart", "clipart", "VOC→Clipart1k", "voc20_2007_test"),
    )
}


def get_benchmark(name: str) -> Benchmark:
    """Look a benchmark up.

    Raises:
        UserError: if there is none of that name.
    """
    if name not in BENCHMARKS:
        raise UserError(f"--benchmark: {name!r} is none of {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
