"""Readers are strict, unless somebody collects what is wrong.

A reader that finds a faulty image or object calls :func:`report` and goes on to the next. By
default that call raises, so that the first fault ends the reading. Within :func:`collected` it
returns, the faulty thing is left out, and the fault is on a list.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ...errors import UserError

_collectors: ContextVar[tuple[tuple[type[UserError], list[UserError]], ...]] = ContextVar(
    "collectors of problems", default=()
)


class SizeError(UserError):
    """An annotation that gives its image another size; the image is right."""


class AreaError(UserError):
    """A box without area, which is left out."""


def report(error: UserError) -> None:
    """Note a fault of a single image or object, which the caller then leaves out.

    Raises:
        UserError: ``error`` itself, unless it is being collected.
    """
    if not noted(error):
        raise error


def noted(error: UserError) -> bool:
    """Note a fault that reading can go on with, if it is being collected; whether it is."""
    for kind, errors in reversed(_collectors.get()):
        if isinstance(error, kind):
            errors.append(error)
            return True
    return False


@contextmanager
def reported() -> Iterator[None]:
    """:func:`report` whatever is raised within; what comes after goes on if it is collected."""
    try:
        yield
    except UserError as error:
        report(error)


@contextmanager
def collected(kind: type[UserError] = UserError) -> Iterator[list[UserError]]:
    """Within it, faults of this kind are noted rather than raised.

    Args:
        kind: ``BadImageError`` for images alone.

    Yields:
        list: of what was reported, in the order of reading.
    """
    errors: list[UserError] = []
    token = _collectors.set((*_collectors.get(), (kind, errors)))
    try:
        yield errors
    finally:
        _collectors.reset(token)
