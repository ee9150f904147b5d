"""Rows of a split as columns: who rated what, how and when."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Interactions:
    """Ratings, or what events say, as columns.

    Attributes:
      user: position in the users' `Entities`, int64 [R].
      item: position in the items' `Entities`, int64 [R].
      rating: float32 [R]; None: the rows are events, which have none.
      time: int64 [R]; None: not known.
      strength: of events, as how many a row counts, float32 [R], above 0; None: all alike.
    """

    user: np.ndarray
    item: np.ndarray
    rating: Any
    time: np.ndarray | None = None
    strength: Any = None

    def __len__(self) -> int:
        return len(self.user)
