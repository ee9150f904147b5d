"""The reference of all settings, `docs/settings.md`, written from the settings themselves.

make docs
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tfx_recommender.pipeline.settings.config import Config

_HEAD = """# Settings

Every key of a config file, written by `make docs` from the code. A key stands below the section
that it belongs to; on the command line dots lead inwards: `--set evaluation.k=20`. A key without a
default must be given.

"""
_BOUNDS = {Ge: "≥", Gt: ">", Le: "≤", Lt: "<"}
_NAMES = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "null",
    Any: "anything",
}


def reference() -> str:
    """The reference, as Markdown."""
    sections = "\n".join(_section(Config, ""))
    return _HEAD + sections.rstrip() + "\n"


def _section(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """A table of a model's keys, then the sections inside it."""
    yield f"## `{prefix}`" if prefix else "## The file"
    yield ""
    yield _one_line(inspect.getdoc(model) or "")
    yield ""
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    documented = _docs_of(model)
    inner: list[tuple[str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        models = list(_models_in(field.annotation))
        inner += [(_path(prefix, name, one, len(models)), one) for one in models]
        meaning = documented.get(name) or field.description or ""
        cells = (f"`{name}`", _type(field, models), _default(field), _one_line(meaning))
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
    yield ""
    for path, one in inner:
        yield from _section(one, path)


def _path(prefix: str, name: str, model: type[BaseModel], among: int) -> str:
    path = f"{prefix}.{name}" if prefix else name
    if among == 1:
        return path
    # One of several forms: the key that tells them apart has one value in each.
    for key, field in model.model_fields.items():
        if typing.get_origin(field.annotation) is typing.Literal:
            values = " or ".join(str(value) for value in typing.get_args(field.annotation))
            return f"{path}, {key}: {values}"
    return path


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models_in(part)


def _type(field: FieldInfo, models: list[type[BaseModel]]) -> str:
    if models:
        is_map = typing.get_origin(field.annotation) is dict
        return "sections by name" if is_map else "section"
    return _type_name(field.annotation) + _bounds(field.metadata)


def _bounds(metadata: Iterable[Any]) -> str:
    """Bounds of a number, which pydantic keeps as `annotated_types`: " ≥ 1 < 10"."""
    told = ""
    for given in metadata:
        for one in getattr(given, "metadata", None) or [given]:
            if type(one) in _BOUNDS:
                bound = getattr(one, type(one).__name__.lower())
                told += f" {_BOUNDS[type(one)]} {int(bound) if bound == int(bound) else bound}"
    return told


def _type_name(annotation: Any) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type_name(parts[0]) + _bounds(parts[1:])
    if origin is typing.Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in parts)
    inner = [_type_name(part) for part in parts if part is not Ellipsis]
    if origin in (typing.Union, types.UnionType):
        name = " or ".join(inner)
    elif origin is tuple:
        name = f"list of {f'{len(inner)}: ' if Ellipsis not in parts else ''}{', '.join(inner)}"
    elif origin is dict:
        name = f"{inner[1]} by name"
    else:
        name = _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))
    return name


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return ""
    return f"`{json.dumps(value, default=str)}`"


def _docs_of(model: type[BaseModel]) -> dict[str, str]:
    """Field -> the text below it in the source, those of parents too."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if not (issubclass(one, BaseModel) and one is not BaseModel):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
        except (OSError, TypeError):
            continue  # made while the program runs; its fields bring their own descriptions
        (definition,) = tree.body
        assert isinstance(definition, ast.ClassDef)
        for before, after in zip(definition.body, definition.body[1:], strict=False):
            if (
                isinstance(before, ast.AnnAssign)
                and isinstance(before.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                found[before.target.id] = str(after.value.value)
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split("\n\n", maxsplit=1)[0].split())


if __name__ == "__main__":
    print(reference(), end="")
