"""Errors that are the user's to fix."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input: the message names the file, key or value and says what to do about it.

    Tools print the message alone; a traceback would only hide it.
    """
