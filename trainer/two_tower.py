"""Two towers: a user's latest ratings and metadata, an item's id and metadata, a dot product.

Covington, Adams, Sargin: Deep Neural Networks for YouTube Recommendations (2016), section 3,
with a weighted sum for the history instead of an average and no hidden layers.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfx_recommender.trainer import factors
from tfx_recommender.trainer.embeddings import FeatureEncoder, IdEmbedding
from tfx_recommender.trainer.hyperparameters import TwoTower
from tfx_recommender.trainer.problem import Problem


def preference_head(config: TwoTower, problem: Problem, seed: int) -> Head:
    """To be trained; at first the more popular item is preferred."""
    return Head(config, problem)


class Head(keras.layers.Layer):
    """score(u, i) = b_i + <x_u, q_i>.

    x_u is a weighted sum of embeddings of the items rated before, and of the user's metadata.
    The weight of a rating is exp(-age / decay) + 1 / sqrt(number of ratings): the latest tell
    what comes next, all of them what is liked.
    """

    def __init__(self, config: TwoTower, problem: Problem) -> None:
        super().__init__()
        users, items = problem.catalogue.user_shape, problem.catalogue.item_shape
        size, drop = config.embedding_size, config.id_dropout
        index = problem.catalogue.items.index
        popularity = np.bincount(index[problem.train.item], minlength=items.ids)
        self.decay = config.decay
        self.index = keras.ops.convert_to_tensor(index, "int32")
        self.history = IdEmbedding(items, size, config.l2, 0.0)
        self.item_embedding = IdEmbedding(items, size, config.l2, drop)
        self.item_bias = keras.layers.Embedding(
            items.ids, 1, keras.initializers.Constant(np.log1p(popularity)[:, None])
        )
        self.user_features = FeatureEncoder(users, config.feature_embedding_size)
        self.item_features = FeatureEncoder(items, config.feature_embedding_size)
        self.user_layer = keras.layers.Dense(size, use_bias=False)
        self.item_layer = keras.layers.Dense(size, use_bias=False)
        self.dropout = keras.layers.Dropout(config.dropout)

    def user(self, users: dict[str, Any], training: bool = False) -> Any:
        """Vectors of users: [B] rows -> [B, embedding_size]."""
        item, age = users["history"], users["age"]
        present = keras.ops.cast(item >= 0, "float32")
        count = keras.ops.maximum(keras.ops.sum(present, axis=1, keepdims=True), 1.0)
        weight = present * (keras.ops.exp(-age / self.decay) + 1.0 / keras.ops.sqrt(count))
        weight = self.dropout(weight, training=training)
        index = keras.ops.take(self.index, keras.ops.maximum(item, 0), axis=0)
        vectors = self.history(index, training=training)
        taste = keras.ops.matmul(weight[:, None, :], vectors)[:, 0]
        return taste + self.user_layer(self.user_features(users))

    def item(self, items: dict[str, Any], training: bool = False) -> Any:
        """Vectors of items: [...] rows -> [..., 1 + embedding_size], the bias first."""
        vector = self.item_embedding(items["index"], training=training)
        vector = vector + self.item_layer(self.item_features(items))
        return keras.ops.concatenate([self.item_bias(items["index"]), vector], axis=-1)

    def interact(self, user: Any, item: Any, training: bool = False) -> Any:
        """Scores: user [B, D] and item [B or 1, K, 1 + D] -> [B, K]."""
        return item[..., 0] + factors.products(user, item[..., 1:])
