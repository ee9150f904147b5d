"""All ratings in one Arrow table: checked, without repeated pairs, joined with metadata."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfx_recommender.components.errors import BadDataError
from tfx_recommender.components.ratings_example_gen import text_file
from tfx_recommender.components.ratings_example_gen.config import Data, EntityFile
from tfx_recommender.transform.features import ITEM_ID, RATING, TIMESTAMP, USER_ID


@dataclasses.dataclass(frozen=True)
class Ratings:
    """The ratings, ready to be split.

    Attributes:
      table: `user_id` and `item_id` (string), `rating` (float32), `timestamp` (int64, if the
        data have one), then each feature: numeric float32 or null, category string or null,
        categories list<string>.
      repeated: rows left out because a later one rates the same pair.
      users_without_metadata: users with ratings whom the user file does not know.
      items_without_metadata: the same for items.
    """

    table: pa.Table
    repeated: int
    users_without_metadata: int
    items_without_metadata: int


def read(data: Data) -> Ratings:
    """Reads all files.

    Of several ratings of a (user, item) pair the latest counts: by timestamp, where there is
    one, and by place in the files where times are equal or there are none.

    Raises:
      BadDataError: any file or row is not as the config says, or there are fewer than two users.
    """
    tables = [_read_ratings(path, data) for path in data.ratings.paths]
    table = pa.concat_tables(tables).combine_chunks()
    kept = _latest_of_each_pair(table)
    repeated = len(table) - len(kept)
    table = table.take(kept)
    if pc.count_distinct(table[USER_ID]).as_py() < 2:
        raise BadDataError(
            f"{', '.join(data.ratings.paths)}: fewer than two users; is {data.ratings.user!r}"
            " the right column?"
        )
    missing = [0, 0]
    for side, (key, file) in enumerate(((USER_ID, data.users), (ITEM_ID, data.items))):
        if file is not None:
            table, missing[side] = _join(table, key, file)
    return Ratings(table, repeated, *missing)


def _read_ratings(path: str, data: Data) -> pa.Table:
    source = data.ratings
    rows = text_file.read(path, source)
    columns = {USER_ID: rows.ids(source.user), ITEM_ID: rows.ids(source.item)}
    rating = rows.numbers(source.rating, pa.float32())
    low, high = source.rating_range
    # A NaN is in no range, so "not inside" catches it and "below or above" would not.
    inside = pc.and_(pc.greater_equal(rating, low), pc.less_equal(rating, high))
    rows.refuse_where(
        pc.invert(inside), source.rating, f"is not within rating_range [{low:g}, {high:g}]"
    )
    columns[RATING] = rating
    if source.timestamp is not None:
        columns[TIMESTAMP] = rows.numbers(source.timestamp, pa.int64())
    return pa.table(columns)


def _latest_of_each_pair(table: pa.Table) -> np.ndarray:
    """Rows to keep, in their original order."""
    user = table[USER_ID].combine_chunks().dictionary_encode().indices.to_numpy()
    item = table[ITEM_ID].combine_chunks().dictionary_encode().indices.to_numpy()
    pair = user.astype(np.int64) * (int(item.max()) + 1) + item
    if TIMESTAMP in table.column_names:
        order = np.lexsort((table[TIMESTAMP].to_numpy(), pair))
    else:
        order = np.argsort(pair, kind="stable")
    last = np.append(pair[order][1:] != pair[order][:-1], True)
    return np.sort(order[last])


def _join(table: pa.Table, key: str, file: EntityFile) -> tuple[pa.Table, int]:
    """Adds the file's features to each row; returns how many distinct ids it does not know."""
    rows = text_file.read(file.path, file)
    ids = rows.ids(file.id)
    first = pc.index_in(ids, ids)
    rows.refuse_where(
        pc.not_equal(first, pa.array(np.arange(len(ids)), pa.int32())),
        file.id,
        "stands there twice",
    )
    found = pc.index_in(table[key], ids)
    for name, column in file.features.items():
        if column.kind == "numeric":
            values = rows.numbers(name, pa.float32(), allow_empty=True)
            rows.refuse_where(pc.fill_null(pc.is_nan(values), False), name, "is not a number")
        else:
            text = pc.utf8_trim_whitespace(rows.columns[name])
            if column.kind == "categories":
                values = pc.split_pattern(text, column.separator)
                values = pc.if_else(pc.equal(text, ""), pa.scalar([], values.type), values)
            else:
                values = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
        table = table.append_column(name, values.take(found.combine_chunks()))
    unknown = table[key].filter(pc.is_null(found))
    return table, pc.count_distinct(unknown).as_py()


def entity_titles(file: EntityFile) -> dict[str, str]:
    """Item id -> title; empty if the file names no title column."""
    if file.title is None:
        return {}
    rows = text_file.read(file.path, file)
    ids, titles = rows.columns[file.id], rows.columns[file.title]
    return dict(zip(ids.to_pylist(), titles.to_pylist(), strict=True))
