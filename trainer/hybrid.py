"""Hybrid: MF and MLP in parallel, one output.

He et al.: Neural Collaborative Filtering (2017), section 3.4 (NeuMF), with biases and metadata.
The MF part is Bayesian and knows the metadata and what each user rated; the MLP learns what
that leaves. Rankings are made by two towers, which see what the user rated latest.
"""

from __future__ import annotations

from typing import Any

from tfx_recommender.trainer import (
    composite,
    matrix_factorization,
    multilayer_perceptron,
    two_tower,
)
from tfx_recommender.trainer.hyperparameters import HybridRating
from tfx_recommender.trainer.problem import Problem


def rating_head(config: HybridRating, problem: Problem, seed: int) -> Head:
    """The MF part is fitted already, the MLP part still to be trained; it starts at 0."""
    mf = matrix_factorization.rating_head(config.mf, problem, seed)
    return Head([mf, multilayer_perceptron.rating_head(config.mlp, problem, seed)])


preference_head = two_tower.preference_head


class Head(composite.Head):
    """score(u, i) = MF(u, i) + MLP(u, i)."""

    def interact(self, user: Any, item: Any, training: bool = False) -> Any:
        """Scores: user [B, width] and item [B or 1, K, width] -> [B, K]."""
        vectors = zip(self.parts, self.split(user), self.split(item), strict=True)
        mf, mlp = (part.interact(u, i, training) for part, u, i in vectors)
        return mf + mlp
