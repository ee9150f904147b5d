"""Hyperparameters of `two_tower`. Free of TensorFlow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tfx_recommender.foundation.settings import Settings
from tfx_recommender.trainer.fitting.settings import Penalty, RankingTraining, Share, Size, Training


class Towers(Settings):
    """Two towers: most recent ratings and metadata represent a user."""

    embedding_size: Size = 32
    """Length of a tower's output."""
    feature_embedding_size: Size = 8
    """Length of a category's embedding."""
    history: Size = 32
    """Number of most recent ratings used."""
    decay: Annotated[float, Field(gt=0)] = 10.0
    """Number of ratings after which an earlier one weighs a third."""
    dropout: Share = 0.3
    """Dropout rate on history items."""
    l2: Penalty = 0.0001
    """L2 penalty of looked-up embeddings, per row of a batch."""
    id_dropout: Share = 0.02
    """Probability in training that an item is replaced by an unknown one."""


class TowersRating(Towers):
    """Two towers that predict ratings."""

    training: Training = Training()
    """How they are trained."""


class TowersRanking(Towers):
    """Two towers that rank."""

    training: RankingTraining = RankingTraining(epochs=4, learning_rate=0.01)
    """How they are trained."""
