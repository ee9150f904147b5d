"""Reads a config: a YAML file and `--set` overrides become one `Config`.

Only this module reads config files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from pydantic import ValidationError

from tfx_recommender.foundation.errors import ConfigError, brief, shown
from tfx_recommender.pipeline.settings import settings_yaml
from tfx_recommender.pipeline.settings.config import Config
from tfx_recommender.pipeline.settings.explain import Override, explain, line_of
from tfx_recommender.trainer.search_space import SearchSpace

SEARCH_SPACE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "search-space.yaml")
"""What `tune` tries unless told otherwise."""

# A prefix in a bucket, with nothing in it that a client may rewrite (`..`, `//`, `%`, `?`).
_BUCKET = re.compile(r"(s3|gs)://[a-z0-9][a-z0-9._-]+(/(?!\.\.?(/|$))[A-Za-z0-9._-]+)*/?")

# What TFX and Beam take for a part of a pattern when they look for an artifact's files.
_PATTERN = re.compile(r"[*?\[\\]")

_MOST_CHARACTERS, _MOST_PARTS = 1 << 18, 50


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
    given = tuple(_parsed(overrides))
    for override in given:
        _set(values, override.key, override.value)
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
            text = file.read(_MOST_CHARACTERS + 1)
    except (OSError, ValueError) as error:
        is_text = not isinstance(error, UnicodeDecodeError)
        reason = (getattr(error, "strerror", None) or error) if is_text else "it is not UTF-8"
        raise ConfigError(f"{path}: cannot be read ({reason})") from None
    if len(text) > _MOST_CHARACTERS:
        raise ConfigError(f"{path}: is no config; one has at most {_MOST_CHARACTERS} characters")
    try:
        root, values = settings_yaml.parse(text)
    except settings_yaml.YamlError as error:
        line = f":{error.line}" if error.line else ""
        raise ConfigError(f"{path}{line}: is not YAML: {error}") from None
    if root is None or not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no settings; see pipeline/configs/ for examples")
    for node, repeated in _repeated_keys(root):
        raise ConfigError(f"{path}:{node.start_mark.line + 1}: duplicate key {brief(repeated)}")
    return root, values


def _parsed(overrides: Iterable[str]) -> Iterator[Override]:
    for override in overrides:
        if override.startswith("@"):
            path = override[1:]
            root, values = _read(path)
            for key, value in _leaves(values, ()):
                yield Override(key, value, f"{path}:{line_of(root, key)}")
        else:
            yield _parse_override(override)


def _leaves(values: dict[Any, Any], prefix: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    """(key, value) of everything in a nested dict that is not a dict with anything in it."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*prefix, str(key)))
        else:
            yield (*prefix, str(key)), value


def _parse_override(override: str) -> Override:
    name, equals, value = override.partition("=")
    key, where = tuple(name.split(".")), f"--set {shown(override, 200)}"
    if not equals or not all(key) or len(key) > _MOST_PARTS:
        raise ConfigError(f"{where}: write it as key.path=value")
    try:
        _, parsed = settings_yaml.parse(value)
    except settings_yaml.YamlError as error:
        raise ConfigError(f"{where}: the value is not YAML: {error}") from None
    return Override(key, parsed, where)


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
            name = str(key.value)
            if name in seen:
                yield key, name
            seen.add(name)
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
            raise ConfigError(f"{key}: {brief(values[key])} is a URL; give a folder{bucket}")
        values[key] = os.path.abspath(values[key])
    if found := _PATTERN.search(values["root"]):
        raise ConfigError(
            f"root: {brief(values['root'])} holds {found[0]!r}, which TFX takes for a part of a"
            " pattern; choose a folder without *, ?, [ and backslash"
        )
    interactions = values["data"].get("ratings") or values["data"]["events"]
    interactions["paths"] = [os.path.abspath(path) for path in interactions["paths"]]
    for side in ("users", "items"):
        if values["data"][side]:
            values["data"][side]["path"] = os.path.abspath(values["data"][side]["path"])
    return Config.model_validate(values)
