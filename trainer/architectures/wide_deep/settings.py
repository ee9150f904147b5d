"""Hyperparameters of `wide_deep`. Free of TensorFlow."""

from __future__ import annotations

from tfx_recommender.trainer.architectures.mlp.settings import MultilayerPerceptron
from tfx_recommender.trainer.fitting.settings import Penalty, RankingTraining, Training


class WideAndDeep(MultilayerPerceptron):
    """An MLP (deep part) plus a linear model of ids, categories and crosses (wide part)."""

    wide_l2: Penalty = 0.001
    """L2 penalty of looked-up rows of the wide part, per row of a batch."""


class WideAndDeepRating(WideAndDeep):
    """Wide & Deep that predicts ratings."""

    training: Training = Training()
    """How it is trained."""


class WideAndDeepRanking(WideAndDeep):
    """Wide & Deep that ranks."""

    training: RankingTraining = RankingTraining()
    """How it is trained."""
