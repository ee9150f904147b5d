"""The search space: the hyperparameters that a search may try. Free of TensorFlow.

    mlp:
      rating:
        embedding_size: {choice: [16, 32, 64]}
        l2: {log: [0.0001, 0.1]}
        training.learning_rate: {log: [0.001, 0.02]}

The levels are architecture, head and hyperparameter (dots lead into its parts). A hyperparameter
has either values to choose from (`choice`) or the two ends of a range: of integers (`integer`), of
numbers (`linear`), or of numbers whose logarithms are spread evenly (`log`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, RootModel, ValidationError, model_validator

from tfx_recommender.foundation.settings import Settings
from tfx_recommender.trainer.architectures.registry import ARCHITECTURES


class Range(Settings):
    """The values of one hyperparameter; exactly one field is given."""

    choice: Annotated[tuple[object, ...], Field(min_length=1)] | None = None
    integer: tuple[int, int] | None = None
    linear: tuple[float, float] | None = None
    log: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _check(self) -> Range:
        if len(self.model_fields_set) != 1:
            raise ValueError("give one of choice, integer, linear, log")
        ends = self.integer or self.linear or self.log
        if ends and not ends[0] < ends[1]:
            raise ValueError(f"{ends[0]} is not below {ends[1]}")
        if self.log and self.log[0] <= 0:
            raise ValueError("a logarithmic range begins above 0")
        return self

    def values(self) -> tuple[object, ...]:
        """Every choice, or both ends of the range."""
        return self.choice or self.integer or self.linear or self.log or ()


class SearchSpace(RootModel[dict[str, dict[str, dict[str, Range]]]]):
    """Architecture -> head -> hyperparameter -> its values."""

    @model_validator(mode="after")
    def _check(self) -> SearchSpace:
        for architecture, heads in self.root.items():
            if architecture not in ARCHITECTURES:
                raise ValueError(f"{architecture}: the names are {', '.join(ARCHITECTURES)}")
            for head, ranges in heads.items():
                if head not in ("rating", "preference"):
                    raise ValueError(f"{architecture}.{head}: the heads are rating, preference")
                settings = getattr(ARCHITECTURES[architecture], head)
                for name, tried in ranges.items():
                    for value in tried.values():
                        try:
                            settings.model_validate(nested({name: value}))
                        except ValidationError as error:
                            reason = error.errors()[0]["msg"].lower()
                            where = f"{architecture}.{head}.{name}"
                            raise ValueError(f"{where}: {value!r}: {reason}") from None
        return self


def nested(
    values: Mapping[str, object], base: Mapping[str, object] | None = None
) -> dict[str, object]:
    """`{"a.b": 1}` -> `{"a": {"b": 1}}`, put into a copy of `base`."""
    result = dict(base or {})
    for name, value in values.items():
        key, dot, rest = name.partition(".")
        inner = result.get(key)
        inner = inner if isinstance(inner, Mapping) else None
        result[key] = nested({rest: value}, inner) if dot else value
    return result
