"""Rows of a split as columns: user, item, rating or strength, and time."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Interactions:
    """Ratings, or events, as columns.

    Attributes:
      user: position in the users' `EntityTable`, int64 [R].
      item: position in the items' `EntityTable`, int64 [R].
      rating: float32 [R]; None: the rows are events, which have none.
      time: int64 [R]; None: not known.
      strength: of events, the weight of a row, float32 [R], above 0; None for ratings.
    """

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray | None
    time: np.ndarray | None = None
    strength: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.user)

    def known_rating(self) -> np.ndarray:
        """`rating`, of rows that are known to have one."""
        assert self.rating is not None, "events have no ratings"
        return self.rating

    def known_strength(self) -> np.ndarray:
        """`strength`, of rows that are known to have one."""
        assert self.strength is not None, "ratings have no strength"
        return self.strength
