"""All architectures, one row each. Free of TensorFlow, so that checking a config is fast.

To add one, make a folder beside this file with `settings.py` and `model.py` (`mf/` is the plainest)
and a row here. The config, the Trainer, the search for hyperparameters, ModelSelector and the
conformance suite read this table.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING

from tfx_recommender.foundation.settings import Settings
from tfx_recommender.trainer.architectures.hybrid.settings import HybridRating
from tfx_recommender.trainer.architectures.mf.settings import (
    BayesianFactorization,
    MatrixFactorization,
)
from tfx_recommender.trainer.architectures.mlp.settings import MultilayerRanking, MultilayerRating
from tfx_recommender.trainer.architectures.two_stage.settings import TwoStageRanking
from tfx_recommender.trainer.architectures.two_tower.settings import TowersRanking, TowersRating
from tfx_recommender.trainer.architectures.wide_deep.settings import (
    WideAndDeepRanking,
    WideAndDeepRating,
)

if TYPE_CHECKING:
    from tfx_recommender.trainer.architectures.model import ModelModule


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes:
      name: the key under `models:` and the name of its folder.
      summary: one line for the reference of settings.
      rating: the settings of its rating head.
      preference: the settings of its ranking head.
    """

    name: str
    summary: str
    rating: type[Settings]
    preference: type[Settings]

    @property
    def model(self) -> ModelModule:
        """Its `model.py`, imported on first use: it needs TensorFlow."""
        return importlib.import_module(f"{__package__}.{self.name}.model")  # type: ignore[return-value]


_ROWS = (
    Architecture("mf", "Matrix factorisation.", BayesianFactorization, MatrixFactorization),
    Architecture("mlp", "Multilayer perceptron.", MultilayerRating, MultilayerRanking),
    Architecture(
        "hybrid", "MF and MLP in parallel; ranks by two towers.", HybridRating, TowersRanking
    ),
    Architecture("wide_deep", "Wide & Deep.", WideAndDeepRating, WideAndDeepRanking),
    Architecture("two_tower", "Two towers.", TowersRating, TowersRanking),
    Architecture(
        "two_stage",
        "Candidates by one architecture, ranked by another.",
        HybridRating,
        TwoStageRanking,
    ),
)

ARCHITECTURES = {row.name: row for row in _ROWS}
"""Name -> architecture, in the order in which they are trained and reported."""
