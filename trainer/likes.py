"""Vectors of users who name items that they like, inside the exported model."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import tensorflow as tf

from tfx_recommender.trainer.fitting.head import EntityBatch, FoldIn, Tensor, Vectors
from tfx_recommender.trainer.fitting.interactions import Interactions


class _ItemRows(Protocol):
    """Rows of items by position in the catalogue."""

    count: int
    table: EntityBatch[Tensor]


class Likes(tf.Module):
    """Computes users from all that they interacted with in training and the items they like."""

    def __init__(self, head: FoldIn, train: Interactions, users: int, items: _ItemRows) -> None:
        """Sorts the train split by user.

        Args:
          head: what folds users in.
          train: the train split.
          users: how many users it has.
          items: their rows.
        """
        super().__init__()
        self.head, self.items = head, items
        order = np.argsort(train.user, kind="stable")
        count = np.bincount(train.user, minlength=users)
        # One more, empty history: that of an unknown user.
        offsets = np.concatenate([[0], np.cumsum(count), [len(train)]])
        self.offsets = tf.Variable(offsets.astype(np.int64), trainable=False)
        self.positions = tf.Variable(train.item[order].astype(np.int32), trainable=False)
        self.weights: tf.Variable | None = None
        if train.strength is not None:
            weights = train.strength[order] / np.mean(train.strength, dtype=np.float64)
            self.weights = tf.Variable(weights.astype(np.float32), trainable=False)

    def vectors(self, own: Vectors, users: Tensor, liked_pairs: Tensor) -> Vectors:
        """Vectors of a batch. A user who likes nothing known keeps its own.

        Args:
          own: their vectors as training left them, [B] rows.
          users: positions, int64 [B].
          liked_pairs: (row of the batch, item position) of the liked items that are known, int64
            [P, 2], row by row.
        """
        batch = tf.size(users, tf.int64)
        liked = tf.RaggedTensor.from_value_rowids(
            tf.cast(liked_pairs[:, 1], tf.int32), liked_pairs[:, 0], batch
        )
        named = liked.row_lengths() > 0

        def folded() -> Vectors:
            found = self._folded(users, liked.to_tensor(-1), named)

            def chosen(new: Tensor, old: Tensor) -> Tensor:
                return tf.where(tf.reshape(named, [-1, *[1] * (new.shape.rank - 1)]), new, old)

            return tf.nest.map_structure(chosen, found, own)

        return tf.cond(tf.reduce_any(named), folded, lambda: own)

    def _folded(self, users: Tensor, liked: Tensor, named: Tensor) -> Vectors:
        """Vectors of users [B] who like items [B, L], positions padded with -1."""
        start, end = tf.gather(self.offsets, users), tf.gather(self.offsets, users + 1)
        spans = tf.ragged.range(start, tf.where(named, end, start))
        rated = spans.with_values(tf.gather(self.positions, spans.values)).to_tensor(-1)
        weight = tf.cast(rated >= 0, tf.float32)
        if self.weights is not None:
            given = spans.with_values(tf.gather(self.weights, spans.values))
            weight = given.to_tensor(0.0)
        # An item that is named twice, or was rated already, counts once.
        same = liked[:, :, None] == liked[:, None, :]
        again = tf.reduce_any(tf.linalg.band_part(same, -1, 0) & ~_diagonal(same), axis=2)
        old = tf.reduce_any(liked[:, :, None] == rated[:, None, :], axis=2)
        is_new = (liked >= 0) & ~again & ~old
        position = tf.concat([rated, liked], axis=1)
        weight = tf.concat([weight, tf.cast(is_new, tf.float32)], axis=1)
        position = tf.where(weight > 0, position, 0)
        rows = tf.nest.map_structure(lambda column: tf.gather(column, position), self.items.table)
        return self.head.fold_in(rows, weight)


def _diagonal(square: Tensor) -> Tensor:
    """True on the diagonal: of the last two dimensions' size, bool [1, L, L]."""
    return tf.eye(tf.shape(square)[-1], dtype=tf.bool)[None]
