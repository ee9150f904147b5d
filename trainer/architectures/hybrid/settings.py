"""Hyperparameters of `hybrid`. Free of TensorFlow."""

from __future__ import annotations

from tfx_recommender.foundation.settings import Settings
from tfx_recommender.trainer.architectures.mf.settings import BayesianFactorization
from tfx_recommender.trainer.architectures.mlp.settings import MultilayerPerceptron
from tfx_recommender.trainer.fitting.settings import Training


class HybridRating(Settings):
    """The rating head of the hybrid."""

    mf: BayesianFactorization = BayesianFactorization(side_information=512)
    """The MF part."""
    mlp: MultilayerPerceptron = MultilayerPerceptron()
    """The MLP part, which learns the residuals of the MF part."""
    training: Training = Training()
    """How the MLP part is trained."""
