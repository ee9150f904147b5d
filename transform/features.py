"""The column contract: the names, kinds and order of every column between two nodes.

Ingestion writes these columns, the schema describes them, Transform encodes them and the
models read them. No other file spells a column's name.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

USER_ID = "user_id"
ITEM_ID = "item_id"
RATING = "rating"
STRENGTH = "strength"
TIMESTAMP = "timestamp"
# Written by the Evaluator, beside each row of the test split.
USER_ACTIVITY_DECILE = "user_activity_decile"
ITEM_POPULARITY_DECILE = "item_popularity_decile"
DECILES = (USER_ACTIVITY_DECILE, ITEM_POPULARITY_DECILE)
# Of entities: the user's and the item's number of rows in the train split, each given once.
USER_WEIGHT = "user_weight"
ITEM_WEIGHT = "item_weight"
WEIGHTS = (USER_WEIGHT, ITEM_WEIGHT)
RESERVED = (USER_ID, ITEM_ID, RATING, TIMESTAMP, *DECILES, *WEIGHTS)

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
# Of the train split, and of all splits, the rows in which a user or an item appears for the first
# time. StatisticsGen and Transform read these instead of every rating.
TRAIN_ENTITIES, ENTITIES = "train_entities", "entities"

Kind = Literal["numeric", "category", "categories"]
Side = Literal["user", "item"]


@dataclasses.dataclass(frozen=True)
class Feature:
    """One metadata column of users or of items.

    Attributes:
      name: the column's name, unique over users and items.
      kind: `numeric` (float32, may be missing), `category` (a string, may be missing) or
        `categories` (any number of strings).
      side: whose feature it is.
      minimum: smallest allowed value of a numeric feature; None: unbounded.
      maximum: largest allowed value of a numeric feature; None: unbounded.
      values: every allowed category; empty: any.
    """

    name: str
    kind: Kind
    side: Side
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Columns:
    """Every column of a row, after users and items were joined to it.

    Attributes:
      rating_min: smallest rating of the scale; None: rows are events, which have no `rating`
        but a `strength` (float32, above 0).
      rating_max: largest rating of the scale; None likewise.
      has_timestamp: whether rows carry `timestamp` (int64).
      features: the metadata, users' first.
    """

    rating_min: float | None
    rating_max: float | None
    has_timestamp: bool
    features: tuple[Feature, ...] = ()

    @property
    def value(self) -> str:
        """The column of what a row says of its user and item: `rating` or `strength`."""
        return STRENGTH if self.rating_min is None else RATING

    @property
    def rating_range(self) -> tuple[float, float] | None:
        """Smallest and largest rating; None for events."""
        low, high = self.rating_min, self.rating_max
        return None if low is None or high is None else (low, high)

    def of(self, side: Side, *kinds: Kind) -> tuple[Feature, ...]:
        """The features of one side, of these kinds (all kinds when none is named)."""
        return tuple(f for f in self.features if f.side == side and (not kinds or f.kind in kinds))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form, read back by `from_dict`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Columns:
        """The inverse of `to_dict`."""
        features = tuple(
            Feature(**{**feature, "values": tuple(feature["values"])})
            for feature in value["features"]
        )
        return cls(**{**value, "features": features})
