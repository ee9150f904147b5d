"""A checked, joined and split data set; what `validate` checks and RatingsExampleGen writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from tfx_recommender.components.ratings_example_gen import ratings_table, splitting
from tfx_recommender.components.ratings_example_gen.config import Data, Split
from tfx_recommender.foundation.errors import BadDataError
from tfx_recommender.transform.features import (
    ITEM_ID,
    RATING,
    SPLITS,
    STRENGTH,
    TEST,
    TRAIN,
    USER_ID,
)

_BLOCK_ROWS = 1 << 17
# What a row is called, and what became of repeated ones.
_NAMES = {
    RATING: ("ratings", "repeated_ratings_dropped"),
    STRENGTH: ("interactions", "repeated_events_added_up"),
}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """All ratings, or events, and their splits.

    Attributes:
      ratings: the rows with their metadata.
      assignment: which rows belong to which split.
    """

    ratings: ratings_table.RatingsTable
    assignment: splitting.Assignment

    def rows(self, name: str) -> Iterator[np.ndarray]:
        """Row numbers of one split, ascending, some at a time."""
        place, split = self.assignment.place, SPLITS.index(name)
        for start in range(0, len(place), _BLOCK_ROWS):
            yield start + np.flatnonzero(place[start : start + _BLOCK_ROWS] == split)

    def blocks(self, name: str) -> Iterator[dict[str, np.ndarray]]:
        """The columns of a split's rows, some at a time; ids as places in `EntityColumns`."""
        for rows in self.rows(name):
            yield {column: values[rows] for column, values in self.ratings.columns.items()}

    def counts(self) -> dict[str, int]:
        """How many users, items, ratings, and what was left out or is missing."""
        users, items = self.ratings.users, self.ratings.items
        kept = int(self.ratings.kept.sum())
        rows, repeated = _NAMES[self.ratings.value]
        return {
            "users": len(users.ids),
            "items": len(items.ids),
            rows: kept,
            **self.assignment.counts(),
            "train_users": self._distinct(USER_ID, len(users.ids)),
            "train_items": self._distinct(ITEM_ID, len(items.ids)),
            repeated: len(self.ratings) - kept,
            "users_too_few_to_hold_out": self.assignment.users_too_few,
            "users_without_metadata": users.without_metadata,
            "items_without_metadata": items.without_metadata,
        }

    def _distinct(self, column: str, size: int) -> int:
        found = np.zeros(size, bool)
        for block in self.blocks(TRAIN):
            found[block[column]] = True
        return int(found.sum())


def read(data: Data, split: Split, relevance_threshold: float, fingerprint: str = "") -> Dataset:
    """Reads, checks, joins and splits.

    Args:
      data: the files.
      split: the strategy.
      relevance_threshold: smallest rating (of events: strength) of a held-out item that counts
        for rankings.
      fingerprint: begins with that of the files which are expected (see `source_file`); "": any
        will do.

    Raises:
      BadDataError: anything in the files is not as the config says, a split is empty, no item
        of the test split is relevant, or the files are not those that are expected.
    """
    ratings = ratings_table.read(data)
    if fingerprint and not fingerprint.startswith(ratings.fingerprint):
        raise BadDataError(
            f"{', '.join(data.paths())}: one of these changed after the run began; run again when"
            " nothing writes to them"
        )
    dataset = Dataset(ratings, splitting.assign(ratings, split))
    value = ratings.columns[ratings.value]
    if not any((value[rows] >= relevance_threshold).any() for rows in dataset.rows(TEST)):
        raise BadDataError(
            "no rating of the test split reaches evaluation.relevance_threshold"
            f" {relevance_threshold:g}; lower it or bring more data"
        )
    return dataset
