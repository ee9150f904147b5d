"""Caches two answers that Beam (2.77) computes thousands of times while it builds a pipeline.

Building a small pipeline takes longer than running it. Half of that time goes into two questions
whose answers never change: what parameters a DoFn's methods have (asked of each method, some
eight times a DoFn, by `inspect.signature`), and what the pipeline's arguments mean (at each
transform a parser is built from scratch to parse them).
"""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Callable
from typing import Any

import apache_beam
from apache_beam.options import pipeline_options
from apache_beam.transforms import core


def install() -> None:
    """Replaces the two functions in this process by others that return the same.

    Does nothing with another version of Beam: the second function copies private attributes.
    """
    if not apache_beam.__version__.startswith("2.77."):
        return
    core.get_function_args_defaults = _remembering_args(core.get_function_args_defaults)
    pipeline_options.PipelineOptions.view_as = _remembering_view_as(
        pipeline_options.PipelineOptions.view_as
    )


def _remembering_args(ask: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.cache
    def ask_once(function: types.FunctionType) -> Any:
        # Bound, as it came: the signature then leaves out `self`.
        return ask(types.MethodType(function, object()))

    def get_function_args_defaults(function: Any) -> tuple[list[str], list[Any]]:
        # A method's parameters are its function's, whatever instance it is bound to.
        if type(function) is types.MethodType and type(function.__func__) is types.FunctionType:
            names, defaults = ask_once(function.__func__)
            return list(names), list(defaults)
        return ask(function)

    return get_function_args_defaults


def _remembering_view_as(ask: Callable[[Any, type], Any]) -> Callable[[Any, type], Any]:
    @functools.cache
    def parse_once(options: type, flags: tuple[str, ...]) -> Any:
        return options(flags)._visible_options

    def view_as(self: Any, options: Any) -> Any:
        if self._flags is None:
            return ask(self, options)
        view = options.__new__(options)
        view._flags = self._flags
        # Options may be lists, which are added to.
        view._visible_options = copy.deepcopy(parse_once(options, tuple(self._flags)))
        view._all_options = self._all_options
        for name, value in vars(view._visible_options).items():
            self._all_options.setdefault(name, value)
        return view

    return view_as
