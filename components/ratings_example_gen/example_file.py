"""Writes ratings as tf.Examples, and as columns."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from tfx_recommender.components.ratings_example_gen.dataset import Dataset
from tfx_recommender.components.ratings_example_gen.ratings_table import Entities
from tfx_recommender.transform import column_files
from tfx_recommender.transform.features import ITEM_ID, TIMESTAMP, TRAIN, USER_ID


def write(dataset: Dataset, paths: dict[str, str]) -> None:
    """Writes one file a split: plain TFRecords, for compressing costs more than reading back.

    Serialized messages one after the other are their union, as Protocol Buffers define
    (Encoding, "Last One Wins"): a rating's example is what its user, its item and its values are
    encoded to. So users and items are encoded once, not at each of their ratings.

    Args:
      dataset: the rows.
      paths: split -> file, in a folder of its own; beside these come the `column_files`.
    """
    ratings = dataset.ratings
    users, items = _of_entities(USER_ID, ratings.users), _of_entities(ITEM_ID, ratings.items)
    for path in paths.values():
        for file in (path, column_files.split_path(path)):
            os.makedirs(os.path.dirname(file), exist_ok=True)
    column_files.write_ids(paths[TRAIN], USER_ID, ratings.users.ids)
    column_files.write_ids(paths[TRAIN], ITEM_ID, ratings.items.ids)
    schema = pa.schema([(n, pa.from_numpy_dtype(x.dtype)) for n, x in ratings.columns.items()])
    firsts = [_Firsts(len(side.ids)) for side in (ratings.users, ratings.items)]
    with tf.io.TFRecordWriter(column_files.path(paths[TRAIN], "first.tfrecord")) as first_writer:
        for split, path in paths.items():
            with (
                tf.io.TFRecordWriter(path) as writer,
                pa.ipc.new_file(column_files.split_path(path), schema) as column_writer,
            ):
                for rows in dataset.rows(split):
                    block = {name: x[rows] for name, x in ratings.columns.items()}
                    columns = {name: pa.array(x) for name, x in block.items()}
                    column_writer.write(pa.record_batch(columns, schema))
                    value = columns[ratings.value].dictionary_encode()
                    parts = [users.take(columns[USER_ID]), items.take(columns[ITEM_ID])]
                    parts.append(_encode({ratings.value: value.dictionary}).take(value.indices))
                    if TIMESTAMP in columns:
                        parts.append(_encode({TIMESTAMP: columns[TIMESTAMP]}))
                    examples = pc.binary_join_element_wise(*parts, b"")
                    examples = examples.to_numpy(zero_copy_only=False)
                    for example in examples:
                        writer.write(example)
                    if split == TRAIN:
                        found = (
                            first.among(block[name])
                            for first, name in zip(firsts, (USER_ID, ITEM_ID), strict=True)
                        )
                        for example in examples[np.union1d(*found)]:
                            first_writer.write(example)


class _Firsts:
    """Finds where each of `count` users, or items, appears for the first time."""

    def __init__(self, count: int) -> None:
        self._seen = np.zeros(count, bool)

    def among(self, block: np.ndarray) -> np.ndarray:
        """Rows of the next block, int [count of new ones]."""
        distinct, first = np.unique(block, return_index=True)
        new = ~self._seen[distinct]
        self._seen[distinct] = True
        return first[new]


def _of_entities(id_name: str, entities: Entities) -> pa.BinaryArray:
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
