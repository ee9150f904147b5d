"""Assigns each rating to train, validation or test.

A row's split follows from the split settings and the row's own keys alone (random, time), or
from its place in its user's history (leave-last-out). So newer data never move a row that a
pushed model was trained on into today's test.
"""

from __future__ import annotations

import dataclasses
import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfx_recommender.components.errors import BadDataError
from tfx_recommender.components.ratings_example_gen.config import (
    LeaveLastOut,
    Random,
    Split,
    TimeCut,
)
from tfx_recommender.transform.features import (
    ITEM_ID,
    SPLITS,
    TEST,
    TIMESTAMP,
    TRAIN,
    USER_ID,
    VALIDATION,
)


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Which rows belong to which split.

    Attributes:
      rows: split -> row numbers, ascending, int64.
      users_too_few: users with too few ratings to hold any out, wholly in train
        (leave-last-out only).
    """

    rows: dict[str, np.ndarray]
    users_too_few: int


def assign(table: pa.Table, split: Split) -> Assignment:
    """Splits the ratings.

    Args:
      table: see `ratings_table.Ratings`.
      split: the strategy and its settings.

    Raises:
      BadDataError: a split comes out empty, or the strategy needs times and there are none.
    """
    if not isinstance(split, Random) and TIMESTAMP not in table.column_names:
        raise BadDataError(
            f"split.strategy {split.strategy} needs times: name data.ratings.timestamp,"
            " or choose strategy random"
        )
    too_few = 0
    if isinstance(split, LeaveLastOut):
        place, too_few = _leave_last_out(table, split)
    elif isinstance(split, TimeCut):
        place = _time_cut(table, split)
    else:
        place = _random(table, split)
    rows = {name: np.flatnonzero(place == number) for number, name in enumerate(SPLITS)}
    for name, members in rows.items():
        if len(members) == 0:
            raise BadDataError(
                f"the {name} split is empty ({len(table)} ratings, split.strategy"
                f" {split.strategy}); bring more data or change the split settings"
            )
    return Assignment(rows, too_few)


_TRAIN, _VALIDATION, _TEST = (SPLITS.index(name) for name in (TRAIN, VALIDATION, TEST))


def _leave_last_out(table: pa.Table, split: LeaveLastOut) -> tuple[np.ndarray, int]:
    user = table[USER_ID].combine_chunks().dictionary_encode().indices.to_numpy()
    item_id = table[ITEM_ID].combine_chunks().dictionary_encode()
    names = item_id.dictionary
    rank = np.empty(len(names), np.int64)
    rank[np.lexsort((names.to_pandas(), pc.utf8_length(names).to_numpy()))] = np.arange(len(names))
    order = np.lexsort((rank[item_id.indices.to_numpy()], table[TIMESTAMP].to_numpy(), user))
    count = np.bincount(user)
    # Within a user, 0 is the last rating.
    from_last = np.empty(len(user), np.int64)
    from_last[order] = np.cumsum(count)[user[order]] - 1 - np.arange(len(user))
    held_out = split.validation + split.test
    enough = count > held_out
    place = np.full(len(user), _TRAIN)
    place[enough[user] & (from_last < held_out)] = _VALIDATION
    place[enough[user] & (from_last < split.test)] = _TEST
    return place, int((~enough).sum())


def _time_cut(table: pa.Table, split: TimeCut) -> np.ndarray:
    cuts = [
        (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
        for moment in (split.validation_from, split.test_from)
    ]
    return np.searchsorted(cuts, table[TIMESTAMP].to_numpy(), side="right")


def _random(table: pa.Table, split: Random) -> np.ndarray:
    import tensorflow as tf  # for this alone, and it takes seconds

    # Ids hold no line break, so no two pairs are joined to the same text.
    pairs = pc.binary_join_element_wise(table[USER_ID], table[ITEM_ID], "\n")
    buckets = 1 << 30
    hashes = tf.strings.to_hash_bucket_strong(
        pairs.to_numpy(zero_copy_only=False), buckets, key=[split.seed, 0]
    ).numpy()
    share = hashes / buckets
    place = np.full(len(share), _TRAIN)
    place[share < split.test + split.validation] = _VALIDATION
    place[share < split.test] = _TEST
    return place
