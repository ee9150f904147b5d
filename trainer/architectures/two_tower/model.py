"""Two towers: a user's latest ratings and metadata, an item's id and metadata, a dot product.

Covington, Adams, Sargin: Deep Neural Networks for YouTube Recommendations (2016), section 3,
with a weighted sum of the history instead of an average, and no hidden layers. The rating head also
uses the user's id: SVD++ (Koren: Factorization Meets the Neighborhood, 2008, eq. 15) with
metadata.
"""

from __future__ import annotations

import keras
import numpy as np

from tfx_recommender.trainer.architectures import factors
from tfx_recommender.trainer.architectures.layers import FeatureEncoder, IdEmbedding, Table
from tfx_recommender.trainer.architectures.two_tower.settings import (
    Towers,
    TowersRanking,
    TowersRating,
)
from tfx_recommender.trainer.fitting.fit import Fitter
from tfx_recommender.trainer.fitting.head import EntityBatch, Tensor, Vectors
from tfx_recommender.trainer.fitting.problem import Problem


def fit_rating(config: TowersRating, problem: Problem, fitter: Fitter) -> TowersHead:
    """Trained on squared error; item biases start at 0, the mean rating."""
    bias = np.zeros(problem.catalogue.item_shape.ids)
    return fitter.rating(
        TowersHead(config, problem, bias, with_user=True), problem, config.training
    )


def fit_preference(config: TowersRanking, problem: Problem, fitter: Fitter) -> TowersHead:
    """Trained on a ranking loss; item biases start at the logarithm of popularity."""
    items = problem.catalogue.items.index[problem.train.item]
    popularity = np.bincount(items, minlength=problem.catalogue.item_shape.ids)
    head = TowersHead(config, problem, np.log1p(popularity))
    return fitter.preference(head, problem, config.training)


class TowersHead(keras.layers.Layer):
    """score(u, i) = b_u + b_i + <x_u, q_i>.

    x_u is a weighted sum of embeddings of the items rated before, plus the user's encoded metadata.
    A rating head adds an embedding of the user's id, and b_u. A ranking head has neither, so it
    ranks for unknown users too. The weight of a rating is
    exp(-age / decay) + 1 / sqrt(number of ratings): the first term stresses recent ratings, the
    second averages all of them.
    """

    sequential = True

    def __init__(
        self, config: Towers, problem: Problem, item_bias: np.ndarray, with_user: bool = False
    ) -> None:
        """Makes the layers.

        Args:
          config: hyperparameters.
          problem: what will be fitted.
          item_bias: float [item ids], the initial b_i.
          with_user: whether the head uses the user's id.
        """
        super().__init__()
        users, items = problem.catalogue.user_shape, problem.catalogue.item_shape
        size, drop = config.embedding_size, config.id_dropout
        self.decay, self.length = config.decay, config.history
        self.index = keras.ops.convert_to_tensor(problem.catalogue.items.index, "int32")
        self.history = IdEmbedding(items, size, config.l2, 0.0)
        self.item_embedding = IdEmbedding(items, size, config.l2, drop)
        initial = keras.initializers.Constant(item_bias[:, None])
        self.item_bias = Table(items.ids, 1, "item", initial)
        self.user_embedding = IdEmbedding(users, 1 + size, config.l2, drop) if with_user else None
        self.user_features = FeatureEncoder(users, config.feature_embedding_size)
        self.item_features = FeatureEncoder(items, config.feature_embedding_size)
        self.user_layer = keras.layers.Dense(size, use_bias=False)
        self.item_layer = keras.layers.Dense(size, use_bias=False)
        self.dropout = keras.layers.Dropout(config.dropout)

    def user(self, users: EntityBatch[Tensor], training: bool = False) -> Vectors:
        """Vectors of users, the bias first: [B] rows -> float32 [B, 1 + D]."""
        item, age = (users[name][:, : self.length] for name in ("history", "age"))
        present = item >= 0
        count = keras.ops.sum(keras.ops.cast(present, "float32"), axis=1, keepdims=True)
        count = keras.ops.maximum(count, 1.0)
        # The age of padding is never used: exp of it may be infinite, and 0 * inf is no number.
        age = keras.ops.where(present, age, 0.0)
        weight = keras.ops.exp(-age / self.decay) + 1.0 / keras.ops.sqrt(count)
        weight = keras.ops.where(present, weight, 0.0)
        weight = self.dropout(weight, training=training)
        index = keras.ops.take(self.index, keras.ops.maximum(item, 0), axis=0)
        vectors = self.history(index, training=training)
        taste = keras.ops.matmul(weight[:, None, :], vectors)[:, 0]
        taste = taste + self.user_layer(self.user_features(users))
        bias = keras.ops.zeros_like(taste[:, :1])
        vector = keras.ops.concatenate([bias, taste], axis=-1)
        if self.user_embedding is not None:
            vector = vector + self.user_embedding(users["index"], training=training)
        return (vector,)

    def item(self, items: EntityBatch[Tensor], training: bool = False) -> Vectors:
        """Biases and vectors of items: [...] rows -> float32 [..., 1] and [..., D]."""
        vector = self.item_embedding(items["index"], training=training)
        vector = vector + self.item_layer(self.item_features(items))
        return self.item_bias(items["index"]), vector

    def interact(self, user: Vectors, item: Vectors, training: bool = False) -> Tensor:
        """Scores, float32 [B, K]; see `Head.interact`."""
        return factors.biased_products(user, item)
