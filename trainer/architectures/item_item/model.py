"""Item-to-item: all that a user interacted with speaks for, or against, every other item.

EASE, whose weights are found in closed form (see `ease`). Ratings are predicted by MF.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from scipy import sparse

from tfx_recommender.trainer.architectures.item_item import ease, ease_search
from tfx_recommender.trainer.architectures.item_item.settings import ItemToItem
from tfx_recommender.trainer.architectures.mf import model as mf
from tfx_recommender.trainer.fitting.fit import Fitter
from tfx_recommender.trainer.fitting.head import EntityBatch, Tensor, Vectors
from tfx_recommender.trainer.fitting.held_out import HeldOut
from tfx_recommender.trainer.fitting.problem import Problem

fit_rating = mf.fit_rating

# Of the share of users that know an item, so much is in its score: too little to matter but
# where nothing else does.
_POPULARITY = 1e-4


def fit_preference(config: ItemToItem, problem: Problem, fitter: Fitter) -> ItemToItemHead:
    """Solved for; what its hyperparameters leave open is chosen on validation."""
    catalogue, train = problem.catalogue, problem.train
    users, items = len(catalogue.users), len(catalogue.items)
    rows = catalogue.item_shape
    index = catalogue.items.index[:-1]
    column = index[train.item]
    ones = np.ones(len(train), np.float32)
    observed = sparse.coo_array((ones, (train.user, column)), (users, rows.ids)).tocsr()
    observed.data[:] = 1.0
    count = observed.sum(axis=0)
    share = count / np.maximum(1, np.bincount(index, minlength=rows.ids)) / max(1, users)
    popular = np.argsort(-count[: rows.vocabulary], kind="stable")
    popular = popular[: min(config.items, np.count_nonzero(count[: rows.vocabulary]))]
    values = ease_search.default(config)
    if None in (config.regularization, config.dropout, config.neighbours) and len(popular):
        held_out = HeldOut(problem, fitter.seed)
        little = (_POPULARITY * share).astype(np.float32)
        search = ease_search.Search(observed, popular, little, held_out, index)
        values = search.run(config)
    logging.info("EASE: fits %d of %d items with %s", len(popular), items, values)
    weights = sparse.csr_array((rows.ids, rows.ids), dtype=np.float32)
    if len(popular):
        gram = ease.gram(observed[:, popular])
        found = ease.weights(gram, values.regularization, values.dropout)
        near = ease.nearest(found, values.neighbours).tocoo()
        place = popular[near.row], popular[near.col]
        weights = sparse.coo_array((near.data, place), weights.shape).tocsr()
    # Users that share a row of their table have no history there.
    user = catalogue.users.index[:-1]
    known = np.flatnonzero(user < catalogue.user_shape.vocabulary)
    rated = sparse.csr_array((catalogue.user_shape.ids, rows.ids), dtype=np.float32)
    if len(known):
        own = observed[known].tocoo()
        place = user[known][own.row], own.col
        rated = sparse.coo_array((own.data, place), rated.shape).tocsr()
    return ItemToItemHead(weights, rated, share.astype(np.float32))


class ItemToItemHead(keras.layers.Layer):
    """score(u, i) = the sum of the weights from all that u interacted with to i.

    A user's vector holds the scores of all rows of the items' table, an item's says which is its
    own. Users of whom nothing is known have the most popular items first.
    """

    sequential = False

    def __init__(
        self, weights: sparse.csr_array, rated: sparse.csr_array, popularity: np.ndarray
    ) -> None:
        """Takes matrices over.

        Args:
          weights: from (row) and to (column) each row of the items' table, float32.
          rated: what each row of the users' table interacted with, [users, items].
          popularity: share of the users that know an item, float32 [items].
        """
        super().__init__()
        self._items = len(popularity)
        self.start = self._constant(weights.indptr, "int64")
        self.to = self._constant(weights.indices, "int32")
        self.weights_to = self._constant(weights.data, "float32")
        self.user_start = self._constant(rated.indptr, "int64")
        self.rated = self._constant(rated.indices, "int32")
        self.popularity = self._constant(popularity, "float32")

    def _constant(self, values: np.ndarray, dtype: str) -> Any:
        initializer = keras.initializers.Constant(values.astype(dtype))
        return self.add_weight(
            shape=values.shape, initializer=initializer, dtype=dtype, trainable=False
        )

    def user(self, users: EntityBatch[Tensor], training: bool = False) -> Vectors:
        """Scores of all rows of the items' table: [B] rows -> float32 [B, items]."""
        return (self._of_users(tf.cast(users["index"], tf.int64)),)

    def item(self, items: EntityBatch[Tensor], training: bool = False) -> Vectors:
        """Rows of the items' table: [...] rows -> int32 [...]."""
        return (keras.ops.cast(items["index"], "int32"),)

    def interact(self, user: Vectors, item: Vectors, training: bool = False) -> Tensor:
        """Scores, float32 [B, K]; see `Head.interact`."""
        (scores,), (row,) = user, item
        if row.shape[0] == 1:
            return tf.gather(scores, row[0], axis=1)
        return tf.gather(scores, row, batch_dims=1)

    def fold_in(self, items: EntityBatch[Tensor], weight: Tensor) -> Vectors:
        """Vectors of users from what they interacted with; exactly those of known users.

        Args:
          items: rows of these items, [B, L].
          weight: float32 [B, L]; 0 where padded, and all above count alike.

        Returns:
          As `user` returns them.
        """
        return (self._folded(tf.cast(items["index"], tf.int64), weight > 0),)

    # User by user, so that no more than one user's weights are gathered at a time.

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.int64)])
    def _of_users(self, index: tf.Tensor) -> tf.Tensor:
        start, rated = self.user_start.value, self.rated.value

        def of(row: tf.Tensor) -> tf.Tensor:
            return self._scores(tf.gather(rated, tf.range(start[row], start[row + 1])))

        return tf.map_fn(of, index, fn_output_signature=tf.TensorSpec([self._items]))

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, None], tf.int64),
            tf.TensorSpec([None, None], tf.bool),
        ],
    )
    def _folded(self, items: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        def of(row: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            return self._scores(tf.boolean_mask(*row))

        signature = tf.TensorSpec([self._items])
        return tf.map_fn(of, (items, present), fn_output_signature=signature)

    def _scores(self, items: tf.Tensor) -> tf.Tensor:
        """Of somebody who interacted with these, rows [P]: float32 [width]."""
        starts = tf.gather(self.start.value, items)
        ends = tf.gather(self.start.value, tf.cast(items, tf.int64) + 1)
        place = tf.ragged.range(starts, ends).values
        to, value = (tf.gather(part.value, place) for part in (self.to, self.weights_to))
        little = tf.where(tf.size(items) > 0, np.float32(_POPULARITY), np.float32(1))
        found = tf.math.unsorted_segment_sum(value, to, self._items)
        return found + little * self.popularity.value
