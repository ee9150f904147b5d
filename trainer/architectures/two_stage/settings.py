"""Hyperparameters of `two_stage`. Free of TensorFlow."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from tfx_recommender.foundation.settings import Settings
from tfx_recommender.trainer.architectures.mf.settings import MatrixFactorization
from tfx_recommender.trainer.architectures.mlp.settings import MultilayerRanking
from tfx_recommender.trainer.architectures.two_tower.settings import TowersRanking
from tfx_recommender.trainer.architectures.wide_deep.settings import WideAndDeepRanking
from tfx_recommender.trainer.fitting.settings import Size, history_length


class MatrixFactorizationStage(MatrixFactorization):
    """MF as a stage."""

    architecture: Literal["mf"] = "mf"
    """The architecture whose ranking head this is."""


class MultilayerStage(MultilayerRanking):
    """An MLP as a stage."""

    architecture: Literal["mlp"] = "mlp"
    """The architecture whose ranking head this is."""


class WideAndDeepStage(WideAndDeepRanking):
    """Wide & Deep as a stage."""

    architecture: Literal["wide_deep"] = "wide_deep"
    """The architecture whose ranking head this is."""


class TowersStage(TowersRanking):
    """Two towers as a stage; `hybrid` has the same ranking head."""

    architecture: Literal["two_tower", "hybrid"] = "two_tower"
    """The architecture whose ranking head this is."""


def _named(value: object) -> object:
    """`mlp` means `{architecture: mlp}`."""
    return {"architecture": value} if isinstance(value, str) else value


class TwoStageRanking(Settings):
    """A stage that finds candidates, and one that ranks them."""

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
    """Maximum number of candidates per user."""

    @property
    def history(self) -> int:
        """Number of a user's most recent ratings that the stages use."""
        return history_length(self.candidates, self.ranking)
