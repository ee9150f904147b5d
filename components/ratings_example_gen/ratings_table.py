"""All ratings as columns on disk: checked, numbered, without repeated pairs; their metadata."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfx_recommender.components.errors import BadDataError
from tfx_recommender.components.ratings_example_gen import table_file
from tfx_recommender.components.ratings_example_gen.config import Data, EntityFile
from tfx_recommender.transform.features import ITEM_ID, RATING, TIMESTAMP, USER_ID

_TYPES = {USER_ID: np.int32, ITEM_ID: np.int32, RATING: np.float32, TIMESTAMP: np.int64}


@dataclasses.dataclass(frozen=True)
class Entities:
    """The users, or the items, that have ratings, in order of first appearance.

    Attributes:
      ids: strings, [entities].
      features: per feature one column, [entities]: numeric float32 or null, category string or
        null, categories list<string>.
      without_metadata: how many of them the metadata file does not know.
    """

    ids: pa.StringArray
    features: dict[str, pa.Array] = dataclasses.field(default_factory=dict)
    without_metadata: int = 0


@dataclasses.dataclass(frozen=True)
class Ratings:
    """The ratings in file order, ready to be split.

    Attributes:
      users: who rated.
      items: what was rated.
      columns: [rows] each: `user_id` and `item_id` (int32, places in `users` and `items`),
        `rating` (float32) and, if the data have one, `timestamp` (int64).
      latest: bool [rows]; false where a later row rates the same pair.
      rows_in_memory: how many rows may be sorted at a time.
    """

    users: Entities
    items: Entities
    columns: dict[str, np.ndarray]
    latest: np.ndarray
    rows_in_memory: int

    def __len__(self) -> int:
        return len(self.latest)

    def by_users(self) -> Iterator[np.ndarray]:
        """Row numbers, ascending, of some users at a time: all their rows, so that sorting them
        takes bounded memory (a user with more than `rows_in_memory` comes alone)."""
        user = self.columns[USER_ID]
        ends = np.cumsum(np.bincount(user, minlength=len(self.users.ids)))
        first, done = 0, 0
        while first < len(ends):
            last = int(np.searchsorted(ends, done + self.rows_in_memory, side="right"))
            last = max(last, first + 1)
            yield np.flatnonzero((user >= first) & (user < last))
            first, done = last, int(ends[last - 1])


def read(data: Data) -> Ratings:
    """Reads all files.

    Of several ratings of a (user, item) pair the latest counts: by timestamp, where there is
    one, and by place in the files where times are equal or there are none.

    Raises:
      BadDataError: any file or row is not as the config says, or there are fewer than two users.
    """
    user_ids, item_ids = _Numbering(), _Numbering()
    columns = {name: _Column(kind) for name, kind in _TYPES.items()}
    if data.ratings.timestamp is None:
        del columns[TIMESTAMP]
    for path in data.ratings.paths:
        for block in table_file.blocks(path, data.ratings):
            columns[USER_ID].append(user_ids.numbers(block.ids(data.ratings.user)))
            columns[ITEM_ID].append(item_ids.numbers(block.ids(data.ratings.item)))
            columns[RATING].append(_checked_ratings(block, data))
            if data.ratings.timestamp is not None:
                times = block.numbers(data.ratings.timestamp, pa.int64())
                columns[TIMESTAMP].append(times.to_numpy())
    if len(user_ids.ids) < 2:
        raise BadDataError(
            f"{', '.join(data.ratings.paths)}: fewer than two users; is {data.ratings.user!r}"
            " the right column?"
        )
    arrays = {name: column.array() for name, column in columns.items()}
    ratings = Ratings(
        _entities(user_ids.ids, data.users),
        _entities(item_ids.ids, data.items),
        arrays,
        np.ones(len(arrays[RATING]), bool),
        data.rows_in_memory,
    )
    for rows in ratings.by_users():
        ratings.latest[rows] = _latest_of_each_pair(ratings, rows)
    return ratings


class _Numbering:
    """Numbers distinct ids in order of first appearance."""

    def __init__(self) -> None:
        self.ids: pa.StringArray = pa.array([], pa.string())

    def numbers(self, ids: pa.DictionaryArray) -> np.ndarray:
        known = pc.index_in(ids.dictionary, self.ids)
        new = pc.is_null(known)
        place = pc.fill_null(known, 0).to_numpy().copy()
        is_new = new.to_numpy(zero_copy_only=False)
        place[is_new] = len(self.ids) + np.arange(is_new.sum())
        self.ids = pa.concat_arrays([self.ids, ids.dictionary.filter(new)])
        return place[ids.indices.to_numpy()]


class _Column:
    """A column of numbers that is written to disk as it grows, then mapped into memory."""

    def __init__(self, kind: type) -> None:
        self._kind = kind
        # Without a name: it goes when nothing refers to it any more, whatever happens.
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115

    def append(self, values: np.ndarray) -> None:
        self._file.write(values.astype(self._kind, copy=False).data)

    def array(self) -> np.ndarray:
        self._file.flush()
        return np.memmap(self._file, self._kind, "r")


def _checked_ratings(block: table_file.Block, data: Data) -> np.ndarray:
    name = data.ratings.rating
    rating = block.numbers(name, pa.float32())
    low, high = data.ratings.rating_range
    # A NaN is in no range, so "not inside" catches it and "below or above" would not.
    inside = pc.and_(pc.greater_equal(rating, low), pc.less_equal(rating, high))
    block.refuse_where(pc.invert(inside), name, f"is not within rating_range [{low:g}, {high:g}]")
    return rating.to_numpy()


def _latest_of_each_pair(ratings: Ratings, rows: np.ndarray) -> np.ndarray:
    """Which of these rows to keep, bool."""
    user, item = (ratings.columns[name][rows] for name in (USER_ID, ITEM_ID))
    pair = user.astype(np.int64) * len(ratings.items.ids) + item
    if TIMESTAMP in ratings.columns:
        order = np.lexsort((ratings.columns[TIMESTAMP][rows], pair))
    else:
        order = np.argsort(pair, kind="stable")
    pair = pair[order]
    latest = np.empty(len(rows), bool)
    latest[order] = np.append(pair[1:] != pair[:-1], True)
    return latest


def _entities(ids: pa.StringArray, file: EntityFile | None) -> Entities:
    """Looks up each id's metadata."""
    if file is None:
        return Entities(ids)
    rows = table_file.read(file.path, file)
    known = rows.ids(file.id)
    # Codes are in order of first appearance: the first that is behind its row is a second one.
    rows.refuse_where(
        pc.not_equal(known.indices, pa.array(np.arange(len(known)), pa.int32())),
        file.id,
        "stands there twice",
    )
    found = pc.index_in(ids, known.dictionary)
    features = {}
    for name, column in file.features.items():
        if column.kind == "numeric":
            values = rows.numbers(name, pa.float32(), allow_empty=True)
            rows.refuse_where(pc.fill_null(pc.is_nan(values), False), name, "is not a number")
        else:
            text = pc.utf8_trim_whitespace(rows.text(name))
            if column.kind == "categories":
                values = pc.split_pattern(text, column.separator)
                values = pc.if_else(pc.equal(text, ""), pa.scalar([], values.type), values)
            else:
                values = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
        features[name] = values.take(found)
    return Entities(ids, features, found.null_count)


def entity_titles(file: EntityFile) -> dict[str, str]:
    """Item id -> title; empty if the file names no title column."""
    if file.title is None:
        return {}
    rows = table_file.read(file.path, file)
    ids, titles = rows.text(file.id), rows.text(file.title)
    return dict(zip(ids.to_pylist(), titles.to_pylist(), strict=True))
