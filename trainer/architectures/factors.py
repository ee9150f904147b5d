"""Factors: biases and vectors that were fitted elsewhere; nothing in them is trained."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class FactorsHead(keras.layers.Layer):
    """score(u, i) = b_u + b_i + <p_u, q_i>, in the shape that every architecture has."""

    sequential = False

    def __init__(self, user: np.ndarray, item: np.ndarray) -> None:
        """Takes the tables over.

        Args:
          user: float32 [users, 1 + D], the bias first.
          item: float32 [items, 1 + D].
        """
        super().__init__()
        self.width = user.shape[1]
        self.user_table = self._table(user)
        self.item_table = self._table(item)

    def _table(self, values: np.ndarray) -> Any:
        initializer = keras.initializers.Constant(values)
        return self.add_weight(shape=values.shape, initializer=initializer, trainable=False)

    def user(self, users: dict[str, Any], training: bool = False) -> Any:
        """Vectors of users: [B] rows -> [B, width]."""
        return keras.ops.take(self.user_table, users["index"], axis=0)

    def item(self, items: dict[str, Any], training: bool = False) -> Any:
        """Vectors of items: [...] rows -> [..., width]."""
        return keras.ops.take(self.item_table, items["index"], axis=0)

    def interact(self, user: Any, item: Any, training: bool = False) -> Any:
        """Scores: user [B, width] and item [B or 1, K, width] -> [B, K]."""
        return user[:, :1] + item[..., 0] + products(user[:, 1:], item[..., 1:])


def products(user: Any, item: Any) -> Any:
    """Dot products: user [B, D] and item [B or 1, K, D] -> [B, K]."""
    if item.shape[0] == 1:  # one list of items for all users: a plain matrix product
        return keras.ops.matmul(user, keras.ops.transpose(item[0]))
    return keras.ops.sum(user[:, None, :] * item, axis=-1)


def split(vectors: Any, widths: Sequence[int]) -> list[Any]:
    """Vectors cut into their parts: [..., sum of widths] -> [..., width] of each."""
    if isinstance(vectors, tf.Tensor):
        return tf.split(vectors, widths, axis=-1)  # the gradient of slices takes much longer
    ends = itertools.accumulate(widths)
    return [vectors[..., end - width : end] for end, width in zip(ends, widths, strict=True)]
