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
    return cut(repr(value), length)


def cut(text: str, length: int) -> str:
    """A text for a message, its end left out where it is long."""
    return text if len(text) <= length else f"{text[:length]}… ({len(text)} characters)"
