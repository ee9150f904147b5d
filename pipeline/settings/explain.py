"""What is wrong with a config, in one line: file and line, key, problem."""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from tfx_recommender.foundation.errors import brief, shown

_LONGEST_MESSAGE = 400
_KEY_PREFIX = re.compile(r"([a-z_]+(?:\.[a-z_]+)*): ")


@dataclasses.dataclass(frozen=True)
class Override:
    """A setting that replaces what the config file says.

    Attributes:
      key: its path.
      value: as YAML means it.
      where: how messages name it.
    """

    key: tuple[str, ...]
    value: Any
    where: str


def explain(
    error: ValidationError,
    model: type[BaseModel],
    path: str,
    root: yaml.Node,
    values: Any,
    overrides: tuple[Override, ...],
) -> str:
    """The first problem in one line, and how many more there are.

    Args:
      error: pydantic's.
      model: what was validated; its keys are what a misspelt one is compared with.
      path: the YAML file.
      root: its nodes, which know their lines.
      values: its values, overrides set in.
      overrides: what replaced settings of the file.
    """
    problems = error.errors()
    problem = problems[0]
    location = problem["loc"]
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error" and (prefix := _KEY_PREFIX.match(message)):
        # A check over several keys names the one to mend.
        location += tuple(prefix[1].split("."))
        message = message[prefix.end() :]
    line, key = line_of(root, location), _key(values, location)
    where = f"{path}:{line}"
    for override in overrides:
        named = ".".join(override.key)
        if key == named or key.startswith(f"{named}.") or named.startswith(f"{key}."):
            where = override.where
    if problem["type"] == "extra_forbidden":
        message = "unknown key" + _near_miss(str(problem["loc"][-1]), model)
    elif problem["type"] == "missing":
        message = "is missing"
    elif problem["type"] != "value_error" and not isinstance(problem["input"], dict):
        message = f"{message[0].lower()}{message[1:]}, not {brief(problem['input'])}"
    message = shown(message, _LONGEST_MESSAGE)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {shown(key, 200)}: {message}{more}" if key else f"{where}: {message}{more}"


def line_of(node: yaml.Node, location: tuple[int | str, ...]) -> int:
    """The line of a key in the file, or of what it would be in."""
    line = node.start_mark.line + 1
    for part in location:
        found = None
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            found = (node.value[part],) * 2 if part < len(node.value) else None
        if found is not None:
            line, node = found[0].start_mark.line + 1, found[1]
    return line


def _key(values: Any, location: tuple[int | str, ...]) -> str:
    """A key's path as written (pydantic's union tags left out)."""
    keys = []
    for depth, part in enumerate(location):
        try:
            values = values[part]
        except (LookupError, TypeError):
            if depth < len(location) - 1 and isinstance(values, dict):
                continue
        keys.append(str(part))
    return ".".join(keys)


def _near_miss(key: str, model: type[BaseModel]) -> str:
    known: set[str] = set()
    schema = model.model_json_schema()
    for part in [schema, *schema.get("$defs", {}).values()]:
        known |= set(part.get("properties", {}))
    matches = difflib.get_close_matches(key, sorted(known), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
