"""The functions of an architecture's `model.py`, and calls of them by name."""

from __future__ import annotations

from typing import Protocol

from tfx_recommender.foundation.settings import Settings
from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
from tfx_recommender.trainer.fitting.fit import Fitter
from tfx_recommender.trainer.fitting.head import Head
from tfx_recommender.trainer.fitting.problem import Problem


class ModelModule(Protocol):
    """The two functions of a `model.py`; `config` is of the class that the registry names."""

    def fit_rating(self, config: Settings, problem: Problem, fitter: Fitter) -> Head:
        """A fitted head whose scores are ratings, in units of their standard deviation."""

    def fit_preference(self, config: Settings, problem: Problem, fitter: Fitter) -> Head:
        """A fitted head whose scores rank the items of one user."""


def fit_rating(architecture: str, config: Settings, problem: Problem, fitter: Fitter) -> Head:
    """The fitted rating head of an architecture, a key of `registry.ARCHITECTURES`."""
    fitter.set_random_seed()
    return ARCHITECTURES[architecture].model.fit_rating(config, problem, fitter)


def fit_preference(architecture: str, config: Settings, problem: Problem, fitter: Fitter) -> Head:
    """The fitted ranking head of an architecture, a key of `registry.ARCHITECTURES`."""
    fitter.set_random_seed()
    return ARCHITECTURES[architecture].model.fit_preference(config, problem, fitter)
