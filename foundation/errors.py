"""Errors that the user can correct. Each has a message of one line and an exit code."""

from __future__ import annotations


class UserError(Exception):
    """An error whose message says what is wrong, where, and what to do; shown without a trace."""

    exit_code = 1


class ConfigError(UserError):
    """The config or the arguments are wrong."""

    exit_code = 2


class BadDataError(UserError):
    """The data are wrong, so nothing was trained."""

    exit_code = 3


def brief(value: object, length: int = 80) -> str:
    """A value as Python writes it, for a message: escaped, and cut where it is long."""
    return shown(repr(value), length)


def shown(text: str, length: int = 80) -> str:
    """A text for a message: on one line, nothing in it that a terminal obeys, cut where long."""
    rest = f"… ({len(text)} characters)" if len(text) > length else ""
    letters = (letter if letter.isprintable() else repr(letter)[1:-1] for letter in text[:length])
    return "".join(letters) + rest
