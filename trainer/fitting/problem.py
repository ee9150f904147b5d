"""What a model is fitted to: users and items with their features, and who rated what how."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from tfx_recommender.trainer.fitting.histories import Histories
from tfx_recommender.trainer.fitting.interactions import Interactions


@dataclasses.dataclass(frozen=True)
class EntityShape:
    """What a model must know of one side to create its weights.

    Attributes:
      side: which.
      ids: rows of the embedding table: vocabulary plus OOV buckets.
      vocabulary: known ids; rows from here on are OOV buckets.
      numeric: number of numeric features.
      categories: feature name -> its distinct values as bytes, the last one for OOV.
      ratings: how many of the train split look up each row of the table, int64 [ids]; None: not
        known, and nobody asks (see `embeddings.IdEmbedding`).
    """

    side: Literal["user", "item"]
    ids: int
    vocabulary: int
    numeric: int
    categories: Mapping[str, tuple[bytes, ...]]
    ratings: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Entities:
    """Every user, or every item, of the train split; one more row stands for an unknown one.

    Attributes:
      raw_ids: the ids as bytes, object [N]; the unknown row has none.
      index: row in the embedding table, int64 [N + 1].
      numeric: scaled numeric features, float32 [N + 1, F]; 0 is the mean.
      categories: feature name -> int64 [N + 1, M], padded with -1.
      history: of users, the items rated latest in training (positions, int32 [N + 1, L], padded
        with -1) and their ages (float32 [N + 1, L], see `Histories.latest`); of items nothing.
    """

    raw_ids: np.ndarray
    index: np.ndarray
    numeric: np.ndarray
    categories: dict[str, np.ndarray]
    history: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.raw_ids)

    def table(self) -> dict[str, Any]:
        """The columns as one nested dict, ready to be gathered row by row."""
        table = {"index": self.index, "numeric": self.numeric, "categories": self.categories}
        if self.history is not None:
            table["history"], table["age"] = self.history
        return table


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


class Problem:
    """Everything that training sees.

    Attributes:
      catalogue: users, with what they rated latest, and items.
      train: rows to learn from.
      validation: rows to stop by; none: training does not stop early.
      history: so many of a user's latest ratings are seen.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        train: Interactions,
        validation: Interactions,
        history: int,
        seed: int,
    ) -> None:
        """Puts both splits together; `history` may be 0."""
        self.history, self._seed = history, seed
        self.train, self.validation = train, validation
        count = len(catalogue.users)
        seen, age = np.zeros((count + 1, 0), np.int32), np.zeros((count + 1, 0), np.float32)
        if history:
            self.catalogue = catalogue
            latest = self.histories.latest(self.histories.after(np.arange(count + 1)), history)
            seen, age = (part.numpy() for part in latest)
        users = dataclasses.replace(catalogue.users, history=(seen, age))
        self.catalogue = dataclasses.replace(catalogue, users=users)

    @functools.cached_property
    def histories(self) -> Histories:
        """What users had rated at any moment; sorting it takes a while, so only if it is needed."""
        return Histories(self.train, len(self.catalogue.users), self._seed)

    @functools.cached_property
    def rating_mean(self) -> float:
        """Of the train split."""
        return float(self.train.rating.mean(dtype=np.float64))

    @functools.cached_property
    def rating_scale(self) -> float:
        """Standard deviation of the train split's ratings; 1 where all are equal."""
        return float(self.train.rating.std(dtype=np.float64)) or 1.0

    @functools.cached_property
    def mean_strength(self) -> float:
        """Of the train split's events."""
        return float(np.mean(self.train.strength, dtype=np.float64))
