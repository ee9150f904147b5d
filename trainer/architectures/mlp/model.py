"""MLP: embeddings and all metadata of a user and an item through dense layers.

He et al.: Neural Collaborative Filtering (2017), section 3.3, with metadata; and, if so
configured, the products of He and Chua: Neural Factorization Machines (2017), eq. 3.
"""

from __future__ import annotations

from typing import Any

import keras

from tfx_recommender.trainer.architectures import factors
from tfx_recommender.trainer.architectures.layers import FeatureEncoder, IdEmbedding
from tfx_recommender.trainer.architectures.mlp.settings import (
    MultilayerPerceptron,
    MultilayerRanking,
    MultilayerRating,
)
from tfx_recommender.trainer.fitting.fit import Fitter
from tfx_recommender.trainer.fitting.problem import EntityShape, Problem


def fit_rating(config: MultilayerRating, problem: Problem, fitter: Fitter) -> MultilayerHead:
    """Trained on squared error."""
    return fitter.rating(untrained_rating_head(config, problem), problem, config.training)


def untrained_rating_head(config: MultilayerPerceptron, problem: Problem) -> MultilayerHead:
    """A head whose every score is 0, the mean rating."""
    shapes = problem.catalogue.user_shape, problem.catalogue.item_shape
    return MultilayerHead(config, *shapes, output_initializer="zeros")


def fit_preference(config: MultilayerRanking, problem: Problem, fitter: Fitter) -> MultilayerHead:
    """Trained on a ranking loss."""
    shapes = problem.catalogue.user_shape, problem.catalogue.item_shape
    return fitter.preference(MultilayerHead(config, *shapes), problem, config.training)


class MultilayerHead(keras.layers.Layer):
    """score(u, i) = w · MLP(user and item vectors, and the product of both embeddings).

    The first layer is a sum of a user's and an item's part (a dense layer over two
    concatenated vectors is just that), so scoring a whole catalogue computes each part once.
    Products, element by element, are for who wants them: layers over both embeddings have to
    learn to multiply. They are in units of an embedding's first standard deviation; without, they
    would be so much smaller than what is beside them that training takes them up late.

    A vector is the part of the first layer; with products, then the embedding.
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
        first, *rest = config.hidden_units
        self.widths = [first, config.embedding_size] if config.products else [first]
        self.width = sum(self.widths)
        self.user_embedding, self.item_embedding = (
            IdEmbedding(
                side,
                config.embedding_size,
                config.l2,
                config.id_dropout,
                l2_exponent=config.l2_exponent,
            )
            for side in (users, items)
        )
        self.user_features = FeatureEncoder(users, config.feature_embedding_size)
        self.item_features = FeatureEncoder(items, config.feature_embedding_size)
        self.user_layer = keras.layers.Dense(first)
        self.item_layer = keras.layers.Dense(first, use_bias=False)
        self.product_layer = None
        if config.products:
            self.product_layer = keras.layers.Dense(first, use_bias=False)
        self.hidden = [keras.layers.Dense(units, activation="relu") for units in rest]
        self.dropout = keras.layers.Dropout(config.dropout)
        self.output_layer = keras.layers.Dense(1, kernel_initializer=output_initializer)

    def user(self, users: dict[str, Any], training: bool = False) -> Any:
        """Vectors of users: [B] rows -> [B, width]."""
        embedding = self.user_embedding(users["index"], training=training)
        return self._vector(self.user_layer, embedding, self.user_features(users), training)

    def item(self, items: dict[str, Any], training: bool = False) -> Any:
        """Vectors of items: [...] rows -> [..., width]."""
        embedding = self.item_embedding(items["index"], training=training)
        return self._vector(self.item_layer, embedding, self.item_features(items), training)

    def _vector(self, layer: Any, embedding: Any, features: Any, training: bool) -> Any:
        inputs = keras.ops.concatenate([embedding, features], axis=-1)
        part = layer(self.dropout(inputs, training=training))
        if self.product_layer is None:
            return part
        return keras.ops.concatenate([part, embedding], axis=-1)

    def interact(self, user: Any, item: Any, training: bool = False) -> Any:
        """Scores: user [B, width] and item [B or 1, K, width] -> [B, K]."""
        user, *user_embedding = factors.split(user, self.widths)
        item, *item_embedding = factors.split(item, self.widths)
        hidden = keras.ops.expand_dims(user, axis=1) + item
        if self.product_layer is not None:
            (user_embedding,), (item_embedding,) = user_embedding, item_embedding
            product = keras.ops.expand_dims(user_embedding, axis=1) * item_embedding
            hidden = hidden + self.product_layer(product / self.user_embedding.scale)
        hidden = keras.ops.relu(hidden)
        for layer in self.hidden:
            hidden = layer(hidden)
        return keras.ops.squeeze(self.output_layer(hidden), axis=-1)
