"""Errors that are the user's to fix."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input: the message names the file, key or value and says what to do about it.

    Tools print the message alone; a traceback would only hide it.
    """


class BadImageError(UserError):
    """An image that is missing or cannot be decoded; training can be told to go on without it.

    Args:
        file: its path.
        reason: completes the sentence "image <file> ...".
        where: what names the image ("list.txt, line 3: "), in front of the sentence.

    Attributes:
        file, reason: as given.
    """

    def __init__(self, file: object, reason: str, where: str = "") -> None:
        super().__init__(f"{where}image {file} {reason}")
        self.file = str(file)
        self.reason = reason
