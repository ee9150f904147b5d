"""Hybrid: the sum of MF and MLP.

He et al.: Neural Collaborative Filtering (2017), section 3.4 (NeuMF), with biases and metadata.
The MF part is Bayesian and uses the metadata and the set of items that each user rated; the MLP
learns its residuals. Two towers, which use a user's most recent ratings, rank the items.
"""

from __future__ import annotations

from tfx_recommender.trainer.architectures.composite import CompositeHead
from tfx_recommender.trainer.architectures.hybrid.settings import HybridRating
from tfx_recommender.trainer.architectures.mf import model as mf
from tfx_recommender.trainer.architectures.mlp import model as mlp
from tfx_recommender.trainer.architectures.two_tower import model as two_tower
from tfx_recommender.trainer.fitting.fit import Fitter
from tfx_recommender.trainer.fitting.head import Head, Tensor, Vectors
from tfx_recommender.trainer.fitting.problem import Problem


def fit_rating(config: HybridRating, problem: Problem, fitter: Fitter) -> HybridHead:
    """Samples the MF part, then trains the MLP part, whose scores start at 0, on top of it."""
    parts: list[Head] = [
        mf.fit_rating(config.mf, problem, fitter),
        mlp.untrained_rating_head(config.mlp, problem),
    ]
    return fitter.rating(HybridHead(parts), problem, config.training)


fit_preference = two_tower.fit_preference


class HybridHead(CompositeHead):
    """score(u, i) = MF(u, i) + MLP(u, i)."""

    def interact(self, user: Vectors, item: Vectors, training: bool = False) -> Tensor:
        """Scores, float32 [B, K]; see `Head.interact`."""
        by_mf, by_mlp = self.scores(user, item, training)
        return by_mf + by_mlp
