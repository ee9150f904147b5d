"""Writes ratings as tf.Examples."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from tfx_recommender.components.ratings_example_gen.dataset import Dataset
from tfx_recommender.components.ratings_example_gen.ratings_table import Entities
from tfx_recommender.transform.features import ITEM_ID, TIMESTAMP, USER_ID


def write(dataset: Dataset, paths: dict[str, str]) -> None:
    """Writes one file a split: plain TFRecords, for compressing costs more than reading back.

    Serialized messages one after the other are their union, as Protocol Buffers define
    (Encoding, "Last One Wins"): a rating's example is what its user, its item and its values are
    encoded to. So users and items are encoded once, not at each of their ratings.

    Args:
      dataset: the rows.
      paths: split -> file.
    """
    ratings = dataset.ratings
    users, items = _of_entities(USER_ID, ratings.users), _of_entities(ITEM_ID, ratings.items)
    for split, path in paths.items():
        with tf.io.TFRecordWriter(path) as writer:
            for rows in dataset.rows(split):
                columns = {name: pa.array(x[rows]) for name, x in ratings.columns.items()}
                value = columns[ratings.value].dictionary_encode()
                parts = [users.take(columns[USER_ID]), items.take(columns[ITEM_ID])]
                parts.append(_encode({ratings.value: value.dictionary}).take(value.indices))
                if TIMESTAMP in columns:
                    parts.append(_encode({TIMESTAMP: columns[TIMESTAMP]}))
                examples = pc.binary_join_element_wise(*parts, b"")
                for example in examples.to_numpy(zero_copy_only=False):
                    writer.write(example)


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
