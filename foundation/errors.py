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
