"""MF: the dot product of a user's and an item's embedding, and their biases.

Koren, Bell, Volinsky: Matrix Factorization Techniques for Recommender Systems (2009), eq. 4.
"""

from __future__ import annotations

import keras

from tfx_recommender.trainer.architectures import bayesian_factorization, factors
from tfx_recommender.trainer.architectures.factors import FactorsHead
from tfx_recommender.trainer.architectures.layers import IdEmbedding
from tfx_recommender.trainer.architectures.mf.settings import (
    BayesianFactorization,
    MatrixFactorization,
)
from tfx_recommender.trainer.fitting.fit import Fitter
from tfx_recommender.trainer.fitting.head import EntityBatch, Tensor, Vectors
from tfx_recommender.trainer.fitting.problem import EntityShape, Problem


def fit_rating(config: BayesianFactorization, problem: Problem, fitter: Fitter) -> FactorsHead:
    """The posterior mean, by Gibbs sampling."""
    return bayesian_factorization.head(config, problem, fitter.seed)


def fit_preference(
    config: MatrixFactorization, problem: Problem, fitter: Fitter
) -> MatrixFactorizationHead:
    """Trained on a ranking loss."""
    catalogue = problem.catalogue
    head = MatrixFactorizationHead(config, catalogue.user_shape, catalogue.item_shape)
    return fitter.preference(head, problem, config.training)


class MatrixFactorizationHead(keras.layers.Layer):
    """score(u, i) = b_u + b_i + <p_u, q_i>."""

    sequential = False

    def __init__(self, config: MatrixFactorization, users: EntityShape, items: EntityShape) -> None:
        super().__init__()
        size, l2, drop = config.embedding_size, config.l2, config.id_dropout
        self.user_embedding = IdEmbedding(users, size, l2, drop)
        self.item_embedding = IdEmbedding(items, size, l2, drop)
        self.user_bias = IdEmbedding(users, 1, config.bias_l2, drop, scale=0.0)
        self.item_bias = IdEmbedding(items, 1, config.bias_l2, drop, scale=0.0)

    def user(self, users: EntityBatch[Tensor], training: bool = False) -> Vectors:
        """Vectors of users, the bias first: [B] rows -> float32 [B, 1 + D]."""
        bias = self.user_bias(users["index"], training=training)
        embedding = self.user_embedding(users["index"], training=training)
        return (keras.ops.concatenate([bias, embedding], axis=-1),)

    def item(self, items: EntityBatch[Tensor], training: bool = False) -> Vectors:
        """Biases and embeddings of items: [...] rows -> float32 [..., 1] and [..., D]."""
        bias = self.item_bias(items["index"], training=training)
        return bias, self.item_embedding(items["index"], training=training)

    def interact(self, user: Vectors, item: Vectors, training: bool = False) -> Tensor:
        """Scores, float32 [B, K]; see `Head.interact`."""
        return factors.biased_products(user, item)
