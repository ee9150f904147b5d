"""What a model is fitted to: users and items with their features, and their ratings."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Literal

import numpy as np

from tfx_recommender.trainer.fitting.head import EntityBatch
from tfx_recommender.trainer.fitting.histories import Histories
from tfx_recommender.trainer.fitting.interactions import Interactions


@dataclasses.dataclass(frozen=True)
class EntityShape:
    """The sizes of one side, users or items, which determine its weights.

    Attributes:
      side: `user` or `item`.
      ids: number of rows of the embedding table: vocabulary plus OOV buckets.
      vocabulary: number of known ids; later rows are OOV buckets.
      numeric: number of numeric features.
      categories: feature name -> its distinct values as bytes, the last one for OOV.
      ratings: number of training ratings of each row, int64 [ids]; None: not known, which
        `layers.IdEmbedding` allows only without `l2_exponent`.
    """

    side: Literal["user", "item"]
    ids: int
    vocabulary: int
    numeric: int
    categories: Mapping[str, tuple[bytes, ...]]
    ratings: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class EntityTable:
    """Every user, or every item, of the train split; one more row stands for an unknown one.

    Attributes:
      raw_ids: the ids as bytes, object [N]; the unknown row has none.
      index: row in the embedding table, int64 [N + 1].
      numeric: scaled numeric features, float32 [N + 1, F]; 0 is the mean.
      categories: feature name -> int64 [N + 1, M], padded with -1.
      history: of users, the items rated latest in training (positions, int32 [N + 1, L], padded
        with -1) and their ages (float32 [N + 1, L], see `Histories.latest`); None for items.
    """

    raw_ids: np.ndarray
    index: np.ndarray
    numeric: np.ndarray
    categories: dict[str, np.ndarray]
    history: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.raw_ids)

    def batch(self) -> EntityBatch[np.ndarray]:
        """All rows, that of the unknown one last."""
        table: EntityBatch[np.ndarray] = {
            "index": self.index,
            "numeric": self.numeric,
            "categories": self.categories,
        }
        if self.history is not None:
            table["history"], table["age"] = self.history
        return table


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """The users and items that the train split knows.

    Attributes:
      users: every user of the train split.
      items: every item of the train split.
      user_shape: sizes of the users' weights.
      item_shape: sizes of the items' weights.
    """

    users: EntityTable
    items: EntityTable
    user_shape: EntityShape
    item_shape: EntityShape


class Problem:
    """Everything that training uses.

    Attributes:
      catalogue: users, with their most recent ratings, and items.
      train: the train split.
      validation: the validation split, which stops training early; may be empty.
      history: number of a user's most recent ratings that heads use.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        train: Interactions,
        validation: Interactions,
        history: int,
        seed: int,
    ) -> None:
        """Adds the histories of users to the catalogue; `history` may be 0."""
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
        """The ratings of each user before any point in time; sorted on first use."""
        return Histories(self.train, len(self.catalogue.users), self._seed)

    @functools.cached_property
    def rating_mean(self) -> float:
        """Mean of the train split's ratings."""
        return float(self.train.known_rating().mean(dtype=np.float64))

    @functools.cached_property
    def rating_scale(self) -> float:
        """Standard deviation of the train split's ratings; 1 where all are equal."""
        return float(self.train.known_rating().std(dtype=np.float64)) or 1.0

    @functools.cached_property
    def mean_strength(self) -> float:
        """Mean strength of the train split's events."""
        return float(np.mean(self.train.known_strength(), dtype=np.float64))
