"""Every hyperparameter of every architecture: name, meaning, range, default.

Free of TensorFlow, so that a config is checked in a moment. The command line's config embeds
these classes; a Trainer gets them back as JSON.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Penalty = Annotated[float, Field(ge=0.0)]
Size = Annotated[int, Field(ge=1)]


class Training(_Frozen):
    """How a head is trained."""

    epochs: Size = 60
    """Most passes over the train split."""
    patience: Size = 3
    """Epochs without a better validation loss before training stops."""
    batch_size: Size = 1024
    """Ratings per optimizer step (where a step takes whole users: on average)."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 0.003
    """Adam's first step size; it falls to 0 along a cosine over the epochs."""


class RankingTraining(Training):
    """How a head that ranks is trained."""

    loss: Literal["softmax", "bpr", "logistic"] = "softmax"
    """Softmax over the catalogue, BPR (pairs) or logistic MF (weighted yes or no)."""
    negatives: Size | None = None
    """Items drawn per step as negatives, shared by its rows; null: the whole catalogue but what
    the user rated, better and, up to some ten thousand items, fast."""
    popularity: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Negatives are drawn in proportion to (number of ratings) ** popularity; 0: uniformly."""
    positive_weight: Annotated[float, Field(gt=0.0)] = 1.0
    """Of the logistic loss: weight of a rated item against one that is not."""


class MatrixFactorization(_Frozen):
    """An MF head that ranks."""

    embedding_size: Size = 64
    """Length of an id's embedding."""
    l2: Penalty = 0.02
    """Weight of the squared norm of looked-up embeddings, per row of a batch."""
    bias_l2: Penalty = 0.001
    """The same for biases."""
    id_dropout: Share = 0.02
    """Probability in training that an id is taken for an unknown one."""
    training: RankingTraining = RankingTraining()
    """How it is trained."""


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
    """The layers of an MLP head."""

    embedding_size: Size = 32
    """Length of an id's embedding."""
    feature_embedding_size: Size = 8
    """Length of a category's embedding."""
    hidden_units: Annotated[tuple[Size, ...], Field(min_length=1)] = (64, 32)
    """Width of each hidden layer, first to last."""
    products: bool = False
    """Whether the first layer also sees the product of both embeddings, element by element."""
    dropout: Share = 0.1
    """Share of a user's and of an item's inputs dropped in training."""
    l2: Penalty = 0.01
    """Weight of the squared norm of looked-up embeddings, per row of a batch."""
    l2_exponent: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """An id's penalty grows with its ratings to this power: 1, as its part of the loss does; 0:
    one prior for all, which lets go of who rated much and holds who rated little."""
    id_dropout: Share = 0.02
    """Probability in training that an id is taken for an unknown one."""


class MultilayerRating(MultilayerPerceptron):
    """An MLP head that predicts ratings."""

    training: Training = Training()
    """How it is trained."""


class MultilayerRanking(MultilayerPerceptron):
    """An MLP head that ranks."""

    training: RankingTraining = RankingTraining()
    """How it is trained."""


class Towers(_Frozen):
    """Two towers: a user is what was rated before, and metadata."""

    embedding_size: Size = 32
    """Length of a tower's output."""
    feature_embedding_size: Size = 8
    """Length of a category's embedding."""
    history: Size = 32
    """Of a user's ratings before, so many of the latest are seen."""
    decay: Annotated[float, Field(gt=0)] = 10.0
    """Ratings after which an earlier one weighs a third."""
    dropout: Share = 0.3
    """Share of the ratings before that training does not see."""
    l2: Penalty = 0.0001
    """Weight of the squared norm of looked-up embeddings, per row of a batch."""
    id_dropout: Share = 0.02
    """Probability in training that an item is taken for an unknown one."""


class TowersRating(Towers):
    """Two towers that predict ratings."""

    training: Training = Training()
    """How they are trained."""


class TowersRanking(Towers):
    """Two towers that rank."""

    training: RankingTraining = RankingTraining(epochs=4, learning_rate=0.01)
    """How they are trained."""


class WideAndDeep(MultilayerPerceptron):
    """An MLP (the deep part) and crossed categories and ids (the wide part)."""

    wide_l2: Penalty = 0.001
    """Weight of the squared norm of looked-up rows of the wide part, per row of a batch."""


class WideAndDeepRating(WideAndDeep):
    """Wide & Deep that predicts ratings."""

    training: Training = Training()
    """How it is trained."""


class WideAndDeepRanking(WideAndDeep):
    """Wide & Deep that ranks."""

    training: RankingTraining = RankingTraining()
    """How it is trained."""


class MatrixFactorizationStage(MatrixFactorization):
    """MF as a stage of two."""

    architecture: Literal["mf"] = "mf"
    """Which it is."""


class MultilayerStage(MultilayerRanking):
    """An MLP as a stage of two."""

    architecture: Literal["mlp"] = "mlp"
    """Which it is."""


class WideAndDeepStage(WideAndDeepRanking):
    """Wide & Deep as a stage of two."""

    architecture: Literal["wide_deep"] = "wide_deep"
    """Which it is."""


class TowersStage(TowersRanking):
    """Two towers as a stage of two; the hybrid ranks by these too."""

    architecture: Literal["two_tower", "hybrid"] = "two_tower"
    """Which it is."""


def _named(value: Any) -> Any:
    """`mlp` means `{architecture: mlp}`."""
    return {"architecture": value} if isinstance(value, str) else value


class TwoStageRanking(_Frozen):
    """Candidates, and their ranking."""

    candidates: Annotated[
        TowersStage | MatrixFactorizationStage,
        Field(discriminator="architecture"),
        BeforeValidator(_named),
    ] = TowersStage()
    """The first stage, whose score is a dot product: the name of an architecture, or its
    settings with that name under `architecture`."""
    ranking: Annotated[
        MultilayerStage | WideAndDeepStage | TowersStage | MatrixFactorizationStage,
        Field(discriminator="architecture"),
        BeforeValidator(_named),
    ] = MultilayerStage()
    """The second stage, in the same form."""
    number: Size = 500
    """Candidates that each user has at most."""

    @property
    def history(self) -> int:
        """Of a user's ratings before, how many the stages see at most."""
        return history(self.candidates, self.ranking)


class HybridRating(_Frozen):
    """The rating head of the hybrid."""

    mf: BayesianFactorization = BayesianFactorization(side_information=512)
    """The MF part."""
    mlp: MultilayerPerceptron = MultilayerPerceptron()
    """The MLP part, which learns what the MF part leaves."""
    training: Training = Training()
    """How the MLP part is trained."""


class Heads(NamedTuple):
    """The hyperparameters of an architecture's two heads."""

    rating: type[BaseModel]
    preference: type[BaseModel]


ARCHITECTURES = {
    "mf": Heads(BayesianFactorization, MatrixFactorization),
    "mlp": Heads(MultilayerRating, MultilayerRanking),
    "hybrid": Heads(HybridRating, TowersRanking),
    "wide_deep": Heads(WideAndDeepRating, WideAndDeepRanking),
    "two_tower": Heads(TowersRating, TowersRanking),
    "two_stage": Heads(HybridRating, TwoStageRanking),
}
"""Every architecture and what configures it."""


def history(*heads: BaseModel | None) -> int:
    """Of a user's ratings before, how many these heads see at most."""
    return max(getattr(head, "history", 0) for head in heads)
