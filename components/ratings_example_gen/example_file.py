"""Writes ratings as tf.Examples, and as columns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from tfx_recommender.components.ratings_example_gen.dataset import Dataset
from tfx_recommender.components.ratings_example_gen.ratings_table import EntityColumns, RatingsTable
from tfx_recommender.transform import column_files
from tfx_recommender.transform.features import (
    ENTITIES,
    ITEM_ID,
    ITEM_WEIGHT,
    SPLITS,
    TRAIN,
    TRAIN_ENTITIES,
    USER_ID,
    USER_WEIGHT,
)

# Some rows: columns by name, ids as places in their `EntityColumns`.
Block = Mapping[str, np.ndarray]


def write(dataset: Dataset, paths: Mapping[str, str]) -> None:
    """Writes one uncompressed TFRecord file per split (compressing costs more than it saves).

    Args:
      dataset: the rows.
      paths: split, of entities too -> file, in a folder of its own; beside these come the
        `column_files` of the splits.
    """
    ratings = dataset.ratings
    encoder = _Encoder(ratings)
    dtypes = {name: column.dtype for name, column in ratings.columns.items()}
    for split in SPLITS:
        column_files.write(paths[split], dtypes, dataset.blocks(split))
        _write(paths[split], map(encoder.examples, dataset.blocks(split)))
    column_files.write_ids(paths[TRAIN], USER_ID, ratings.users.ids)
    column_files.write_ids(paths[TRAIN], ITEM_ID, ratings.items.ids)
    for name, splits in ((TRAIN_ENTITIES, [TRAIN]), (ENTITIES, SPLITS)):
        _write(paths[name], map(encoder.examples, _entities(dataset, splits)))


def _write(path: str, blocks: Iterable[np.ndarray]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tf.io.TFRecordWriter(path) as writer:
        for block in blocks:
            for example in block:
                writer.write(example)


def _entities(dataset: Dataset, splits: Iterable[str]) -> Iterator[Block]:
    """The rows in which a user or an item appears first, and how often they do in train."""
    ratings = dataset.ratings
    sides = [
        _Appearances(USER_ID, USER_WEIGHT, len(ratings.users.ids)),
        _Appearances(ITEM_ID, ITEM_WEIGHT, len(ratings.items.ids)),
    ]
    for block in dataset.blocks(TRAIN):
        for side in sides:
            side.count(block)
    for split in splits:
        for block in dataset.blocks(split):
            firsts = [side.first(block) for side in sides]
            rows = np.union1d(*firsts)
            found = {name: column[rows] for name, column in block.items()}
            for side, first in zip(sides, firsts, strict=True):
                own = side.weights[found[side.name]]
                found[side.weight_name] = np.where(np.isin(rows, first), own, 0)
            yield found


class _Appearances:
    """How often each of `count` users, or items, appears, and where for the first time."""

    def __init__(self, name: str, weight_name: str, count: int) -> None:
        self.name, self.weight_name = name, weight_name
        self.weights = np.zeros(count, np.int64)
        self._seen = np.zeros(count, bool)

    def count(self, block: Block) -> None:
        """Adds a block's rows to the weights."""
        self.weights += np.bincount(block[self.name], minlength=len(self.weights))

    def first(self, block: Block) -> np.ndarray:
        """Those rows of the next block, int [new ones], where one appears first."""
        distinct, first = np.unique(block[self.name], return_index=True)
        new = ~self._seen[distinct]
        self._seen[distinct] = True
        return first[new]


class _Encoder:
    """Encodes rows as tf.Examples.

    Concatenated serialized messages are their union (Protocol Buffers, Encoding, "Last One Wins").
    So each user and each item is encoded once, and a rating's example is the concatenation of its
    user's, its item's and its own values.
    """

    def __init__(self, ratings: RatingsTable) -> None:
        self._value = ratings.value
        self._users = _of_entities(USER_ID, ratings.users)
        self._items = _of_entities(ITEM_ID, ratings.items)

    def examples(self, block: Block) -> np.ndarray:
        """Serialized tf.Examples, object [rows]."""
        columns = {name: pa.array(column) for name, column in block.items()}
        parts = [self._users.take(columns.pop(USER_ID)), self._items.take(columns.pop(ITEM_ID))]
        value = columns.pop(self._value).dictionary_encode()
        parts.append(_encode({self._value: value.dictionary}).take(value.indices))
        if columns:
            parts.append(_encode(columns))
        return pc.binary_join_element_wise(*parts, b"").to_numpy(zero_copy_only=False)


def _of_entities(id_name: str, entities: EntityColumns) -> pa.BinaryArray:
    return _encode({id_name: entities.ids, **entities.features})


def _encode(columns: dict[str, pa.Array]) -> pa.BinaryArray:
    batch = pa.RecordBatch.from_arrays([_as_list(x) for x in columns.values()], list(columns))
    return pa.array(RecordBatchToExamplesEncoder().encode(batch), pa.binary())


def _as_list(column: pa.Array) -> pa.Array:
    """A column as the encoder takes it: a list of values per row, null where there are none."""
    if pa.types.is_list(column.type):
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        values = pc.list_flatten(column)
    else:
        lengths = column.is_valid().to_numpy(zero_copy_only=False).astype(np.int32)
        values = column.drop_null()
    if pa.types.is_string(values.type):
        values = values.cast(pa.binary())
    offsets = np.append(0, np.cumsum(lengths)).astype(np.int32)
    # A null offset makes a null list, and that a feature without a kind, which is a missing one.
    missing = np.append(lengths == 0, False)
    return pa.ListArray.from_arrays(pa.array(offsets, mask=missing), values)
