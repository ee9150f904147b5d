"""Every hyperparameter of every architecture: name, meaning, range, default.

Free of TensorFlow, so that a config is checked in a moment. The command line's config embeds
these classes; a Trainer gets them back as JSON.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Penalty = Annotated[float, Field(ge=0.0)]
Size = Annotated[int, Field(ge=1)]


class MatrixFactorization(_Frozen):
    """An MF head that is trained."""

    embedding_size: Size = 64
    """Length of an id's embedding."""
    l2: Penalty = 0.02
    """Weight of the squared norm of looked-up embeddings, per row of a batch."""
    bias_l2: Penalty = 0.001
    """The same for biases."""
    id_dropout: Share = 0.02
    """Probability in training that an id is taken for an unknown one."""


class BayesianFactorization(_Frozen):
    """MF of the ratings, sampled from its posterior instead of optimised."""

    embedding_size: Size = 32
    """Length of an id's embedding, to which the samples' mean prediction is shortened."""
    factors: Size = 16
    """Length of an id's vector in each sample, bias aside."""
    sweeps: Size = 200
    """Draws of all users and items in turn."""
    burn_in: Annotated[int, Field(ge=0)] = 60
    """Sweeps that are left out, while the chain finds its way."""
    samples: Size = 60
    """Sweeps that are averaged, spread evenly over the rest."""
    side_information: Annotated[int, Field(ge=0)] = 0
    """Metadata and what was rated as side information: of each kind so many columns; 0: none."""

    @model_validator(mode="after")
    def _check(self) -> BayesianFactorization:
        if self.sweeps - self.burn_in < self.samples:
            raise ValueError(
                f"samples: {self.samples} do not fit into the {self.sweeps - self.burn_in} sweeps"
                " after the burn_in"
            )
        return self


class MultilayerPerceptron(_Frozen):
    """One MLP head."""

    embedding_size: Size = 32
    """Length of an id's embedding."""
    feature_embedding_size: Size = 8
    """Length of a category's embedding."""
    hidden_units: Annotated[tuple[Size, ...], Field(min_length=1)] = (64, 32)
    """Width of each hidden layer, first to last."""
    dropout: Share = 0.1
    """Share of a user's and of an item's inputs dropped in training."""
    l2: Penalty = 0.01
    """Weight of the squared norm of looked-up embeddings, per row of a batch."""
    id_dropout: Share = 0.02
    """Probability in training that an id is taken for an unknown one."""


class HybridRating(_Frozen):
    """The rating head of the hybrid."""

    mf: BayesianFactorization = BayesianFactorization(side_information=512)
    """The MF part."""
    mlp: MultilayerPerceptron = MultilayerPerceptron()
    """The MLP part, which learns what the MF part leaves."""


class HybridPreference(_Frozen):
    """The preference head of the hybrid."""

    mf: MatrixFactorization = MatrixFactorization()
    """The MF part."""
    mlp: MultilayerPerceptron = MultilayerPerceptron()
    """The MLP part."""


class Training(_Frozen):
    """How any architecture is trained."""

    epochs: Size = 60
    """Most passes over the train split."""
    patience: Size = 3
    """Epochs without a better validation loss before training stops."""
    batch_size: Size = 1024
    """Rows per optimizer step."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 0.003
    """Adam's step size."""
    negatives: Size = 64
    """Items drawn per step as negatives, shared by its rows."""


class Heads(NamedTuple):
    """The hyperparameters of an architecture's two heads."""

    rating: type[BaseModel]
    preference: type[BaseModel]


ARCHITECTURES = {
    "mf": Heads(BayesianFactorization, MatrixFactorization),
    "mlp": Heads(MultilayerPerceptron, MultilayerPerceptron),
    "hybrid": Heads(HybridRating, HybridPreference),
}
"""Every architecture and what configures it."""
