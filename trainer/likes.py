"""Users who name what they like, folded in: part of what is exported."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfx_recommender.trainer.fitting.head import FoldIn
from tfx_recommender.trainer.fitting.interactions import Interactions


class _Items(Protocol):
    """Rows of items by position in the catalogue."""

    count: int
    table: Any


class Likes(tf.Module):
    """Vectors of users from all that they interacted with in training, and what they like."""

    def __init__(self, head: FoldIn, train: Interactions, users: int, items: _Items) -> None:
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

    def vectors(self, own: tf.Tensor, users: tf.Tensor, liked: tf.Tensor) -> tf.Tensor:
        """Vectors of a batch, float32 [B, width]. Who likes nothing known keeps its own.

        Args:
          own: their vectors as training left them, [B, width].
          users: positions, int64 [B].
          liked: positions of items, int64 [B, L]; the number of items where padded or unknown.
        """
        named = tf.reduce_any(liked < self.items.count, axis=1)
        return tf.cond(
            tf.reduce_any(named),
            lambda: tf.where(named[:, None], self._folded(users, liked, named), own),
            lambda: own,
        )

    def _folded(self, users: tf.Tensor, liked: tf.Tensor, named: tf.Tensor) -> tf.Tensor:
        start, end = tf.gather(self.offsets, users), tf.gather(self.offsets, users + 1)
        spans = tf.ragged.range(start, tf.where(named, end, start))
        rated = spans.with_values(tf.gather(self.positions, spans.values)).to_tensor(-1)
        weight = tf.cast(rated >= 0, tf.float32)
        if self.weights is not None:
            given = spans.with_values(tf.gather(self.weights, spans.values))
            weight = given.to_tensor(0.0)
        liked = tf.cast(liked, tf.int32)
        # What is named twice, or was rated already, is no news.
        same = liked[:, :, None] == liked[:, None, :]
        again = tf.reduce_any(tf.linalg.band_part(same, -1, 0) & ~_diagonal(same), axis=2)
        old = tf.reduce_any(liked[:, :, None] == rated[:, None, :], axis=2)
        is_news = (liked < self.items.count) & ~again & ~old
        position = tf.concat([rated, liked], axis=1)
        weight = tf.concat([weight, tf.cast(is_news, tf.float32)], axis=1)
        position = tf.where(weight > 0, position, 0)
        rows = tf.nest.map_structure(lambda column: tf.gather(column, position), self.items.table)
        return self.head.fold_in(rows, weight)


def _diagonal(square: tf.Tensor) -> tf.Tensor:
    """True on the diagonal: of the last two dimensions' size, bool [1, L, L]."""
    return tf.eye(tf.shape(square)[-1], dtype=tf.bool)[None]
