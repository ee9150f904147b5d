"""YAML as settings need it: what would surprise is an error, and nothing takes long.

YAML's own rules (1.1) read `1:30` as 90 and `010` as 8, and let a short text stand for endless
or huge values.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from tfx_recommender.foundation.errors import brief

_MOST_NODES, _MOST_LEVELS = 100_000, 50
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_LARGEST = 2**63


class YamlError(Exception):
    """What is wrong with a text, and in which line, from 1 (None: not known)."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(" ".join(message.split()))
        self.line = line


def parse(text: str) -> tuple[yaml.Node | None, Any]:
    """The nodes of a document, None if there are none, and its value.

    Raises:
      YamlError: it is no YAML, or it says what settings cannot mean.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _measure(root, 0, {})
        # From nodes of its own: constructing resolves merge keys in place.
        return root, yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise YamlError(error.problem or str(error), mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:
        raise YamlError(getattr(error, "reason", None) or str(error), None) from None
    except RecursionError:
        raise YamlError(f"is nested more than {_MOST_LEVELS} levels deep", None) from None


def _measure(node: yaml.Node, level: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many nodes a node stands for, aliases followed, and how many levels.

    Raises:
      YamlError: too many of either; what refers to itself has levels without end.
    """
    nodes, levels = known.get(id(node), (1, 1))
    if id(node) not in known and isinstance(node, yaml.CollectionNode):
        if level > _MOST_LEVELS:
            levels = _MOST_LEVELS
        else:
            pairs = isinstance(node, yaml.MappingNode)
            for child in (part for pair in node.value for part in pair) if pairs else node.value:
                of_child = _measure(child, level + 1, known)
                nodes, levels = nodes + of_child[0], max(levels, 1 + of_child[1])
            known[id(node)] = nodes, levels
    line = node.start_mark.line + 1
    if level + levels > _MOST_LEVELS:
        raise YamlError(
            f"is nested more than {_MOST_LEVELS} levels deep, or refers to itself", line
        )
    if nodes > _MOST_NODES:
        raise YamlError(f"stands for more than {_MOST_NODES:,} values", line)
    return nodes, levels


class _Loader(yaml.SafeLoader):
    """Names the line of whatever cannot be a value."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (ValueError, ArithmeticError, AttributeError, LookupError, TypeError):
            raise _refusal(node, "cannot be read as what it looks like; put it in quotes") from None
        if isinstance(node, yaml.ScalarNode) and not isinstance(value, bool):
            _refuse_surprises(node, value)
        return value


def _refuse_surprises(node: yaml.ScalarNode, value: Any) -> None:
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise _refusal(node, "holds NUL or half a character; remove it")
    elif isinstance(value, (int, float)) and ":" in node.value:
        raise _refusal(
            node, f"is {value:g} to YAML, in base 60; write that, or put the text in quotes"
        )
    elif isinstance(value, int) and abs(value) >= _LARGEST:
        raise _refusal(node, "is a larger number than any setting takes")
    elif isinstance(value, int) and _OCTAL.fullmatch(node.value):
        raise _refusal(
            node, f"is {value} to YAML, in base 8; leave out the 0 in front, or put it in quotes"
        )


def _refusal(node: yaml.Node, message: str) -> yaml.MarkedYAMLError:
    shown = brief(node.value) if isinstance(node, yaml.ScalarNode) else "a value"
    return yaml.constructor.ConstructorError(None, None, f"{shown} {message}", node.start_mark)
