"""Every hyperparameter of every architecture: name, meaning, range, default.

Free of TensorFlow, so that a config is checked in a moment. The command line's config embeds
these classes; a Trainer gets them back as JSON.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Penalty = Annotated[float, Field(ge=0.0)]
Size = Annotated[int, Field(ge=1)]


class MatrixFactorization(_Frozen):
    """One MF head."""

    embedding_size: Size = 64
    """Length of an id's embedding."""
    l2: Penalty = 0.02
    """Weight of the squared norm of looked-up embeddings, per row of a batch."""
    bias_l2: Penalty = 0.001
    """The same for biases."""
    id_dropout: Share = 0.02
    """Probability in training that an id is taken for an unknown one."""


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


class Hybrid(_Frozen):
    """One hybrid head: MF and MLP in parallel."""

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


ARCHITECTURES = {"mf": MatrixFactorization, "mlp": MultilayerPerceptron, "hybrid": Hybrid}
"""Architecture -> the hyperparameters of its heads."""
