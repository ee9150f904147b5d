"""Users and items as the models see them: an id's row in its embedding table, and features."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class EntityShape:
    """What a model must know of one side to create its weights.

    Attributes:
      ids: rows of the embedding table: vocabulary plus OOV buckets.
      vocabulary: known ids; rows from here on are OOV buckets.
      numeric: number of numeric features.
      categories: feature name -> number of distinct values, OOV included.
    """

    ids: int
    vocabulary: int
    numeric: int
    categories: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Entities:
    """Every user, or every item, of the train split; one more row stands for an unknown one.

    Attributes:
      raw_ids: the ids as bytes, object [N]; the unknown row has none.
      index: row in the embedding table, int64 [N + 1].
      numeric: scaled numeric features, float32 [N + 1, F]; 0 is the mean.
      categories: feature name -> int64 [N + 1, M], padded with -1.
    """

    raw_ids: np.ndarray
    index: np.ndarray
    numeric: np.ndarray
    categories: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.raw_ids)

    def table(self) -> dict[str, Any]:
        """The columns as one nested dict, ready to be gathered row by row."""
        return {"index": self.index, "numeric": self.numeric, "categories": self.categories}
