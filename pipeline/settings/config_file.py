"""Reads a config: a YAML file and `--set` overrides become one `Config`.

Only this module reads config files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from pydantic import ValidationError

from tfx_recommender.foundation.errors import ConfigError
from tfx_recommender.pipeline.settings.config import Config
from tfx_recommender.pipeline.settings.explain import explain
from tfx_recommender.trainer.search_space import SearchSpace

SEARCH_SPACE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "search-space.yaml")
"""What `tune` tries unless told otherwise."""

# A prefix in a bucket, with nothing in it that a client may rewrite (`..`, `//`, `%`, `?`).
_BUCKET = re.compile(r"(s3|gs)://[a-z0-9][a-z0-9._-]+(/(?!\.\.?(/|$))[A-Za-z0-9._-]+)*/?")


def load(path: str, overrides: Iterable[str] = ()) -> Config:
    """Reads and checks a config.

    Args:
      path: the YAML file.
      overrides: `key.path=value`, the value as YAML; each replaces what the file says. `@FILE`
        stands for every setting in that file.

    Raises:
      ConfigError: names file and line (or the override), the key and what is wrong.
    """
    root, values = _read(path)
    given = tuple(_expanded(overrides))
    for override in given:
        _set(values, *_parse_override(override))
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, Config, path, root, values, given)) from None
    return _with_absolute_paths(config)


def load_search_space(path: str) -> SearchSpace:
    """Reads and checks the file that says what `tune` may try (see `search_space`).

    Raises:
      ConfigError: names file and line, the key and what is wrong.
    """
    root, values = _read(path)
    try:
        return SearchSpace.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, SearchSpace, path, root, values, ())) from None


def _read(path: str) -> tuple[yaml.Node, dict[str, Any]]:
    """A YAML file of settings: its nodes, which know their lines, and its values."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"{path}: cannot be read ({reason})") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{path}{line}: is not YAML: {getattr(error, 'problem', error)}"
        ) from None
    if root is None or not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no settings; see pipeline/configs/ for examples")
    for node, repeated in _repeated_keys(root):
        raise ConfigError(f"{path}:{node.start_mark.line + 1}: duplicate key {repeated!r}")
    return root, values


def _expanded(overrides: Iterable[str]) -> Iterator[str]:
    for override in overrides:
        if override.startswith("@"):
            _, values = _read(override[1:])
            yield from _leaves(values, "")
        else:
            yield override


def _leaves(values: dict[str, Any], prefix: str) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={json.dumps(value)}"


def _parse_override(override: str) -> tuple[tuple[str, ...], Any]:
    key, equals, value = override.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {override}: write it as key.path=value")
    try:
        return tuple(key.split(".")), yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: the value is not YAML") from None


def _set(values: dict[str, Any], key: tuple[str, ...], value: Any) -> None:
    for part in key[:-1]:
        if not isinstance(values.get(part), dict):
            values[part] = {}
        values = values[part]
    values[key[-1]] = value


def _repeated_keys(node: yaml.Node) -> Iterator[tuple[yaml.Node, str]]:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key, key.value
            seen.add(key.value)
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value)


def _with_absolute_paths(config: Config) -> Config:
    """A copy in which no path depends on the working directory any more."""
    values = config.model_dump()
    for key in ("root", "serving_root"):
        if key == "serving_root" and _BUCKET.fullmatch(values[key]):
            continue
        if "://" in values[key]:
            bucket = ", s3://bucket/prefix or gs://bucket/prefix" if key == "serving_root" else ""
            raise ConfigError(f"{key}: {values[key]!r} is a URL; give a folder{bucket}")
        values[key] = os.path.abspath(values[key])
    interactions = values["data"].get("ratings") or values["data"]["events"]
    interactions["paths"] = [os.path.abspath(path) for path in interactions["paths"]]
    for side in ("users", "items"):
        if values["data"][side]:
            values["data"][side]["path"] = os.path.abspath(values["data"][side]["path"])
    return Config.model_validate(values)
