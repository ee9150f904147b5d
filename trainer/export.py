"""Exports a recommender as a SavedModel that plain TensorFlow serves without our package.

Signatures (ids are strings, scores float32; an unknown id is scored as unknown):

- `serving_default(examples[B] serialized tf.Example) -> rating[B], preference[B]`
- `score(user_id[B], item_id[B]) -> rating[B]`
- `preference(user_id[B], item_id[N]) -> preference[B, N]`: each user with each item
- `recommend(user_id[B], k[], liked_item_ids[B, L]) -> item_id[B, k], score[B, k]`: best first,
  without anything the user is known to have rated or named as liked; `liked_item_ids` is padded
  with "" (L may be 0); where k exceeds what is left, padded with "" and -inf.

A model of events predicts no rating: `serving_default` returns only `preference[B]`, and so does
`score(user_id[B], item_id[B]) -> preference[B]`. A preference orders the items of one user. It does
not compare users, and has no unit and no bounds. Its sigmoid is a probability only if the loss was
logistic MF (see `losses`).

The SavedModel holds the metadata of users and items, so all signatures but `serving_default` need
only ids.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from scipy import sparse

from tfx_recommender.trainer import input_data
from tfx_recommender.trainer.fitting.head import EntityBatch, Tensor, Vectors, shared
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.fitting.problem import Catalogue, EntityShape, EntityTable
from tfx_recommender.trainer.fitting.warm_start import StartingWeights
from tfx_recommender.trainer.input_data import SplitRows
from tfx_recommender.trainer.recommender import Recommender
from tfx_recommender.transform.features import ITEM_ID, TIMESTAMP, USER_ID, WEIGHTS, Columns, Side

MODEL_CARD = os.path.join("assets.extra", "model.json")


def export(
    directory: str,
    model: Recommender,
    catalogue: Catalogue,
    columns: Columns,
    transform: tft.TFTransformOutput | None,
    train: Interactions,
    known: SplitRows,
    card: Mapping[str, object],
) -> None:
    """Writes the SavedModel.

    Args:
      directory: where to; must not exist.
      model: the fitted model.
      catalogue: users and items of the train split.
      columns: the column contract.
      transform: the transform graph that `serving_default` applies; None for a model without
        features, whose `serving_default` needs only the ids.
      train: the train split; liked items of an unknown user stand for the users who rated them.
      known: the ratings of all splits, which `recommend` hides; the model does not learn from
        them.
      card: written as JSON beside the model; what the model is, and how its data were split.
    """
    served = _ServedModel(model, catalogue, columns, transform, train, known)
    string = tf.string
    tf.saved_model.save(
        served,
        directory,
        signatures={
            "serving_default": served.serving_default.get_concrete_function(
                tf.TensorSpec([None], string, "examples")
            ),
            "score": served.score.get_concrete_function(
                tf.TensorSpec([None], string, "user_id"), tf.TensorSpec([None], string, "item_id")
            ),
            "preference": served.preference.get_concrete_function(
                tf.TensorSpec([None], string, "user_id"), tf.TensorSpec([None], string, "item_id")
            ),
            "recommend": served.recommend.get_concrete_function(
                tf.TensorSpec([None], string, "user_id"),
                tf.TensorSpec([], tf.int32, "k"),
                tf.TensorSpec([None, None], string, "liked_item_ids"),
            ),
        },
    )
    path = os.path.join(directory, MODEL_CARD)
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(json.dumps(card, indent=2, sort_keys=True) + "\n")


class _EntityLookup(tf.Module):
    """Users, or items, by raw id: row in the embedding table and features."""

    def __init__(self, entities: EntityTable, shape: EntityShape) -> None:
        super().__init__()
        self.count = len(entities)
        self.shape = shape
        self.raw_ids = tf.Variable(entities.raw_ids, dtype=tf.string, trainable=False)
        self.position = _id_table(entities.raw_ids, default=len(entities))
        self.table = tf.nest.map_structure(
            lambda column: tf.Variable(column, trainable=False), entities.batch()
        )

    def rows(self, raw_ids: Tensor) -> EntityBatch[Tensor]:
        """A batch of raw ids [...], as heads take it; an unknown id is hashed to an OOV bucket."""
        position = self.position.lookup(raw_ids)
        rows: EntityBatch[Tensor] = tf.nest.map_structure(
            lambda column: tf.gather(column, position), self.table
        )
        buckets = self.shape.ids - self.shape.vocabulary
        unknown = self.shape.vocabulary + tf.strings.to_hash_bucket_fast(raw_ids, buckets)
        rows["index"] = tf.where(position == self.count, unknown, rows["index"])
        return rows


class _History(tf.Module):
    """The items that each user is known to have rated, as positions in the catalogue."""

    def __init__(self, known: SplitRows, items: EntityTable) -> None:
        super().__init__()
        users = np.array(known.user_id.dictionary.to_pylist(), object)
        user = known.user_id.indices.to_numpy()
        position = input_data.positions(known.item_id, items)
        rated = position < len(items)
        user, position = user[rated], position[rated]
        offsets = np.append(0, np.cumsum(np.bincount(user, minlength=len(users))))
        # One more history, which is empty: that of an unknown user.
        self.offsets = tf.Variable(np.append(offsets, offsets[-1]), trainable=False)
        self.positions = tf.Variable(position[np.argsort(user, kind="stable")], trainable=False)
        self.user = _id_table(users, default=len(users))

    def pairs(self, user_ids: Tensor) -> Tensor:
        """(row of the batch, item position) of every known rating, int64 [P, 2]."""
        user = self.user.lookup(user_ids)
        start, end = tf.gather(self.offsets, user), tf.gather(self.offsets, user + 1)
        spans = tf.ragged.range(start, end)
        return tf.stack([spans.value_rowids(), tf.gather(self.positions, spans.values)], axis=1)


class _ServedModel(tf.Module):
    def __init__(
        self,
        model: Recommender,
        catalogue: Catalogue,
        columns: Columns,
        transform: tft.TFTransformOutput | None,
        train: Interactions,
        known: SplitRows,
    ) -> None:
        super().__init__()
        self.model = model
        self.warm_start = StartingWeights(model.rating_head, model.preference_head, catalogue)
        self.columns = columns
        self.users = _EntityLookup(catalogue.users, catalogue.user_shape)
        self.items = _EntityLookup(catalogue.items, catalogue.item_shape)
        self.history = _History(known, catalogue.items)
        # Age of an item that a request names as liked; without times all ages are infinite.
        self.now = np.inf if train.time is None else 0.0
        head = model.preference_head
        # Each part is a variable, without the row of the unknown item.
        self.item_vectors = tf.nest.map_structure(
            lambda part: tf.Variable(part[:, :-1], trainable=False),
            shared(head.item(catalogue.items.batch())),
        )
        self.mean_raters = None
        if not head.sequential:
            self.mean_raters = tf.nest.map_structure(
                lambda part: tf.Variable(_mean_raters(part, train, catalogue), trainable=False),
                head.user(catalogue.users.batch()),
            )
        if transform is not None:
            self.raw_spec = {
                name: spec
                for name, spec in transform.raw_feature_spec().items()
                if name in (USER_ID, ITEM_ID, *(f.name for f in columns.features))
            }
            # Not tft's Keras layer: saving it traces the same graph four times more.
            self.transform_graph = tf.saved_model.load(transform.transform_savedmodel_dir)
        else:
            self.raw_spec = {
                name: tf.io.FixedLenFeature([1], tf.string) for name in (USER_ID, ITEM_ID)
            }
            self.transform_graph = None

    @tf.function(autograph=False)
    def serving_default(self, examples: Tensor) -> dict[str, Tensor]:
        raw = tf.io.parse_example(examples, self.raw_spec)
        if self.transform_graph is None:
            users = self.users.rows(raw[USER_ID][:, 0])
            items = self.items.rows(raw[ITEM_ID][:, 0])
        else:
            encoded = self.transform_graph.transform_fn(raw | self._unused(tf.size(examples)))
            users = self.users.rows(raw[USER_ID][:, 0])  # with the history
            users.update(self._encoded_side("user", USER_ID, encoded))
            items = self._encoded_side("item", ITEM_ID, encoded)
        return self.model.predict(users, items)

    def _unused(self, batch: Tensor) -> dict[str, Tensor]:
        """Columns that the transform graph takes and a request lacks; no output depends on them."""
        integers = (*WEIGHTS, TIMESTAMP) if self.columns.has_timestamp else WEIGHTS
        unused = {name: tf.zeros([batch, 1], tf.int64) for name in integers}
        return unused | {self.columns.value: tf.zeros([batch, 1])}

    def _encoded_side(
        self, side: Side, id_name: str, encoded: Mapping[str, Tensor]
    ) -> EntityBatch[Tensor]:
        numeric = [encoded[f.name] for f in self.columns.of(side, "numeric")]
        index = encoded[id_name]
        return {
            "index": index,
            "numeric": tf.stack(numeric, 1) if numeric else tf.zeros([tf.size(index), 0]),
            "categories": {
                f.name: tf.sparse.to_dense(encoded[f.name], -1)
                for f in self.columns.of(side, "category", "categories")
            },
        }

    @tf.function(autograph=False)
    def score(self, user_id: Tensor, item_id: Tensor) -> dict[str, Tensor]:
        users, items = self.users.rows(user_id), self.items.rows(item_id)
        if self.model.rating_head is None:
            return {"preference": self.model.prefer(users, items)}
        return {"rating": self.model.rate(users, items)}

    @tf.function(autograph=False)
    def preference(self, user_id: Tensor, item_id: Tensor) -> dict[str, Tensor]:
        users, items = self.users.rows(user_id), self.items.rows(item_id)
        return {"preference": self.model.prefer_all(users, items)}

    @tf.function(autograph=False)
    def recommend(self, user_id: Tensor, k: Tensor, liked_item_ids: tf.Tensor) -> dict[str, Tensor]:
        count = self.items.count
        liked = self.items.position.lookup(liked_item_ids)
        liked_pairs = tf.where(liked < count)
        liked_pairs = tf.stack([liked_pairs[:, 0], tf.gather_nd(liked, liked_pairs)], axis=1)
        vectors = self._user_vectors(user_id, liked_pairs)
        scores = self.model.preference_head.interact(vectors, self.item_vectors)
        hidden = tf.concat([self.history.pairs(user_id), liked_pairs], axis=0)
        minus_infinity = tf.fill([tf.shape(hidden)[0]], -np.inf)
        scores = tf.tensor_scatter_nd_update(scores, hidden, minus_infinity)
        best, position = tf.math.top_k(scores, tf.clip_by_value(k, 0, count))
        ids = tf.where(best > -np.inf, tf.gather(self.items.raw_ids, position), "")
        padding = [[0, 0], [0, tf.maximum(k - count, 0)]]
        return {
            "item_id": tf.pad(ids, padding, constant_values=""),
            "score": tf.pad(best, padding, constant_values=-np.inf),
        }

    def _user_vectors(self, user_id: Tensor, liked_pairs: Tensor) -> Vectors:
        """Vectors of users who name items that they like.

        A sequential head takes the liked items as the user's most recent ratings. Elsewhere a known
        user has its own vectors, and an unknown one the mean of those who rated the liked items.

        Args:
          user_id: string [B].
          liked_pairs: (row of the batch, item position) of the liked items that are known, int64
            [P, 2], row by row. Padding and unknown ids are in none of them, so they change no
            answer.
        """
        users = self.users.rows(user_id)
        row, item = liked_pairs[:, 0], liked_pairs[:, 1]
        batch = tf.size(user_id, tf.int64)
        if self.mean_raters is None:
            liked = tf.RaggedTensor.from_value_rowids(tf.cast(item, tf.int32), row, batch)
            users["history"], users["age"] = self._latest(liked, users["history"], users["age"])
            return self.model.preference_head.user(users)
        vectors = self.model.preference_head.user(users)
        count = tf.math.bincount(tf.cast(row, tf.int32), minlength=tf.cast(batch, tf.int32))
        count = tf.cast(count, tf.float32)[:, None]
        is_replaced = (self.users.position.lookup(user_id)[:, None] == self.users.count) & (
            count > 0
        )

        def part_of(own: Tensor, mean_raters: Tensor) -> Tensor:
            total = tf.math.unsorted_segment_sum(tf.gather(mean_raters, item), row, batch)
            return tf.where(is_replaced, tf.math.divide_no_nan(total, count), own)

        return tf.nest.map_structure(part_of, vectors, self.mean_raters)

    def _latest(
        self, liked: tf.RaggedTensor, history: Tensor, age: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Histories that begin with the liked items: as wide as they were, padded at the end."""
        present, width = history >= 0, history.shape[1]
        later = tf.cast(liked.row_lengths(), tf.float32)[:, None]
        now = tf.ones_like(liked, tf.float32) * np.float32(self.now)
        item = tf.concat([liked, tf.ragged.boolean_mask(history, present)], axis=1)
        ages = tf.concat([now, tf.ragged.boolean_mask(age + later, present)], axis=1)
        shape = [None, width]
        return item.to_tensor(-1, shape=shape), ages.to_tensor(0.0, shape=shape)


def _mean_raters(users: Tensor, train: Interactions, catalogue: Catalogue) -> np.ndarray:
    """The mean vector of the users who rated each item in training.

    Args:
      users: a part of the users' vectors, float32 [users + 1, D].
      train: the train split.
      catalogue: users and items of the train split.

    Returns:
      float32 [items, D]; 0 for an item without ratings.
    """
    users = np.asarray(users)
    shape = len(catalogue.items), len(users)
    raters = sparse.coo_array((np.ones(len(train), np.float32), (train.item, train.user)), shape)
    count = np.maximum(np.bincount(train.item, minlength=shape[0]), 1)
    return (raters.tocsr() @ users) / count[:, None].astype(np.float32)


def _id_table(raw_ids: np.ndarray, default: int) -> tf.lookup.StaticHashTable:
    keys = tf.constant(raw_ids.tolist(), tf.string, shape=[len(raw_ids)])
    values = tf.range(len(raw_ids), dtype=tf.int64)
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(keys, values), tf.constant(default, tf.int64)
    )
