"""All ratings, or events, as columns on disk: checked, numbered, one row a pair; their metadata."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfx_recommender.components.ratings_example_gen import table_file
from tfx_recommender.components.ratings_example_gen.config import (
    Data,
    EntityFile,
    EventFiles,
    FeatureColumn,
    RatingsFiles,
)
from tfx_recommender.components.ratings_example_gen.source_file import Fingerprint
from tfx_recommender.foundation.errors import BadDataError, brief, shown
from tfx_recommender.transform.features import ITEM_ID, RATING, STRENGTH, TIMESTAMP, USER_ID

_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
# From which number on a time is in the next smaller unit.
_SIZES = np.array([10**11, 10**14, 10**17])


@dataclasses.dataclass(frozen=True)
class EntityColumns:
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
class RatingsTable:
    """The ratings, or events, in file order, ready to be split.

    Attributes:
      users: who rated.
      items: what was rated.
      columns: [rows] each: `user_id` and `item_id` (int32, places in `users` and `items`),
        `rating` or `strength` (float32) and, if the data have one, `timestamp` (int64).
      kept: bool [rows]; of several rows of a pair, true for the one that counts (see `read`).
      rows_in_memory: how many rows may be sorted at a time.
      fingerprint: of the files as they were read (see `source_file`).
    """

    users: EntityColumns
    items: EntityColumns
    columns: dict[str, np.ndarray]
    kept: np.ndarray
    rows_in_memory: int
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def value(self) -> str:
        """The column of what a row says: `rating` or `strength`."""
        return RATING if RATING in self.columns else STRENGTH

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


def read(data: Data) -> RatingsTable:
    """Reads all files.

    Of several ratings of a (user, item) pair the latest counts: by timestamp, where there is
    one, and by place in the files where times are equal or there are none. Of several events the
    first one does, with the strengths of all: its time stands still when events are appended, so
    that what was once learnt from is never held out later (see `splitting`).

    Raises:
      BadDataError: any file or row is not as the config says, or there are fewer than two users.
    """
    files, fingerprint = data.interactions, Fingerprint()
    user_ids, item_ids = _Numbering(), _Numbering()
    columns = {USER_ID: _Column(np.int32), ITEM_ID: _Column(np.int32)}
    columns[STRENGTH if isinstance(files, EventFiles) else RATING] = _Column(np.float32)
    if files.timestamp is not None:
        columns[TIMESTAMP] = _Column(np.int64)
    units = _Units()
    for path in files.paths:
        for block in table_file.blocks(path, files, fingerprint):
            columns[USER_ID].append(user_ids.numbers(block.ids(files.user)))
            columns[ITEM_ID].append(item_ids.numbers(block.ids(files.item)))
            if isinstance(files, EventFiles):
                columns[STRENGTH].append(_checked_strengths(block, files.strength))
            else:
                columns[RATING].append(_checked_ratings(block, files))
            if files.timestamp is not None:
                times = block.times(files.timestamp).to_numpy()
                units.check(times, block, files.timestamp)
                columns[TIMESTAMP].append(times)
    if len(user_ids.ids) < 2:
        raise BadDataError(
            f"{', '.join(files.paths)}: fewer than two users; is {brief(files.user)} the right"
            " column?"
        )
    arrays = {name: column.array() for name, column in columns.items()}
    ratings = RatingsTable(
        _entities(user_ids.ids, data.users, fingerprint),
        _entities(item_ids.ids, data.items, fingerprint),
        arrays,
        np.ones(len(arrays[USER_ID]), bool),
        data.rows_in_memory,
        fingerprint.hexdigest(),
    )
    for rows in ratings.by_users():
        _make_one_row_of_each_pair(ratings, rows)
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


class _Units:
    """Checks that all times have one unit; their size tells which.

    10^11 seconds after 1970 is the year 5138, and as many milliseconds are March 1973.
    """

    def __init__(self) -> None:
        self._first: tuple[int, str] | None = None

    def check(self, times: np.ndarray, block: table_file.Block, column: str) -> None:
        """Raises BadDataError for the first time, int64 [rows], in another unit than the others."""
        units = _unit(times)
        unit, where = self._first = self._first or (int(units[0]), block.where(0))
        others = np.flatnonzero(units != unit)
        if len(others):
            block.refuse_where(
                pa.array(units != unit),
                column,
                f"looks like {_UNITS[units[others[0]]]}, but the time at {where} like"
                f" {_UNITS[unit]}; give all in whole seconds since 1970",
            )


def _unit(times: np.ndarray) -> np.ndarray:
    """The place in `_UNITS` of each time's unit."""
    return np.searchsorted(_SIZES, np.where(times < 0, ~times, times), side="right")


def units_a_second(times: np.ndarray) -> int:
    """How many units of these times, int64 [N], make a second: 1, 1,000 and so on."""
    return 1000 ** int(_unit(times[0]))


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
        return np.memmap(self._file, self._kind, "r+")


def _checked_ratings(block: table_file.Block, files: RatingsFiles) -> np.ndarray:
    name = files.rating
    rating = block.numbers(name, pa.float32())
    low, high = files.rating_range
    # In float32 as the ratings are: 0.7 there is a little less than the 0.7 of the config.
    ends = pa.scalar(low, pa.float32()), pa.scalar(high, pa.float32())
    # A NaN is in no range, so "not inside" catches it and "below or above" would not.
    inside = pc.and_(pc.greater_equal(rating, ends[0]), pc.less_equal(rating, ends[1]))
    block.refuse_where(pc.invert(inside), name, f"is not within rating_range [{low:g}, {high:g}]")
    return rating.to_numpy()


def _checked_strengths(block: table_file.Block, name: str | None) -> np.ndarray:
    if name is None:
        return np.ones(len(block), np.float32)
    strength = block.numbers(name, pa.float32())
    good = pc.and_(pc.greater(strength, 0), pc.is_finite(strength))
    block.refuse_where(pc.invert(good), name, "is not a finite number above 0")
    return strength.to_numpy()


def _make_one_row_of_each_pair(ratings: RatingsTable, rows: np.ndarray) -> None:
    """Settles which of these rows, all of some users, count, and what they say."""
    user, item = (ratings.columns[name][rows] for name in (USER_ID, ITEM_ID))
    pair = user.astype(np.int64) * len(ratings.items.ids) + item
    if TIMESTAMP in ratings.columns:
        order = np.lexsort((ratings.columns[TIMESTAMP][rows], pair))
    else:
        order = np.argsort(pair, kind="stable")
    rows, pair = rows[order], pair[order]
    changes = pair[1:] != pair[:-1]
    if ratings.value == RATING:
        ratings.kept[rows] = np.append(changes, True)
        return
    is_first = np.append(True, changes)
    ratings.kept[rows] = is_first
    strength = ratings.columns[STRENGTH]
    with np.errstate(over="ignore"):
        total = np.add.reduceat(strength[rows], np.flatnonzero(is_first), dtype=np.float64)
        strength[rows[is_first]] = total
    if not np.isfinite(strength[rows[is_first]]).all():
        raise BadDataError(
            "events: the strengths of one user and item add up to more than a number of 32 bits"
            " holds; give them in a larger unit"
        )


def _entities(
    ids: pa.StringArray, file: EntityFile | None, fingerprint: Fingerprint
) -> EntityColumns:
    """Looks up each id's metadata."""
    if file is None:
        return EntityColumns(ids)
    rows = table_file.read(file.path, file, fingerprint)
    known = rows.ids(file.id)
    # Codes are in order of first appearance: the first that is behind its row is a second one.
    rows.refuse_where(
        pc.not_equal(known.indices, pa.array(np.arange(len(known)), pa.int32())),
        file.id,
        "is given twice",
    )
    found = pc.index_in(ids, known.dictionary)
    features = {name: _feature(rows, name, of) for name, of in file.features.items()}
    taken = {name: values.take(found) for name, values in features.items()}
    return EntityColumns(ids, taken, found.null_count)


def _feature(rows: table_file.Block, name: str, column: FeatureColumn) -> pa.Array:
    """One metadata column, checked, [rows]."""
    if column.kind == "numeric":
        numbers = rows.numbers(name, pa.float32(), allow_empty=True)
        # One infinite number would make the z-scores of all others 0.
        infinite = pc.fill_null(pc.invert(pc.is_finite(numbers)), False)
        rows.refuse_where(infinite, name, "is not a finite number of 32 bits")
        for end, beyond, noun in (
            (column.min, pc.less, "below min"),
            (column.max, pc.greater, "above max"),
        ):
            if end is not None:
                bad = pc.fill_null(beyond(numbers, pa.scalar(end, pa.float32())), False)
                rows.refuse_where(bad, name, f"is {noun}, {end:g}")
        return numbers
    text = pc.utf8_trim_whitespace(rows.text(name))
    given = pc.not_equal(text, "")
    if column.kind == "category":
        values = pc.if_else(given, text, pa.scalar(None, pa.string()))
        known = _is_known(values, column)
    else:
        values = pc.split_pattern(text, column.separator)
        values = pc.if_else(given, values, pa.scalar([], values.type))
        all_known = np.ones(len(values), bool)
        unknown = pc.invert(_is_known(pc.list_flatten(values), column))
        all_known[pc.list_parent_indices(values).filter(unknown).to_numpy()] = False
        known = pa.array(all_known)
    allowed = shown(", ".join(column.values), 80)
    rows.refuse_where(pc.invert(known), name, f"is none of values: {allowed}")
    return values


def _is_known(values: pa.Array, column: FeatureColumn) -> pa.Array:
    """Whether each category is empty or one that the config allows."""
    if not column.values:
        return pa.array(np.ones(len(values), bool))
    return pc.or_(pc.is_null(values), pc.is_in(values, pa.array(column.values)))


def entity_titles(file: EntityFile) -> dict[str, str]:
    """Item id -> title; empty if the file names no title column."""
    if file.title is None:
        return {}
    rows = table_file.read(file.path, file)
    ids, titles = rows.text(file.id), rows.text(file.title)
    return dict(zip(ids.to_pylist(), titles.to_pylist(), strict=True))
