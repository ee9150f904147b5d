"""IalsHyperparameters of `mf`. Free of TensorFlow."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tfx_recommender.foundation.settings import Settings
from tfx_recommender.trainer.fitting.settings import Penalty, RankingTraining, Share, Size


class FactorizationTraining(RankingTraining):
    """How MF that ranks is fitted; all but the loss is of training by gradients."""

    loss: Literal["ials", "softmax", "bpr", "logistic"] = "ials"  # type: ignore[assignment]
    """Implicit alternating least squares (`ials`); or, trained by gradients, softmax over the
    catalogue, BPR (pairs), or logistic MF (weighted yes or no). Left out, it is `ials`; but softmax
    where anything of training by gradients is given, which iALS has no use for."""


class AlternatingLeastSquares(Settings):
    """Implicit alternating least squares (iALS); null: chosen by NDCG on the validation split."""

    unobserved_weight: Annotated[float, Field(gt=0.0)] | None = None
    """Weight of a pair that was not observed; of one that was, it is 1, or its confidence."""
    regularization: Annotated[float, Field(gt=0.0)] | None = None
    """Penalty of squared vectors per observation, seen or unseen."""
    frequency_exponent: Annotated[float, Field(ge=0.0)] = 1.0
    """The penalty grows with the number of observations raised to this."""
    strength_exponent: Annotated[float, Field(ge=0.0)] | None = None
    """Of events, the confidence is the strength raised to this, in units of its mean; 0: it is 1
    for all."""
    sweeps: Size = 10
    """Number of times that all users, then all items are solved for."""


class MatrixFactorization(Settings):
    """An MF head that ranks."""

    embedding_size: Size | None = None
    """Length of an id's embedding. Null: 64; iALS chooses it on the validation split."""
    l2: Penalty = 0.02
    """L2 penalty of looked-up embeddings, per row of a batch; of training by gradients."""
    bias_l2: Penalty = 0.001
    """The same for biases."""
    id_dropout: Share = 0.02
    """Probability in training by gradients that an id is replaced by an unknown one."""
    training: FactorizationTraining = FactorizationTraining()
    """How it is fitted."""
    ials: AlternatingLeastSquares = AlternatingLeastSquares()
    """IalsHyperparameters of iALS."""

    @model_validator(mode="before")
    @classmethod
    def _loss(cls, value: Any) -> Any:
        """What was written for training by gradients goes on meaning that."""
        if not isinstance(value, dict):
            return value
        training = value.get("training", {})
        if isinstance(training, Settings):
            training = training.model_dump(include=training.model_fields_set)
        if not isinstance(training, dict):
            return value
        if training or not {"l2", "bias_l2", "id_dropout"}.isdisjoint(value):
            training = {"loss": "softmax"} | training
        return value | {"training": training}


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
