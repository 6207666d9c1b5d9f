"""What files may hold: valid content, damaged, and values that nobody expects."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

from metaalign_det.errors import UserError

#: Pieces that have broken readers before.
NASTY = [
    "", " ", "\0", "nan", "inf", "-inf", "1e999", "-0", "9" * 5000, "1_000", "٣", "½", "0x10",
    "../../etc/passwd", "/etc/passwd", "..", ".", "~", "~nobody/x", "a" * 300, "a/" * 200, "CON",
    "\ud800", "\ufeff", "\u2028", "é", "🚗", "%s", "{}", "[" * 2000, "true", "null", "*", "?",
    "\r\n", "\t", "#", "!!python/name:os.system", "&a [*a]", "<!ENTITY a 'b'>", "]]>", "&amp;",
]  # fmt: skip

text = st.one_of(st.sampled_from(NASTY), st.text(max_size=20))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), text,
    st.sampled_from([10**400, -(10**400), 2**63, 1e308, -1e308]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


@st.composite
def damaged(draw, valid: bytes) -> bytes:
    """A valid file with some pieces cut, repeated, moved or replaced."""
    data = valid
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.integers(0, 12)))
        piece = draw(
            st.one_of(
                st.binary(max_size=8),
                st.sampled_from(NASTY).map(lambda s: s.encode("utf-8", "surrogatepass")),
                st.just(data[start:stop] * 2),
            )
        )
        data = data[:start] + piece + data[stop:]
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 5)) == 0 else data


@st.composite
def spoiled(draw, content: object) -> object:
    """A JSON-like value in which some parts, however deep, are something else."""
    if draw(st.integers(0, 14)) == 0:
        return draw(values)
    if isinstance(content, dict):
        made = {key: draw(spoiled(value)) for key, value in content.items()}
        if made and draw(st.integers(0, 9)) == 0:
            del made[draw(st.sampled_from(sorted(made)))]
        return made
    if isinstance(content, list):
        return [draw(spoiled(value)) for value in content]
    return content


@st.composite
def spoiled_somewhere(draw, content: dict) -> dict:
    """A copy of a large tree in which one to three parts are something else, or are gone."""
    for _ in range(draw(st.integers(1, 3))):
        content = _replaced(content, draw(st.sampled_from(list(_paths(content)))), draw)
    return content


def _paths(content: object, path: tuple = ()) -> Iterator[tuple]:
    if path:
        yield path
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in pairs:
        if isinstance(value, dict | list):
            yield from _paths(value, (*path, key))
        else:
            yield (*path, key)


def _replaced(content: Any, path: tuple, draw: Callable[[st.SearchStrategy], object]) -> Any:
    copied, key = copy.copy(content), path[0]
    if len(path) > 1:
        copied[key] = _replaced(content[key], path[1:], draw)
    elif draw(st.booleans()):
        copied[key] = draw(values)
    else:
        del copied[key]
    return copied


def answers_or_explains(call: Callable[[], object]) -> None:
    """A result, or our own error in one bearable message; anything else fails the test."""
    try:
        call()
    except UserError as error:
        message = str(error)
        assert message.strip() and len(message) < 4000
