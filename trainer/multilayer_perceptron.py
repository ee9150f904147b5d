"""MLP: embeddings and all metadata of a user and an item through dense layers.

He et al.: Neural Collaborative Filtering (2017), section 3.3, with metadata.
"""

from __future__ import annotations

from typing import Any

import keras

from tfx_recommender.trainer.embeddings import FeatureEncoder, IdEmbedding
from tfx_recommender.trainer.hyperparameters import (
    MultilayerPerceptron,
    MultilayerRanking,
)
from tfx_recommender.trainer.problem import EntityShape, Problem


def rating_head(config: MultilayerPerceptron, problem: Problem, seed: int) -> Head:
    """To be trained; every score is 0, the mean rating, at first."""
    shapes = problem.catalogue.user_shape, problem.catalogue.item_shape
    return Head(config, *shapes, output_initializer="zeros")


def preference_head(config: MultilayerRanking, problem: Problem, seed: int) -> Head:
    """To be trained."""
    return Head(config, problem.catalogue.user_shape, problem.catalogue.item_shape)


class Head(keras.layers.Layer):
    """score(u, i) = w · MLP(user and item vectors).

    The first layer is a sum of a user's and an item's part (a dense layer over two
    concatenated vectors is just that), so scoring a whole catalogue computes each part once.
    """

    sequential = False

    def __init__(
        self,
        config: MultilayerPerceptron,
        users: EntityShape,
        items: EntityShape,
        output_initializer: str = "glorot_uniform",
    ) -> None:
        super().__init__()
        size, l2, drop = config.embedding_size, config.l2, config.id_dropout
        self.width, *rest = config.hidden_units
        self.user_embedding = IdEmbedding(users, size, l2, drop)
        self.item_embedding = IdEmbedding(items, size, l2, drop)
        self.user_features = FeatureEncoder(users, config.feature_embedding_size)
        self.item_features = FeatureEncoder(items, config.feature_embedding_size)
        self.user_layer = keras.layers.Dense(self.width)
        self.item_layer = keras.layers.Dense(self.width, use_bias=False)
        self.hidden = [keras.layers.Dense(units, activation="relu") for units in rest]
        self.dropout = keras.layers.Dropout(config.dropout)
        self.output_layer = keras.layers.Dense(1, kernel_initializer=output_initializer)

    def user(self, users: dict[str, Any], training: bool = False) -> Any:
        """Vectors of users: [B] rows -> [B, width]."""
        embedding = self.user_embedding(users["index"], training=training)
        vector = keras.ops.concatenate([embedding, self.user_features(users)], axis=-1)
        return self.user_layer(self.dropout(vector, training=training))

    def item(self, items: dict[str, Any], training: bool = False) -> Any:
        """Vectors of items: [...] rows -> [..., width]."""
        embedding = self.item_embedding(items["index"], training=training)
        vector = keras.ops.concatenate([embedding, self.item_features(items)], axis=-1)
        return self.item_layer(self.dropout(vector, training=training))

    def interact(self, user: Any, item: Any, training: bool = False) -> Any:
        """Scores: user [B, width] and item [B or 1, K, width] -> [B, K]."""
        hidden = keras.ops.relu(user[:, None, :] + item)
        for layer in self.hidden:
            hidden = layer(hidden)
        return self.output_layer(hidden)[..., 0]
