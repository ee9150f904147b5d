"""Hyperparameters of `mlp`. Free of TensorFlow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tfx_recommender.foundation.settings import Settings
from tfx_recommender.trainer.fitting.settings import Penalty, RankingTraining, Share, Size, Training


class MultilayerPerceptron(Settings):
    """The layers of an MLP head."""

    embedding_size: Size = 32
    """Length of an id's embedding."""
    feature_embedding_size: Size = 8
    """Length of a category's embedding."""
    hidden_units: Annotated[tuple[Size, ...], Field(min_length=1)] = (64, 32)
    """Width of each hidden layer, first to last."""
    products: bool = False
    """Whether the first layer also sees the element-wise product of both embeddings."""
    dropout: Share = 0.1
    """Dropout rate of a user's and of an item's inputs."""
    l2: Penalty = 0.01
    """L2 penalty of looked-up embeddings, per row of a batch."""
    l2_exponent: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """L2 scales with count ** l2_exponent: 1 is proportional to an id's number of ratings, 0 is
    equal for all ids."""
    id_dropout: Share = 0.02
    """Probability in training that an id is replaced by an unknown one."""


class MultilayerRating(MultilayerPerceptron):
    """An MLP head that predicts ratings."""

    training: Training = Training()
    """How it is trained."""


class MultilayerRanking(MultilayerPerceptron):
    """An MLP head that ranks."""

    training: RankingTraining = RankingTraining()
    """How it is trained."""
