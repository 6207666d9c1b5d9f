"""Figures of papers, to stand beside a sweep's own. None of them was measured by this package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..reports.table import Cell
from .suites import ACCURACY, Benchmark

AVERAGE = "Avg"
COLUMN = "published"


@dataclass(frozen=True)
class Source:
    """Where a figure stands, for a reader who wants to look it up."""

    name: str
    url: str

    def __str__(self) -> str:
        return f"{self.name}, {self.url}"


@dataclass(frozen=True)
class Figure:
    """A published score.

    Args:
        benchmark: name of a :class:`~.suites.Benchmark`.
        method: name of its config file, without ``.yaml``.
        percent: the score.
        source: see there.
    """

    benchmark: str
    method: str
    percent: float
    source: Source


METAALIGN = Source(
    "Wei et al., MetaAlign, CVPR 2021 (baselines as in that paper)",
    "https://arxiv.org/abs/2103.13575",
)
LATER = Source(
    "source-only detector as papers after SW-DA (Saito et al., CVPR 2019) give it",
    "https://arxiv.org/abs/1812.04798",
)
D_ADAPT = Source(
    "Jiang et al., D-adapt, ICLR 2022, the source-only row", "https://arxiv.org/abs/2110.02578"
)
_TLLIB_URL = (
    "https://github.com/thuml/Transfer-Learning-Library/blob/"
    "1cd7e047ae2bb9944420b01b8d4b779a8b5894ae/docs/dalib/benchmarks/image_classification.rst"
)
TLLIB = Source("TLlib's own runs with ResNet-50, benchmark page, column Avg", _TLLIB_URL)
ORIGIN = Source(
    "the methods' own papers (DANN: JMLR 2016, CDAN: NeurIPS 2018) as quoted there, column Origin",
    _TLLIB_URL,
)

#: What the figures of a benchmark are: metric, and column of its table.
SCORES: dict[str, tuple[str, str]] = {
    "voc2watercolor": ("voc/AP50_11pt", "watercolor test"),
    "voc2clipart": ("voc/AP50_11pt", "clipart test"),
    "voc2comic": ("voc/AP50_11pt", "comic test"),
    "office_home": (ACCURACY, AVERAGE),
    "office31": (ACCURACY, AVERAGE),
    "pacs": (ACCURACY, AVERAGE),
}


def _figures(benchmark: str, source: Source, /, **percent: float) -> list[Figure]:
    return [Figure(benchmark, method, value, source) for method, value in percent.items()]


FIGURES: tuple[Figure, ...] = (
    *_figures(
        "voc2watercolor",
        METAALIGN,
        voc2watercolor_wda=49.8,
        voc2watercolor_wda_meta=52.1,
        voc2watercolor_swda=53.5,
        voc2watercolor_swda_meta=55.6,
        voc2watercolor_swda_meta_paper=55.6,
    ),
    *_figures("voc2watercolor", LATER, voc2watercolor_source=44.6),
    *_figures("voc2watercolor", D_ADAPT, voc2watercolor_source=45.9),
    *_figures("voc2clipart", D_ADAPT, voc2clipart_source=29.3),
    *_figures("voc2comic", D_ADAPT, voc2comic_source=25.5),
    *_figures(
        "office_home",
        METAALIGN,
        mmd=62.3,
        mmd_meta=63.3,
        dann=59.2,
        dann_meta=63.3,
        cdan=65.8,
        cdan_meta=67.8,
        dannpe=68.3,
        dannpe_meta=70.1,
        gvb=70.4,
        gvb_meta=71.3,
    ),
    *_figures("office_home", ORIGIN, source=46.1, dann=57.6, cdan=65.8),
    *_figures("office_home", TLLIB, source=58.4, dann=65.2, cdan=68.8),
    *_figures("office31", METAALIGN, dannpe=87.0, dannpe_meta=88.7, gvb=88.3, gvb_meta=89.2),
    *_figures("office31", ORIGIN, source=76.1, dann=82.2, cdan=87.7),
    *_figures("office31", TLLIB, source=79.5, dann=86.1, cdan=87.7),
    *_figures("pacs", METAALIGN, dannpe=80.7, dannpe_meta=81.9),
)


def published(benchmark: Benchmark, metric: str, methods: Sequence[str]) -> list[Figure]:
    """Figures for these methods, of the column that the table of ``metric`` has.

    Part of a benchmark has no average, and so no figures that are one.
    """
    wanted, column = SCORES.get(benchmark.name, ("", ""))
    shown = {c.label for c in benchmark.columns} | ({AVERAGE} if benchmark.average else set())
    if metric != wanted or column not in shown:
        return []
    return [f for f in FIGURES if f.benchmark == benchmark.name and f.method in methods]


def published_column(
    benchmark: Benchmark, metric: str, methods: Sequence[str]
) -> tuple[list[Cell], list[str]]:
    """A cell for each method, ``59.2 [1], 57.6 [2]``, and the notes that say where they are from.

    Args:
        benchmark, metric: of the table.
        methods: of its rows, in order.

    Returns:
        ([], []) where nothing is published.
    """
    found = published(benchmark, metric, methods)
    if not found:
        return [], []
    numbers = {s: i for i, s in enumerate(dict.fromkeys(f.source for f in found), start=1)}
    cells: list[Cell] = [
        ", ".join(f"{f.percent:.1f} [{numbers[f.source]}]" for f in found if f.method == method)
        or None
        for method in methods
    ]
    where = "; ".join(f"[{i}] {source}" for source, i in numbers.items())
    _, column = SCORES[benchmark.name]
    return cells, [f"{COLUMN}: {column}, not measured here. {where}."]
