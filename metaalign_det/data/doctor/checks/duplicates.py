"""The same picture twice: within a data set, and across those that are meant to be apart.

The same file under two names is no duplicate. A copy of the file has the same content; a scaled or
newly compressed copy looks alike: the hashes of two pictures differ in few bits, and their
thumbnails by little.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from ..findings import Finding, Severity, check
from ..image_facts import ImageFacts
from ..inspection import Inspection, Subject

_BITS = 6  # of 64 that may differ
_GRAY = 6.0  # gray levels by which thumbnails may differ on average
_AT_ONCE = 2**22  # comparisons: 32 MB of hashes

Pair = tuple[str, str]


@check(pixels=True)
def copies(inspection: Inspection) -> Iterator[Finding]:
    """Files with the same content."""
    groups: dict[bytes, list[str]] = defaultdict(list)
    for facts in inspection.facts.values():
        if not facts.error:
            groups[facts.content].append(facts.file)
    pairs = [pair for files in groups.values() for pair in combinations(files, 2)]
    yield from _described(inspection, pairs, "are copies", exact=True)


@check(pixels=True)
def look_alikes(inspection: Inspection) -> Iterator[Finding]:
    """Pictures that a person would call the same, in different files."""
    facts = [f for f in inspection.facts.values() if not f.error and not f.flat]
    pairs = [(facts[i].file, facts[j].file) for i, j in similar(facts)]
    yield from _described(inspection, pairs, "look the same", exact=False)


def similar(facts: Sequence[ImageFacts]) -> list[tuple[int, int]]:
    """Indices (i, j), i < j, of pictures that look the same; copies of a file are not among them.

    All pairs are compared: 10,000 pictures take about a second, 100,000 some minutes.
    """
    looks = np.array([f.look for f in facts], dtype=np.uint64)
    found = []
    rows = max(1, _AT_ONCE // max(1, len(looks)))
    for start in range(0, len(looks), rows):
        block = looks[start : start + rows]
        bits = np.bitwise_count(block[:, None] ^ looks[None, start:])
        for a, b in np.argwhere(bits <= _BITS):
            i, j = start + int(a), start + int(b)
            if i < j and facts[i].content != facts[j].content and _same(facts[i], facts[j]):
                found.append((i, j))
    return found


def _same(first: ImageFacts, second: ImageFacts) -> bool:
    a, b = (np.frombuffer(f.thumbnail, np.uint8).astype(np.int16) for f in (first, second))
    return float(np.abs(a - b).mean()) <= _GRAY


def _described(
    inspection: Inspection, pairs: Sequence[Pair], what: str, exact: bool
) -> Iterator[Finding]:
    """One finding per data set with pairs in it, and one per two data sets that share some."""
    owners: dict[str, list[int]] = defaultdict(list)
    for number, subject in enumerate(inspection.subjects):
        for file in {d["file_name"] for d in subject.dicts}:
            owners[file].append(number)
    by_subjects: dict[tuple[int, int], list[Pair]] = defaultdict(list)
    for a, b in pairs:
        together = set(owners[a]) & set(owners[b])
        for i in together:
            by_subjects[i, i].append((a, b))
        for i in owners[a]:
            for j in owners[b]:
                if i != j and not {i, j} & together:
                    by_subjects[min(i, j), max(i, j)].append((a, b) if i < j else (b, a))
    for (i, j), found in sorted(by_subjects.items()):
        first, second = inspection.subjects[i], inspection.subjects[j]
        severity, remedy = _verdict(first, second, exact)
        names = first.name if i == j else f"{first.name}, {second.name}"
        where = f"in {first.name!r}" if i == j else f"in {first} and {second}"
        yield Finding(
            severity,
            names,
            f"{len(found)} pair(s) of images {where} {what}",
            remedy,
            len(found),
            tuple(f"{a} = {b}" for a, b in found),
        )


def _verdict(first: Subject, second: Subject, exact: bool) -> tuple[Severity, str]:
    parts = {first.part, second.part}
    if first is second:
        severity = Severity.WARNING if exact else Severity.NOTE
        return severity, "Keep one of each: copies count double in training and in the score"
    if parts == {"source", "target"}:
        severity = Severity.ERROR if exact else Severity.WARNING
        return severity, "The target would be trained on with its labels: take them out of one"
    if "test" in parts and len(parts) == 2:
        return Severity.WARNING, "The score is on images that were trained on: take them out"
    return Severity.WARNING if "data" in parts else Severity.NOTE, "Keep them in one of the two"
