"""Hyperparameters of `mf`. Free of TensorFlow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from tfx_recommender.foundation.settings import Settings
from tfx_recommender.trainer.fitting.settings import Penalty, RankingTraining, Share, Size


class MatrixFactorization(Settings):
    """An MF head that ranks."""

    embedding_size: Size = 64
    """Length of an id's embedding."""
    l2: Penalty = 0.02
    """L2 penalty of looked-up embeddings, per row of a batch."""
    bias_l2: Penalty = 0.001
    """The same for biases."""
    id_dropout: Share = 0.02
    """Probability in training that an id is replaced by an unknown one."""
    training: RankingTraining = RankingTraining()
    """How it is trained."""


class BayesianFactorization(Settings):
    """MF of the ratings, sampled from its posterior instead of optimised."""

    embedding_size: Size = 32
    """Length of an id's embedding, to which the samples' mean prediction is shortened."""
    factors: Size = 16
    """Length of an id's vector in each sample, without the bias."""
    sweeps: Size = 200
    """Number of Gibbs sweeps; each draws all users, then all items."""
    burn_in: Annotated[int, Field(ge=0)] = 60
    """First sweeps that are discarded."""
    samples: Size = 60
    """Sweeps that are averaged, spread evenly over the rest."""
    side_information: Annotated[int, Field(ge=0)] = 0
    """Number of columns of side information, for metadata and for what was rated each; 0: none."""

    @model_validator(mode="after")
    def _check(self) -> BayesianFactorization:
        if self.sweeps - self.burn_in < self.samples:
            raise ValueError(
                f"samples: {self.samples} do not fit into the {self.sweeps - self.burn_in} sweeps"
                " after the burn_in"
            )
        return self
