"""Reads the examples that ingestion wrote, once, into columns in memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_transform as tft

from tfx_recommender.trainer.entities import Entities, EntityShape
from tfx_recommender.trainer.training import Interactions
from tfx_recommender.transform.features import ITEM_ID, RATING, USER_ID, Columns, Side

_PARSE_BATCH = 16384


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """The users and items that the train split knows.

    Attributes:
      users: every user of the train split.
      items: every item of the train split.
      user_shape: what a model needs to create the users' weights.
      item_shape: the same for items.
    """

    users: Entities
    items: Entities
    user_shape: EntityShape
    item_shape: EntityShape


def serialized_examples(file_pattern: str) -> tf.data.Dataset:
    """The serialized tf.Examples of all files that match, in file order."""
    return tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(file_pattern)))


def id_columns(file_pattern: str) -> tuple[np.ndarray, np.ndarray]:
    """The user and item ids of all rows: two object arrays of bytes, [R]."""
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in (USER_ID, ITEM_ID)}
    columns = _collect(serialized_examples(file_pattern), spec, lambda batch: batch)
    return columns[USER_ID], columns[ITEM_ID]


def ratings(file_pattern: str) -> np.ndarray:
    """The ratings of all rows, float32 [R]."""
    spec = {RATING: tf.io.FixedLenFeature([], tf.float32)}
    return _collect(serialized_examples(file_pattern), spec, lambda batch: batch)[RATING]


class EncodedExamples:
    """Rows of one file pattern, through the transform graph.

    Attributes:
      raw_user_id: bytes, object [R].
      raw_item_id: bytes, object [R].
      columns: the outputs of `preprocessing_fn` by name, categories padded with -1.
    """

    def __init__(self, file_pattern: str, transform: tft.TFTransformOutput) -> None:
        def encode(batch: dict[str, Any]) -> dict[str, Any]:
            encoded = transform.transform_raw_features(batch)
            raw = {f"raw_{name}": batch[name][:, 0] for name in (USER_ID, ITEM_ID)}
            return {name: _dense(value) for name, value in encoded.items()} | raw

        columns = _collect(serialized_examples(file_pattern), transform.raw_feature_spec(), encode)
        self.raw_user_id = columns.pop(f"raw_{USER_ID}")
        self.raw_item_id = columns.pop(f"raw_{ITEM_ID}")
        self.columns = columns


def catalogue_of(
    train: EncodedExamples, columns: Columns, transform: tft.TFTransformOutput, oov_buckets: int
) -> Catalogue:
    """Collects the users and items of the train split, in order of first appearance."""
    users = _entities("user", USER_ID, train.raw_user_id, train, columns, transform)
    items = _entities("item", ITEM_ID, train.raw_item_id, train, columns, transform)
    return Catalogue(
        users,
        items,
        _shape("user", USER_ID, columns, transform, oov_buckets),
        _shape("item", ITEM_ID, columns, transform, oov_buckets),
    )


def interactions(examples: EncodedExamples, users: Entities, items: Entities) -> Interactions:
    """The rows as positions in `users` and `items`; an unknown id is the last position."""
    return Interactions(
        user=positions(examples.raw_user_id, users),
        item=positions(examples.raw_item_id, items),
        rating=examples.columns[RATING].astype(np.float32),
    )


def positions(raw_ids: np.ndarray, entities: Entities) -> np.ndarray:
    """Position of each id in `entities`, int64 [R]; `len(entities)` where it is unknown."""
    known = pa.array(entities.raw_ids, pa.binary())
    found = pc.index_in(pa.array(raw_ids, pa.binary()), known)
    return pc.fill_null(found, len(entities)).to_numpy().astype(np.int64)


def _entities(
    side: Side,
    id_name: str,
    raw: np.ndarray,
    rows: EncodedExamples,
    columns: Columns,
    transform: tft.TFTransformOutput,
) -> Entities:
    encoded = pa.array(raw, pa.binary()).dictionary_encode()
    codes = encoded.indices.to_numpy()
    first = np.full(len(encoded.dictionary), len(codes))
    np.minimum.at(first, codes, np.arange(len(codes)))
    numeric = [rows.columns[f.name][first] for f in columns.of(side, "numeric")]
    table = np.stack(numeric, axis=1) if numeric else np.zeros((len(first), 0))
    return Entities(
        raw_ids=np.array(encoded.dictionary.to_pylist(), dtype=object),
        index=np.append(rows.columns[id_name][first], transform.vocabulary_size_by_name(id_name)),
        numeric=np.append(table, np.zeros((1, table.shape[1])), axis=0).astype(np.float32),
        categories={
            f.name: np.pad(rows.columns[f.name][first], ((0, 1), (0, 0)), constant_values=-1)
            for f in columns.of(side, "category", "categories")
        },
    )


def _shape(
    side: Side,
    id_name: str,
    columns: Columns,
    transform: tft.TFTransformOutput,
    oov_buckets: int,
) -> EntityShape:
    vocabulary = transform.vocabulary_size_by_name(id_name)
    return EntityShape(
        ids=vocabulary + oov_buckets,
        vocabulary=vocabulary,
        numeric=len(columns.of(side, "numeric")),
        categories={
            feature.name: transform.vocabulary_size_by_name(feature.name) + 1
            for feature in columns.of(side, "category", "categories")
        },
    )


def _dense(value: tf.Tensor | tf.SparseTensor) -> tf.Tensor:
    return tf.sparse.to_dense(value, -1) if isinstance(value, tf.SparseTensor) else value


def _collect(serialized: tf.data.Dataset, spec: Any, encode: Any) -> dict[str, np.ndarray]:
    """All batches of a data set side by side; ragged columns padded with -1."""

    def parse(batch: tf.Tensor) -> dict[str, tf.Tensor]:
        return encode(tf.io.parse_example(batch, spec))

    batches = list(serialized.batch(_PARSE_BATCH).map(parse).as_numpy_iterator())
    if not batches:
        return {name: np.zeros((0,), object) for name in spec}
    columns = {}
    for name in batches[0]:
        parts = [batch[name] for batch in batches]
        if parts[0].ndim == 2:
            width = max(part.shape[1] for part in parts)
            parts = [
                np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1)
                for part in parts
            ]
        columns[name] = np.concatenate(parts)
    return columns
