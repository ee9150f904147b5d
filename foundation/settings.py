"""The base class of all settings."""

from __future__ import annotations

import typing
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Settings(BaseModel):
    """A section of the config: immutable; unknown keys are errors.

    Numbers are finite, and `true` is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_truth_values(cls, value: Any) -> Any:
        """Pydantic (2.11) takes `true` for 1."""
        given = value if isinstance(value, dict) else {}
        for name, field in cls.model_fields.items():
            kinds = _kinds(field.annotation)
            if kinds & {int, float} and bool not in kinds and (found := _truth(given.get(name))):
                raise ValueError(f"{name}: is {found}; a number is needed")
        return value


def _kinds(annotation: Any) -> set[Any]:
    """The types that an annotation is made of."""
    parts = typing.get_args(annotation)
    return {annotation}.union(*map(_kinds, parts)) if parts else {annotation}


def _truth(value: Any) -> str | None:
    """`true` or `false`, if a value is that or a list that holds it."""
    if isinstance(value, bool):
        return str(value).lower()
    found = map(_truth, value) if isinstance(value, (list, tuple)) else ()
    return next(filter(None, found), None)
