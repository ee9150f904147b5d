"""Dot products of users and items, and a head of factors that were fitted elsewhere."""

from __future__ import annotations

import keras
import numpy as np

from tfx_recommender.trainer.fitting.head import EntityBatch, Tensor, Vectors


class FactorsHead(keras.layers.Layer):
    """score(u, i) = b_u + b_i + <p_u, q_i>. Nothing in it is trained."""

    sequential = False

    def __init__(self, user: np.ndarray, item: np.ndarray) -> None:
        """Copies the factors.

        Args:
          user: float32 [users, 1 + D], the bias first.
          item: float32 [items, 1 + D], likewise.
        """
        super().__init__()
        self.user_table, self.item_table = self._table(user), self._table(item)

    def _table(self, values: np.ndarray) -> Tensor:
        initializer = keras.initializers.Constant(values)
        return self.add_weight(shape=values.shape, initializer=initializer, trainable=False)

    def user(self, users: EntityBatch[Tensor], training: bool = False) -> Vectors:
        """Factors of users, the bias first: [B] rows -> float32 [B, 1 + D]."""
        return (keras.ops.take(self.user_table, users["index"], axis=0),)

    def item(self, items: EntityBatch[Tensor], training: bool = False) -> Vectors:
        """Biases and factors of items: [...] rows -> float32 [..., 1] and [..., D]."""
        rows = keras.ops.take(self.item_table, items["index"], axis=0)
        return rows[..., :1], rows[..., 1:]

    def interact(self, user: Vectors, item: Vectors, training: bool = False) -> Tensor:
        """Scores, float32 [B, K]; see `Head.interact`."""
        return biased_products(user, item)


def biased_products(user: Vectors, item: Vectors) -> Tensor:
    """b_u + b_i + <p_u, q_i>, float32 [B, K].

    Args:
      user: b and p in one part, [B, 1 + D].
      item: b [B or 1, K, 1] and q [B or 1, K, D].
    """
    (vector,), (item_bias, item_vector) = user, item
    return vector[:, :1] + item_bias[..., 0] + products(vector[:, 1:], item_vector)


def products(user: Tensor, item: Tensor) -> Tensor:
    """Dot products: user [B, D] and item [B or 1, K, D] -> [B, K]."""
    if item.shape[0] == 1:  # the same items for all users: a plain matrix product
        return keras.ops.matmul(user, keras.ops.transpose(keras.ops.squeeze(item, axis=0)))
    return keras.ops.sum(user[:, None, :] * item, axis=-1)
