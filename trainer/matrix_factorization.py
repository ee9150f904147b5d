"""MF: the dot product of a user's and an item's embedding, and their biases.

Koren, Bell, Volinsky: Matrix Factorization Techniques for Recommender Systems (2009), eq. 4.
"""

from __future__ import annotations

from typing import Any

import keras

from tfx_recommender.trainer.embeddings import IdEmbedding
from tfx_recommender.trainer.entities import EntityShape
from tfx_recommender.trainer.hyperparameters import MatrixFactorization


class Head(keras.layers.Layer):
    """score(u, i) = b + b_u + b_i + <p_u, q_i>."""

    def __init__(self, config: MatrixFactorization, users: EntityShape, items: EntityShape) -> None:
        super().__init__()
        size, l2, drop = config.embedding_size, config.l2, config.id_dropout
        self.user_embedding = IdEmbedding(users, size, l2, drop)
        self.item_embedding = IdEmbedding(items, size, l2, drop)
        self.user_bias = IdEmbedding(users, 1, config.bias_l2, drop, scale=0.0)
        self.item_bias = IdEmbedding(items, 1, config.bias_l2, drop, scale=0.0)
        self.bias = self.add_weight(shape=(), initializer="zeros", name="global_bias")

    def user(self, users: dict[str, Any], training: bool = False) -> Any:
        """Vectors of users: [B] rows -> [B, embedding_size + 1]."""
        index = users["index"]
        return keras.ops.concatenate(
            [
                self.user_embedding(index, training=training),
                self.user_bias(index, training=training),
            ],
            axis=-1,
        )

    def item(self, items: dict[str, Any], training: bool = False) -> Any:
        """Vectors of items: [...] rows -> [..., embedding_size + 1]."""
        index = items["index"]
        return keras.ops.concatenate(
            [
                self.item_embedding(index, training=training),
                self.item_bias(index, training=training),
            ],
            axis=-1,
        )

    def interact(self, user: Any, item: Any, training: bool = False) -> Any:
        """Scores: user [B, D] and item [B or 1, K, D] -> [B, K]."""
        if item.shape[0] == 1:  # one list of items for all users: a plain matrix product
            dot = keras.ops.matmul(user[:, :-1], keras.ops.transpose(item[0, :, :-1]))
        else:
            dot = keras.ops.sum(user[:, None, :-1] * item[..., :-1], axis=-1)
        return self.bias + user[:, -1:] + item[..., -1] + dot
