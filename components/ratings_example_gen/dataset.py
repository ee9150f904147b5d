"""A checked, joined and split data set; what `validate` checks and RatingsExampleGen writes."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pyarrow.compute as pc

from tfx_recommender.components.errors import BadDataError
from tfx_recommender.components.ratings_example_gen import ratings_table, splitting
from tfx_recommender.components.ratings_example_gen.config import Data, Split
from tfx_recommender.transform.features import ITEM_ID, RATING, SPLITS, TEST, TRAIN, USER_ID


@dataclasses.dataclass(frozen=True)
class Dataset:
    """All ratings and their splits.

    Attributes:
      ratings: the ratings with their metadata.
      assignment: which rows belong to which split.
    """

    ratings: ratings_table.Ratings
    assignment: splitting.Assignment

    def split(self, name: str) -> pa.Table:
        """The rows of one split."""
        return self.ratings.table.take(pa.array(self.assignment.rows[name]))

    def counts(self) -> dict[str, int]:
        """How many users, items, ratings, and what was left out or is missing."""
        table, train = self.ratings.table, self.split(TRAIN)
        return {
            "users": _distinct(table, USER_ID),
            "items": _distinct(table, ITEM_ID),
            "ratings": len(table),
            **{name: len(self.assignment.rows[name]) for name in SPLITS},
            "train_users": _distinct(train, USER_ID),
            "train_items": _distinct(train, ITEM_ID),
            "repeated_ratings_dropped": self.ratings.repeated,
            "users_too_few_to_hold_out": self.assignment.users_too_few,
            "users_without_metadata": self.ratings.users_without_metadata,
            "items_without_metadata": self.ratings.items_without_metadata,
        }


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
    dataset = Dataset(ratings, splitting.assign(ratings.table, split))
    if not pc.any(pc.greater_equal(dataset.split(TEST)[RATING], relevance_threshold)).as_py():
        raise BadDataError(
            "no rating of the test split reaches evaluation.relevance_threshold"
            f" {relevance_threshold:g}; lower it or bring more data"
        )
    return dataset


def _distinct(table: pa.Table, name: str) -> int:
    return pc.count_distinct(table[name]).as_py()
