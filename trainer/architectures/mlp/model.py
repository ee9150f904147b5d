"""MLP: embeddings and all metadata of a user and an item through dense layers.

He et al.: Neural Collaborative Filtering (2017), section 3.3, with metadata; and, if so
configured, the products of He and Chua: Neural Factorization Machines (2017), eq. 3.
"""

from __future__ import annotations

import keras

from tfx_recommender.trainer.architectures.layers import FeatureEncoder, IdEmbedding
from tfx_recommender.trainer.architectures.mlp.settings import (
    MultilayerPerceptron,
    MultilayerRanking,
    MultilayerRating,
)
from tfx_recommender.trainer.fitting.fit import Fitter
from tfx_recommender.trainer.fitting.head import EntityBatch, Tensor, Vectors
from tfx_recommender.trainer.fitting.problem import EntityShape, Problem


def fit_rating(config: MultilayerRating, problem: Problem, fitter: Fitter) -> MultilayerHead:
    """Trained on squared error."""
    return fitter.rating(untrained_rating_head(config, problem), problem, config.training)


def untrained_rating_head(config: MultilayerPerceptron, problem: Problem) -> MultilayerHead:
    """A head that scores 0, the mean rating, for every pair."""
    shapes = problem.catalogue.user_shape, problem.catalogue.item_shape
    return MultilayerHead(config, *shapes, output_initializer="zeros")


def fit_preference(config: MultilayerRanking, problem: Problem, fitter: Fitter) -> MultilayerHead:
    """Trained on a ranking loss."""
    shapes = problem.catalogue.user_shape, problem.catalogue.item_shape
    return fitter.preference(MultilayerHead(config, *shapes), problem, config.training)


class MultilayerHead(keras.layers.Layer):
    """score(u, i) = w · MLP(user and item vectors, and the product of both embeddings).

    A dense layer over two concatenated vectors is the sum of a layer over each, so the first layer
    (H units) has a part of the user and a part of the item. Scoring a whole catalogue computes each
    part once.

    With `products`, the first layer also sees the element-wise product of both embeddings, which
    dense layers would have to learn. It is divided by the initial standard deviation of an
    embedding: products of small numbers would otherwise be too small to be learnt early.
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

    def user(self, users: EntityBatch[Tensor], training: bool = False) -> Vectors:
        """Parts of users: [B] rows -> float32 [B, H], and with products [B, D]."""
        embedding = self.user_embedding(users["index"], training=training)
        return self._parts(self.user_layer, embedding, self.user_features(users), training)

    def item(self, items: EntityBatch[Tensor], training: bool = False) -> Vectors:
        """Parts of items: [...] rows -> float32 [..., H], and with products [..., D]."""
        embedding = self.item_embedding(items["index"], training=training)
        return self._parts(self.item_layer, embedding, self.item_features(items), training)

    def _parts(
        self, layer: keras.layers.Dense, embedding: Tensor, features: Tensor, training: bool
    ) -> Vectors:
        inputs = keras.ops.concatenate([embedding, features], axis=-1)
        first = layer(self.dropout(inputs, training=training))
        return (first,) if self.product_layer is None else (first, embedding)

    def interact(self, user: Vectors, item: Vectors, training: bool = False) -> Tensor:
        """Scores, float32 [B, K]; see `Head.interact`."""
        hidden = keras.ops.expand_dims(user[0], axis=1) + item[0]
        if self.product_layer is not None:
            product = keras.ops.expand_dims(user[1], axis=1) * item[1]
            hidden = hidden + self.product_layer(product / self.user_embedding.scale)
        hidden = keras.ops.relu(hidden)
        for layer in self.hidden:
            hidden = layer(hidden)
        return keras.ops.squeeze(self.output_layer(hidden), axis=-1)
