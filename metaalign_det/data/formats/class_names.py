"""Class names as the identity of classes, however they are spelled, numbered or grouped.

The one home of the rule about class lists: which names in the data become which classes, and what
happens to the others. :mod:`..catalog.classes` applies it across the data sets of a run.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...errors import UserError
from .paths import show

#: In ``ignore``: every name that is not in ``classes``.
OTHERS = "*"

_SHOWN = 12  # class names listed in one message
_LONG = 40  # characters of each


def normalise(name: str) -> str:
    """The spelling by which names are compared: ``Real World``, ``Real_World`` -> ``realworld``.

    An accent counts as the same whether it is part of its letter or, as on a Mac, behind it.
    """
    return unicodedata.normalize("NFC", re.sub(r"[\s_\-]+", "", name).casefold())


class ClassIndex:
    """From any spelling of a class name to its index.

    Args:
        names: class names in the order of their indices.

    Raises:
        UserError: two names differ in spelling only.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._index: dict[str, int] = {}
        for i, name in enumerate(self.names):
            first = self._index.setdefault(normalise(name), i)
            if first != i:
                raise UserError(
                    f"class {show(self.names[first])} is listed twice, again as {show(name)}"
                )

    def find(self, name: str) -> int | None:
        """Index of a class, or None for a name that is not among them."""
        return self._index.get(normalise(name))

    def describe(self, unknown: str) -> str:
        """The class list in short, with the most similar name, for messages."""
        close = difflib.get_close_matches(normalise(unknown[:100]), self._index, n=1)
        hint = f"; did you mean {show(self.names[self._index[close[0]]])}?" if close else ""
        return f"the {len(self.names)} classes are {shorten(self.names)}{hint}"


def shorten(names: Sequence[str]) -> str:
    """Names joined by commas, the rest counted where there are many; long names are cut."""
    more = len(names) - _SHOWN
    shown = [n if len(n) <= _LONG else f"{n[:_LONG]}..." for n in names[:_SHOWN]]
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class ClassRule:
    """Which names in the data become which classes: the same three settings for every format.

    Args:
        classes: names in the order of their numbers; None = all that the data have.
        class_map: pairs (name in the data, class it becomes): renames and merges.
        ignore: names in the data whose objects are dropped, unless they are in ``classes``;
            ``"*"`` drops whatever is not in ``classes``. Anything else is an error, since a
            misspelt class would quietly be lost.

    All names are compared as :func:`normalise` spells them.

    Raises:
        UserError: settings that contradict each other.
    """

    classes: tuple[str, ...] | None = None
    class_map: tuple[tuple[str, str], ...] = ()
    ignore: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        index = None if self.classes is None else ClassIndex(self.classes)
        if index is None and OTHERS in self.ignore:
            raise UserError("IGNORE '*' drops what is not in CLASSES: name the classes there")
        seen: set[str] = set()
        ignored = {normalise(name) for name in self.ignore}
        for name, becomes in self.class_map:
            if normalise(name) in seen:
                raise UserError(f"CLASS_MAP names {show(name)} twice")
            seen.add(normalise(name))
            if normalise(name) in ignored:
                raise UserError(f"{show(name)} is both in CLASS_MAP and in IGNORE: remove one")
            if index is not None and index.find(becomes) is None:
                raise UserError(
                    f"CLASS_MAP makes {show(name)} a {show(becomes)}, which is not in CLASSES; "
                    f"{index.describe(becomes)}"
                )

    def number(
        self, first_use: Mapping[str, str], declared: Sequence[str] | None = None
    ) -> tuple[ClassIndex, dict[str, int | None]]:
        """The classes of a data set, and the number of each name in it.

        Args:
            first_use: every name that objects have, with what names its first use in a message.
            declared: names that the data list themselves, in their order; None = they list none,
                and classes that are not given are the names of objects, sorted.

        Returns:
            the classes, and a dict from name in the data to class number; None = dropped.

        Raises:
            UserError: a name that is neither a class nor ignored; no class at all; without
                classes, two names that differ in spelling only.
        """
        mapped = {normalise(name): becomes for name, becomes in self.class_map}
        ignored = {normalise(name) for name in self.ignore}

        def translate(names: Sequence[str]) -> list[str]:
            kept = {}
            own = [n for n in names if normalise(n) not in ignored]
            _refuse_spellings([n for n in own if normalise(n) not in mapped], first_use)
            for name in own:
                becomes = mapped.get(normalise(name), name)
                kept.setdefault(normalise(becomes), becomes)
            return list(kept.values())

        if self.classes is not None:
            index = ClassIndex(self.classes)
        elif declared is not None:
            index = ClassIndex(translate(declared))
        else:
            index = ClassIndex(sorted(translate(sorted(first_use)), key=str.casefold))
        if not index.names:
            raise UserError("no object in any image, and no class is named: give CLASSES")
        numbers: dict[str, int | None] = {}
        for name, where in first_use.items():
            number = index.find(mapped.get(normalise(name), name))
            if number is None and normalise(name) not in ignored and OTHERS not in self.ignore:
                raise UserError(
                    f"{where}: class {show(name)} is not among them; {index.describe(name)}. "
                    "Correct the file, add it to CLASSES, rename it in CLASS_MAP, or name it in "
                    "IGNORE to drop its objects ('*' drops all others)"
                )
            numbers[name] = number
        return index, numbers


def _refuse_spellings(names: Iterable[str], first_use: Mapping[str, str]) -> None:
    """Whether ``A`` and ``a`` are one class, only the user knows: taken as one, a class is lost."""
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(normalise(name), name)
        if not {first, name} <= first_use.keys():  # one of them has no object that could be lost
            continue
        if unicodedata.normalize("NFC", first) != unicodedata.normalize("NFC", name):
            both = " and ".join(f"{show(n)} ({first_use[n]})" for n in (first, name))
            raise UserError(
                f"the classes {both} differ only in case, spaces, underscores or hyphens, which "
                "do not count in names: rename one of them in the data or, if they are one class, "
                f"say CLASS_MAP {{{show(name)}: {show(first)}}}"
            )


def same_classes(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether two lists hold the same classes, in whatever order and spelling."""
    return sorted(map(normalise, first)) == sorted(map(normalise, second))
