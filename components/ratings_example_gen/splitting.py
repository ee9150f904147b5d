"""Assigns each rating to train, validation or test.

A row's split follows from the split settings and the row's own keys alone (random, time), or
from its place in its user's history (leave-last-out). So newer data never move a row that a
pushed model was trained on into today's test.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfx_recommender.components.ratings_example_gen import keyed_hash, ratings_table
from tfx_recommender.components.ratings_example_gen.config import (
    LeaveLastOut,
    Random,
    Split,
    TimeCut,
    utc,
)
from tfx_recommender.components.ratings_example_gen.ratings_table import RatingsTable
from tfx_recommender.foundation.errors import BadDataError
from tfx_recommender.transform.features import (
    ITEM_ID,
    SPLITS,
    TEST,
    TIMESTAMP,
    TRAIN,
    USER_ID,
    VALIDATION,
)

# Rows of this place are in no split: another row of the same pair counts.
NOWHERE = len(SPLITS)
_TRAIN, _VALIDATION, _TEST = (SPLITS.index(name) for name in (TRAIN, VALIDATION, TEST))
# So that what is hashed at a time stays in the processor's cache.
_BLOCK_ROWS = 1 << 16


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Which rows belong to which split.

    Attributes:
      place: uint8 [rows]: the place of a row's split in `SPLITS`, or `NOWHERE`.
      users_too_few: users with too few ratings to hold any out, wholly in train
        (leave-last-out only).
    """

    place: np.ndarray
    users_too_few: int

    def counts(self) -> dict[str, int]:
        """Rows of each split."""
        counts = np.bincount(self.place, minlength=NOWHERE)
        return dict(zip(SPLITS, counts[:NOWHERE].tolist(), strict=True))


def assign(ratings: RatingsTable, split: Split) -> Assignment:
    """Splits the ratings.

    Args:
      ratings: all of them.
      split: the strategy and its settings.

    Raises:
      BadDataError: a split comes out empty, or the strategy needs times and there are none.
    """
    if not isinstance(split, Random) and TIMESTAMP not in ratings.columns:
        raise BadDataError(
            f"split.strategy {split.strategy} needs times: name the column of timestamps,"
            " or choose strategy random"
        )
    too_few = 0
    if isinstance(split, LeaveLastOut):
        place, too_few = _leave_last_out(ratings, split)
    elif isinstance(split, TimeCut):
        place = _time_cut(ratings, split)
    else:
        place = _random(ratings, split)
    place[~ratings.kept] = NOWHERE
    assignment = Assignment(place, too_few)
    for name, count in assignment.counts().items():
        if count == 0:
            raise BadDataError(
                f"the {name} split is empty ({ratings.kept.sum()} rows, split.strategy"
                f" {split.strategy}); bring more data or change the split settings"
            )
    return assignment


def _leave_last_out(ratings: RatingsTable, split: LeaveLastOut) -> tuple[np.ndarray, int]:
    names = ratings.items.ids
    rank = np.empty(len(names), np.int64)
    rank[np.lexsort((names.to_pandas(), pc.utf8_length(names).to_numpy()))] = np.arange(len(names))
    place = np.full(len(ratings), _TRAIN, np.uint8)
    held_out, too_few = split.validation + split.test, 0
    for all_rows in ratings.by_users():
        rows = all_rows[ratings.kept[all_rows]]
        user, item, time = (ratings.columns[name][rows] for name in (USER_ID, ITEM_ID, TIMESTAMP))
        order = np.lexsort((rank[item], time, user))
        rows, user = rows[order], user[order]
        # Users are numbered, so these are consecutive ones.
        count = np.bincount(user - user[0])
        # Within a user, 0 is the last rating.
        from_last = (np.cumsum(count) - 1)[user - user[0]] - np.arange(len(rows))
        enough = (count > held_out)[user - user[0]]
        place[rows[enough & (from_last < held_out)]] = _VALIDATION
        place[rows[enough & (from_last < split.test)]] = _TEST
        too_few += int((count <= held_out).sum())
    return place, too_few


def _time_cut(ratings: RatingsTable, split: TimeCut) -> np.ndarray:
    times = ratings.columns[TIMESTAMP]
    unit = ratings_table.units_a_second(times)
    cuts = [utc(when).timestamp() * unit for when in (split.validation_from, split.test_from)]
    return np.searchsorted(cuts, times, side="right").astype(np.uint8)


def _random(ratings: RatingsTable, split: Random) -> np.ndarray:
    place = np.full(len(ratings), _TRAIN, np.uint8)
    buckets = 1 << 30
    for start in range(0, len(ratings), _BLOCK_ROWS):
        user, item = (
            pa.array(ratings.columns[name][start : start + _BLOCK_ROWS])
            for name in (USER_ID, ITEM_ID)
        )
        # Ids hold no line break, so no two pairs are joined to the same text.
        pairs = pc.binary_join_element_wise(
            ratings.users.ids.take(user), ratings.items.ids.take(item), "\n"
        )
        hashes = keyed_hash.siphash(pairs, (split.seed, 0)) % np.uint64(buckets)
        share, of_block = hashes / buckets, place[start : start + _BLOCK_ROWS]
        of_block[share < split.test + split.validation] = _VALIDATION
        of_block[share < split.test] = _TEST
    return place
