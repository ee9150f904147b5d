"""What can go wrong on the user's side: one clear line each, and the exit code it ends with."""

from __future__ import annotations


class UserError(Exception):
    """A problem whose message says what is wrong, where, and what to do; no trace needed."""

    exit_code = 1


class ConfigError(UserError):
    """The config or the arguments are wrong."""

    exit_code = 2


class BadDataError(UserError):
    """The data are wrong; nothing was trained."""

    exit_code = 3


def brief(value: object, length: int = 80) -> str:
    """A value as Python writes it, for a message: escaped, and cut where it is long."""
    return shown(repr(value), length)


def shown(text: str, length: int = 80) -> str:
    """A text for a message: on one line, nothing in it that a terminal obeys, cut where long."""
    rest = f"… ({len(text)} characters)" if len(text) > length else ""
    letters = (letter if letter.isprintable() else repr(letter)[1:-1] for letter in text[:length])
    return "".join(letters) + rest
