"""Exports a recommender as a SavedModel that plain TensorFlow serves without our package.

Signatures (ids are strings, scores float32; an unknown id is scored as unknown):

- `serving_default(examples[B] serialized tf.Example) -> rating[B], preference[B]`
- `score(user_id[B], item_id[B]) -> rating[B]`
- `preference(user_id[B], item_id[N]) -> preference[B, N]`: each user with each item
- `recommend(user_id[B], k[], liked_item_ids[B, L]) -> item_id[B, k], score[B, k]`: best first,
  without anything the user is known to have rated or named as liked; `liked_item_ids` is padded
  with "" (L may be 0); where k exceeds what is left, padded with "" and -inf.

A model of events predicts no rating, and no output of it is called so: `serving_default` gives
`preference[B]` alone, and so does `score(user_id[B], item_id[B]) -> preference[B]`. A preference
orders the items of one user; it compares no users, has no unit and no bounds, and only where it was
learnt by logistic MF is its sigmoid a probability (see `losses`).

The users' and items' metadata travel inside, so all but the first need only ids.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from scipy import sparse

from tfx_recommender.trainer import input_data
from tfx_recommender.trainer.fitting import warm_start
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.fitting.problem import Catalogue, Entities, EntityShape
from tfx_recommender.trainer.input_data import Ratings
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
    known: Ratings,
    card: dict[str, Any],
) -> None:
    """Writes the SavedModel.

    Args:
      directory: where to; must not exist.
      model: the fitted model.
      catalogue: users and items of the train split.
      columns: the column contract.
      transform: the transform graph that `serving_default` applies; None for a model without
        features, whose `serving_default` needs only the ids.
      train: the train split, which says who rated an item.
      known: every known rating of every split: what `recommend` hides. Nothing is learnt from
        them.
      card: written as JSON beside the model: what it is, and how its data were split.
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


class _Side(tf.Module):
    """Looks up users, or items, by raw id: table row and features."""

    def __init__(self, entities: Entities, shape: EntityShape) -> None:
        super().__init__()
        self.count = len(entities)
        self.shape = shape
        self.raw_ids = tf.Variable(entities.raw_ids, dtype=tf.string, trainable=False)
        self.position = _id_table(entities.raw_ids, default=len(entities))
        self.table = tf.nest.map_structure(
            lambda column: tf.Variable(column, trainable=False), entities.table()
        )

    def rows(self, raw_ids: tf.Tensor) -> dict[str, Any]:
        """A batch of entities, as the heads take them; unknown ids hash to an OOV bucket."""
        position = self.position.lookup(raw_ids)
        rows = tf.nest.map_structure(lambda column: tf.gather(column, position), self.table)
        buckets = self.shape.ids - self.shape.vocabulary
        unknown = self.shape.vocabulary + tf.strings.to_hash_bucket_fast(raw_ids, buckets)
        return rows | {"index": tf.where(position == self.count, unknown, rows["index"])}


class _History(tf.Module):
    """Which items each user is known to have rated, as positions in the catalogue."""

    def __init__(self, known: Ratings, items: Entities) -> None:
        super().__init__()
        users = np.array(known.user_id.dictionary.to_pylist(), object)
        user = known.user_id.indices.to_numpy()
        position = input_data.positions(known.item_id, items)
        rated = position < len(items)
        user, position = user[rated], position[rated]
        offsets = np.append(0, np.cumsum(np.bincount(user, minlength=len(users))))
        # One more, empty history: that of an unknown user.
        self.offsets = tf.Variable(np.append(offsets, offsets[-1]), trainable=False)
        self.positions = tf.Variable(position[np.argsort(user, kind="stable")], trainable=False)
        self.user = _id_table(users, default=len(users))

    def pairs(self, user_ids: tf.Tensor) -> tf.Tensor:
        """(row of the batch, item position) of every known rating, int64 [P, 2]."""
        user = self.user.lookup(user_ids)
        start, end = tf.gather(self.offsets, user), tf.gather(self.offsets, user + 1)
        spans = tf.ragged.range(start, end)
        return tf.stack([spans.value_rowids(), tf.gather(self.positions, spans.values)], axis=1)


class _Vectors(tf.Module):
    """Item vectors, float32 [1, items, D], of which a head takes parts.

    In a graph each part would be copied from all vectors at every request; on a large catalogue
    that takes longer than the scores. So a part that is taken becomes a variable of its own, when
    the head interacts with it eagerly for the first time; graphs built later find it there.
    """

    def __init__(self, values: np.ndarray) -> None:
        super().__init__(name="item_vectors")
        self.values = values
        self.parts: dict[str, _Vectors] = {}
        self.variable: tf.Variable | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def __getitem__(self, key: Any) -> _Vectors:
        if repr(key) not in self.parts:
            self.parts[repr(key)] = _Vectors(self.values[key])
        return self.parts[repr(key)]

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> tf.Tensor:
        """What TensorFlow calls where it needs a tensor."""
        if self.variable is None:
            self.variable = tf.Variable(self.values, trainable=False)
        return tf.convert_to_tensor(self.variable, dtype, name=name)


class _ServedModel(tf.Module):
    def __init__(
        self,
        model: Recommender,
        catalogue: Catalogue,
        columns: Columns,
        transform: tft.TFTransformOutput | None,
        train: Interactions,
        known: Ratings,
    ) -> None:
        super().__init__()
        self.model = model
        self.keepsake = warm_start.Keepsake(model.rating_head, model.preference_head, catalogue)
        self.columns = columns
        self.users = _Side(catalogue.users, catalogue.user_shape)
        self.items = _Side(catalogue.items, catalogue.item_shape)
        self.history = _History(known, catalogue.items)
        # The age of what is named in a request; infinite, as all ages, where times are not known.
        self.now = np.inf if train.time is None else 0.0
        head = model.preference_head
        item_vectors = head.item(catalogue.items.table()).numpy()
        self.item_vectors = _Vectors(item_vectors[None, :-1])
        anyone = tf.nest.map_structure(lambda column: column[:1], catalogue.users.table())
        head.interact(head.user(anyone), self.item_vectors)
        self.fans = None
        if not head.sequential:
            user_vectors = head.user(catalogue.users.table()).numpy()
            self.fans = tf.Variable(_fans(user_vectors, train, catalogue), trainable=False)
        if transform is not None:
            self.raw_spec = {
                name: spec
                for name, spec in transform.raw_feature_spec().items()
                if name in (USER_ID, ITEM_ID, *(f.name for f in columns.features))
            }
            # Not tft's Keras layer: saving that traces the same graph four times more.
            self.transform_graph = tf.saved_model.load(transform.transform_savedmodel_dir)
        else:
            self.raw_spec = {
                name: tf.io.FixedLenFeature([1], tf.string) for name in (USER_ID, ITEM_ID)
            }
            self.transform_graph = None

    @tf.function(autograph=False)
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        raw = tf.io.parse_example(examples, self.raw_spec)
        if self.transform_graph is None:
            users = self.users.rows(raw[USER_ID][:, 0])
            items = self.items.rows(raw[ITEM_ID][:, 0])
        else:
            encoded = self.transform_graph.transform_fn(raw | self._unused(tf.size(examples)))
            users = self.users.rows(raw[USER_ID][:, 0])
            users |= self._encoded_side("user", USER_ID, encoded)
            items = self._encoded_side("item", ITEM_ID, encoded)
        return self.model.predict(users, items)

    def _unused(self, batch: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the transform graph takes and serving does not have; nothing depends on it."""
        integers = (*WEIGHTS, TIMESTAMP) if self.columns.has_timestamp else WEIGHTS
        unused = {name: tf.zeros([batch, 1], tf.int64) for name in integers}
        return unused | {self.columns.value: tf.zeros([batch, 1])}

    def _encoded_side(self, side: Side, id_name: str, encoded: dict[str, Any]) -> dict[str, Any]:
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
    def score(self, user_id: tf.Tensor, item_id: tf.Tensor) -> dict[str, tf.Tensor]:
        users, items = self.users.rows(user_id), self.items.rows(item_id)
        if self.model.rating_head is None:
            return {"preference": self.model.prefer(users, items)}
        return {"rating": self.model.rate(users, items)}

    @tf.function(autograph=False)
    def preference(self, user_id: tf.Tensor, item_id: tf.Tensor) -> dict[str, tf.Tensor]:
        users, items = self.users.rows(user_id), self.items.rows(item_id)
        return {"preference": self.model.prefer_all(users, items)}

    @tf.function(autograph=False)
    def recommend(
        self, user_id: tf.Tensor, k: tf.Tensor, liked_item_ids: tf.Tensor
    ) -> dict[str, tf.Tensor]:
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

    def _user_vectors(self, user_id: tf.Tensor, liked_pairs: tf.Tensor) -> tf.Tensor:
        """Vectors of users who name what they like, as the head allows.

        Where it knows users by what they rated, the liked items are the latest of that.
        Elsewhere a known user keeps its own vector, and an unknown one becomes the mean fan.

        Args:
          user_id: string [B].
          liked_pairs: (row of the batch, item position) of what is liked and known, int64 [P, 2],
            row by row. Padding and unknown ids are in none of them, so they change no answer.
        """
        users = self.users.rows(user_id)
        row, item = liked_pairs[:, 0], liked_pairs[:, 1]
        batch = tf.size(user_id, tf.int64)
        if self.fans is None:
            liked = tf.RaggedTensor.from_value_rowids(tf.cast(item, tf.int32), row, batch)
            users |= self._latest(liked, users["history"], users["age"])
            return self.model.preference_head.user(users)
        vectors = self.model.preference_head.user(users)
        count = tf.math.bincount(tf.cast(row, tf.int32), minlength=tf.cast(batch, tf.int32))
        count = tf.cast(count, tf.float32)[:, None]
        total = tf.math.unsorted_segment_sum(tf.gather(self.fans, item), row, batch)
        unknown = self.users.position.lookup(user_id)[:, None] == self.users.count
        return tf.where(unknown & (count > 0), tf.math.divide_no_nan(total, count), vectors)

    def _latest(
        self, liked: tf.RaggedTensor, history: tf.Tensor, age: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Histories that begin with what is liked now: as wide as they were, padded at the end."""
        width = history.shape[1]
        count = tf.cast(liked.row_lengths(), tf.int32)[:, None]
        # Where in the history each place of the result comes from; below 0 from what is liked.
        place = tf.range(width)[None] - count
        before = tf.maximum(place, 0)
        item = tf.gather(history, before, batch_dims=1)
        ages = tf.gather(age, before, batch_dims=1) + tf.cast(count, tf.float32)
        return {
            "history": tf.where(place < 0, liked.to_tensor(-1, shape=[None, width]), item),
            "age": tf.where(place < 0, np.float32(self.now), ages),
        }


def _fans(user_vectors: np.ndarray, train: Interactions, catalogue: Catalogue) -> np.ndarray:
    """The mean vector of the users who rated each item in training, float32 [items, D]."""
    shape = len(catalogue.items), len(user_vectors)
    fans = sparse.coo_array((np.ones(len(train), np.float32), (train.item, train.user)), shape)
    count = np.maximum(np.bincount(train.item, minlength=shape[0]), 1)
    return (fans.tocsr() @ user_vectors) / count[:, None].astype(np.float32)


def _id_table(raw_ids: np.ndarray, default: int) -> tf.lookup.StaticHashTable:
    keys = tf.constant(raw_ids.tolist(), tf.string, shape=[len(raw_ids)])
    values = tf.range(len(raw_ids), dtype=tf.int64)
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(keys, values), tf.constant(default, tf.int64)
    )
