"""Reads the files that ingestion wrote into columns in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_transform as tft

from tfx_recommender.trainer.fitting.head import Tensor
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.fitting.problem import Catalogue, EntityShape, EntityTable
from tfx_recommender.transform import column_files
from tfx_recommender.transform.features import (
    ITEM_ID,
    ITEM_WEIGHT,
    RATING,
    STRENGTH,
    TIMESTAMP,
    USER_ID,
    USER_WEIGHT,
    Columns,
    Side,
)


@dataclasses.dataclass(frozen=True)
class SplitRows:
    """The rows of one split; ids are codes into the distinct ids, in order of first appearance.

    Attributes:
      user_id: binary [R].
      item_id: binary [R].
      rating: float32 [R]; None: events have none, or it was not read.
      time: int64 [R]; None: not known, or not read.
      strength: of events, float32 [R], above 0; None: ratings have none, or it was not read.
    """

    user_id: pa.DictionaryArray
    item_id: pa.DictionaryArray
    rating: np.ndarray | None = None
    time: np.ndarray | None = None
    strength: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.user_id)


def serialized_examples(file_pattern: str) -> tf.data.Dataset:
    """The serialized tf.Examples of all files that match, in file order."""
    return tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(file_pattern)))


def read(file_pattern: str, columns: Columns | None = None) -> SplitRows:
    """All rows of a split: ids and, if `columns` is given, ratings or strengths and times.

    Args:
      file_pattern: of the split's tf.Examples; the `column_files` beside them are read instead.
      columns: the column contract.
    """
    found = column_files.read(file_pattern)
    wanted = set()
    if columns is not None:
        wanted = {columns.value} | ({TIMESTAMP} if columns.has_timestamp else set())
    rest = {name: found[name].to_numpy() for name in wanted}
    return SplitRows(
        found[USER_ID], found[ITEM_ID], rest.get(RATING), rest.get(TIMESTAMP), rest.get(STRENGTH)
    )


def concatenate(*splits: SplitRows) -> SplitRows:
    """The ids of the rows of all splits in order; equal ids have equal codes."""
    user_id, item_id = (
        pa.chunked_array([getattr(split, name) for split in splits])
        .unify_dictionaries()
        .combine_chunks()
        for name in ("user_id", "item_id")
    )
    return SplitRows(user_id, item_id)


def catalogue_of(
    entity_files: str, columns: Columns, transform: tft.TFTransformOutput, oov_buckets: int
) -> Catalogue:
    """The users and items of the train split, in order of first appearance.

    Args:
      entity_files: file pattern of TRAIN_ENTITIES.
      columns: the column contract.
      transform: the transform graph, which encodes these rows.
      oov_buckets: number of embeddings that ids out of vocabulary share.
    """
    examples = tf.concat(list(serialized_examples(entity_files).batch(1 << 16)), axis=0)
    raw = tf.io.parse_example(examples, transform.raw_feature_spec())
    encoded = _encode(raw, transform)

    def shape(side: Side, id_name: str, weight_name: str) -> EntityShape:
        vocabulary = transform.vocabulary_size_by_name(id_name)
        ids = vocabulary + oov_buckets
        weight = raw[weight_name].numpy()[:, 0]
        return EntityShape(
            side=side,
            ids=ids,
            vocabulary=vocabulary,
            numeric=len(columns.of(side, "numeric")),
            categories={
                feature.name: (*transform.vocabulary_by_name(feature.name), b"\0")
                for feature in columns.of(side, "category", "categories")
            },
            ratings=np.bincount(encoded[id_name], weight, ids).astype(np.int64),
        )

    def entities(side: Side, id_name: str, weight_name: str) -> EntityTable:
        first = np.flatnonzero(raw[weight_name].numpy()[:, 0])
        numeric = [encoded[f.name][first] for f in columns.of(side, "numeric")]
        table = np.stack(numeric, axis=1) if numeric else np.zeros((len(first), 0))
        unknown = transform.vocabulary_size_by_name(id_name)
        return EntityTable(
            raw_ids=raw[id_name].numpy()[first, 0],
            index=np.append(encoded[id_name][first], unknown),
            numeric=np.append(table, np.zeros((1, table.shape[1])), axis=0).astype(np.float32),
            categories={
                f.name: np.pad(encoded[f.name][first], ((0, 1), (0, 0)), constant_values=-1)
                for f in columns.of(side, "category", "categories")
            },
        )

    return Catalogue(
        entities("user", USER_ID, USER_WEIGHT),
        entities("item", ITEM_ID, ITEM_WEIGHT),
        shape("user", USER_ID, USER_WEIGHT),
        shape("item", ITEM_ID, ITEM_WEIGHT),
    )


def interactions(rows: SplitRows, users: EntityTable, items: EntityTable) -> Interactions:
    """The rows as positions in `users` and `items`; an unknown id is the last position."""
    user, item = positions(rows.user_id, users), positions(rows.item_id, items)
    return Interactions(user, item, rows.rating, rows.time, rows.strength)


def positions(ids: pa.DictionaryArray, entities: EntityTable) -> np.ndarray:
    """Position of each id in `entities`, int64 [R]; `len(entities)` where it is unknown."""
    known = pa.array(entities.raw_ids, pa.binary())
    found = pc.fill_null(pc.index_in(ids.dictionary, known), len(entities)).to_numpy()
    return found.astype(np.int64)[ids.indices.to_numpy()]


def _encode(raw: Mapping[str, Tensor], transform: tft.TFTransformOutput) -> dict[str, np.ndarray]:
    """Outputs of `preprocessing_fn` by name; categories padded with -1."""
    return {
        name: (tf.sparse.to_dense(value, -1) if isinstance(value, tf.SparseTensor) else value)
        .numpy()
        for name, value in transform.transform_raw_features(raw).items()
    }  # fmt: skip
