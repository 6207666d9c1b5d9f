"""The same picture twice: within a data set, and across those that are meant to be apart.

The same file under two names is no duplicate. A copy of the file has the same content; a scaled or
newly compressed copy looks alike: the hashes of two pictures differ in few bits, and their
thumbnails by little.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np

from ..findings import Finding, Severity, check
from ..image_facts import ImageFacts
from ..inspection import Inspection, Subject

_BITS = 6  # of 64 that may differ
_GRAY = 6.0  # gray levels by which thumbnails may differ on average
_AT_ONCE = 2**22  # comparisons: 32 MB of hashes
# Pairs of a picture with later ones of a data set: frames of one camera all look the same, and
# 10,000 of them would be 50 million pairs.
_MOST = 20

Pair = tuple[str, str]


@check(pixels=True)
def copies(inspection: Inspection) -> Iterator[Finding]:
    """Files with the same content."""
    groups: dict[bytes, list[str]] = defaultdict(list)
    for facts in inspection.facts.values():
        if not facts.error:
            groups[facts.content].append(facts.file)
    owners = _owners(inspection)
    pairs = [pair for files in groups.values() for pair in _pairs(files, owners)]
    yield from _described(inspection, owners, pairs, "are copies", exact=True)


@check(pixels=True)
def look_alikes(inspection: Inspection) -> Iterator[Finding]:
    """Pictures that a person would call the same, in different files."""
    facts = [f for f in inspection.facts.values() if not f.error and not f.flat]
    owners = _owners(inspection)
    numbers = {owner: n for n, owner in enumerate(dict.fromkeys(owners.values()))}
    pairs = similar(facts, [numbers[owners[f.file]] for f in facts])
    named = [(facts[i].file, facts[j].file) for i, j in pairs]
    yield from _described(inspection, owners, named, "look the same", exact=False)


def similar(
    facts: Sequence[ImageFacts], data_sets: Sequence[int] | None = None
) -> list[tuple[int, int]]:
    """Indices (i, j), i < j, of pictures that look the same; copies of a file are not among them.

    All pairs are compared: 10,000 pictures take about a second, 100,000 some minutes.

    Args:
        facts: of the pictures.
        data_sets: number of the data set (or of several together) of each picture. Of each, a
            picture is paired with at most 20 that come after it. None = all are of one.
    """
    looks = np.array([f.look for f in facts], dtype=np.uint64)
    numbers = np.zeros(len(facts), np.int64) if data_sets is None else np.array(data_sets)
    found = []
    rows = max(1, _AT_ONCE // max(1, len(looks)))
    for start in range(0, len(looks), rows):
        block = looks[start : start + rows]
        near = np.bitwise_count(block[:, None] ^ looks[None, start:]) <= _BITS
        for a in np.flatnonzero(near.sum(axis=1) > 1):  # each is near itself
            i = start + int(a)
            others = i + 1 + np.flatnonzero(near[a, a + 1 :])
            for number in np.unique(numbers[others]):
                found += _first_alike(facts, i, others[numbers[others] == number])
    return found


def _first_alike(facts: Sequence[ImageFacts], i: int, others: np.ndarray) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for j in map(int, others):
        if facts[i].content != facts[j].content and _same(facts[i], facts[j]):
            found.append((i, j))
            if len(found) == _MOST:
                break
    return found


def _owners(inspection: Inspection) -> dict[str, tuple[int, ...]]:
    """File -> numbers of the data sets that it is in."""
    owners: dict[str, tuple[int, ...]] = defaultdict(tuple)
    for number, subject in enumerate(inspection.subjects):
        for file in {d["file_name"] for d in subject.dicts}:
            owners[file] += (number,)
    return owners


def _pairs(files: Sequence[str], owners: Mapping[str, Hashable]) -> Iterator[Pair]:
    """Each file with those after it, of each data set the first :data:`_MOST`."""
    places: dict[Hashable, list[int]] = defaultdict(list)
    for i, file in enumerate(files):
        places[owners[file]].append(i)
    for i, file in enumerate(files):
        for where in places.values():
            after = bisect_right(where, i)
            yield from ((file, files[j]) for j in where[after : after + _MOST])


def _same(first: ImageFacts, second: ImageFacts) -> bool:
    a, b = (np.frombuffer(f.thumbnail, np.uint8).astype(np.int16) for f in (first, second))
    return float(np.abs(a - b).mean()) <= _GRAY


def _described(
    inspection: Inspection,
    owners: Mapping[str, tuple[int, ...]],
    pairs: Sequence[Pair],
    what: str,
    exact: bool,
) -> Iterator[Finding]:
    """One finding per data set with pairs in it, and one per two data sets that share some."""
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
        most = max(Counter(file for pair in found for file in pair).values())
        count = f"{'at least ' if most >= _MOST else ''}{len(found)} pair(s)"
        yield Finding(
            severity,
            names,
            f"{count} of images {where} {what}",
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
