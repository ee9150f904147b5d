"""What a model is fitted to: users and items with their features, and who rated what how."""

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


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """The users and items that the train split knows.

    Attributes:
      users: every user of the train split.
      items: every item of the train split.
      user_shape: what a model needs to create the users' weights.
      item_shape: the same for items.
    """

    users: Entities
    items: Entities
    user_shape: EntityShape
    item_shape: EntityShape


@dataclasses.dataclass(frozen=True)
class Interactions:
    """Ratings as columns.

    Attributes:
      user: position in the users' `Entities`, int64 [R].
      item: position in the items' `Entities`, int64 [R].
      rating: float32 [R].
    """

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray

    def __len__(self) -> int:
        return len(self.rating)


@dataclasses.dataclass(frozen=True)
class Problem:
    """Everything that training sees.

    Attributes:
      catalogue: users and items.
      train: rows to learn from.
      validation: rows to stop by.
    """

    catalogue: Catalogue
    train: Interactions
    validation: Interactions

    @property
    def rating_mean(self) -> float:
        """Of the train split."""
        return float(self.train.rating.mean(dtype=np.float64))

    @property
    def rating_scale(self) -> float:
        """Standard deviation of the train split's ratings; 1 where all are equal."""
        return float(self.train.rating.std(dtype=np.float64)) or 1.0
