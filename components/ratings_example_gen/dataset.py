"""A checked, joined and split data set; what `validate` checks and RatingsExampleGen writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from tfx_recommender.components.errors import BadDataError
from tfx_recommender.components.ratings_example_gen import ratings_table, splitting
from tfx_recommender.components.ratings_example_gen.config import Data, Split
from tfx_recommender.transform.features import ITEM_ID, RATING, SPLITS, TEST, TRAIN, USER_ID

_BLOCK_ROWS = 1 << 17


@dataclasses.dataclass(frozen=True)
class Dataset:
    """All ratings and their splits.

    Attributes:
      ratings: the ratings with their metadata.
      assignment: which rows belong to which split.
    """

    ratings: ratings_table.Ratings
    assignment: splitting.Assignment

    def rows(self, name: str) -> Iterator[np.ndarray]:
        """Row numbers of one split, ascending, some at a time."""
        place, split = self.assignment.place, SPLITS.index(name)
        for start in range(0, len(place), _BLOCK_ROWS):
            yield start + np.flatnonzero(place[start : start + _BLOCK_ROWS] == split)

    def counts(self) -> dict[str, int]:
        """How many users, items, ratings, and what was left out or is missing."""
        users, items = self.ratings.users, self.ratings.items
        kept = int(self.ratings.latest.sum())
        return {
            "users": len(users.ids),
            "items": len(items.ids),
            "ratings": kept,
            **self.assignment.counts(),
            "train_users": self._distinct(USER_ID, len(users.ids)),
            "train_items": self._distinct(ITEM_ID, len(items.ids)),
            "repeated_ratings_dropped": len(self.ratings) - kept,
            "users_too_few_to_hold_out": self.assignment.users_too_few,
            "users_without_metadata": users.without_metadata,
            "items_without_metadata": items.without_metadata,
        }

    def _distinct(self, column: str, size: int) -> int:
        found = np.zeros(size, bool)
        for rows in self.rows(TRAIN):
            found[self.ratings.columns[column][rows]] = True
        return int(found.sum())


def read(data: Data, split: Split, relevance_threshold: float) -> Dataset:
    """Reads, checks, joins and splits.

    Args:
      data: the files.
      split: the strategy.
      relevance_threshold: smallest rating of a held-out item that counts for rankings.

    Raises:
      BadDataError: anything in the files is not as the config says, a split is empty, or no
        item of the test split is relevant.
    """
    ratings = ratings_table.read(data)
    dataset = Dataset(ratings, splitting.assign(ratings, split))
    rating = ratings.columns[RATING]
    if not any((rating[rows] >= relevance_threshold).any() for rows in dataset.rows(TEST)):
        raise BadDataError(
            "no rating of the test split reaches evaluation.relevance_threshold"
            f" {relevance_threshold:g}; lower it or bring more data"
        )
    return dataset
