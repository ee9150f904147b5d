"""MF fitted by alternating least squares, as a head: vectors without biases, and fold-in."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf
from absl import logging

from tfx_recommender.trainer.architectures import observations
from tfx_recommender.trainer.architectures.factors import FactorsHead
from tfx_recommender.trainer.architectures.mf import ials, ials_search
from tfx_recommender.trainer.architectures.mf.ials import SideFactors, Solver
from tfx_recommender.trainer.architectures.mf.settings import MatrixFactorization
from tfx_recommender.trainer.fitting.head import EntityBatch, Tensor, Vectors
from tfx_recommender.trainer.fitting.problem import Problem


def fit(config: MatrixFactorization, problem: Problem, seed: int) -> AlternatingLeastSquaresHead:
    """The head of a problem; what its hyperparameters leave open is chosen on validation.

    Args:
      config: hyperparameters.
      problem: what to fit.
      seed: of the first vectors.
    """
    values = ials_search.choose(config.ials, config.embedding_size, problem, seed)
    logging.info("iALS: fits with %s", values)
    observed = observations.of(problem, values.strength)
    solver = Solver(observed, values.size)
    factors = solver.start(values.size, seed)
    exponent = config.ials.frequency_exponent
    for _ in range(config.ials.sweeps):
        factors = solver.sweep(factors, values.alpha, values.penalty, exponent)
    # Once more, so that users are what they are folded in to.
    factors = solver.half_sweep(factors, values.alpha, values.penalty, exponent)
    gram = values.alpha * tf.matmul(
        factors.item * solver.items.count[:, None], factors.item, transpose_a=True
    )
    how = Ridge(
        gram.numpy(),
        unobserved=values.alpha * float(solver.items.count.sum()),
        penalty=values.penalty,
        exponent=exponent,
        strength=values.strength,
        scale=_scale(problem, values.strength),
    )
    # Rows of nobody stand for whoever is not known: the mean user.
    user = factors.user.numpy()
    user[solver.users.count == 0] = np.average(user, axis=0, weights=solver.users.count)
    return AlternatingLeastSquaresHead(SideFactors(user, factors.item), how)


@dataclasses.dataclass(frozen=True)
class Ridge:
    """What a user is solved for with, beside the items' vectors.

    Attributes:
      gram: the weight of what was not observed times the sum of all items' outer products, float32
        [D, D].
      unobserved: that weight times the number of all items.
      penalty: lambda.
      exponent: nu.
      strength: exponent of the strengths of events.
      scale: by which confidences are multiplied, so that their mean is 1.
    """

    gram: np.ndarray
    unobserved: float
    penalty: float
    exponent: float
    strength: float
    scale: float


class AlternatingLeastSquaresHead(FactorsHead):
    """score(u, i) = <p_u, q_i>."""

    def __init__(self, factors: SideFactors, how: Ridge) -> None:
        """Takes vectors over.

        Args:
          factors: of both sides' table rows.
          how: to solve for a user.
        """
        super().__init__(*(_without_bias(np.array(side)) for side in (factors.user, factors.item)))
        self.how = how

    def fold_in(self, items: EntityBatch[Tensor], weight: Tensor) -> Vectors:
        """Vectors of users from what they interacted with: one ridge regression each.

        Args:
          items: rows of these items, [B, L].
          weight: strengths in units of their mean, float32 [B, L]; 0 where padded.

        Returns:
          As `user` returns them.
        """
        how, (_, vectors) = self.how, self.item(items)
        weight = tf.where(weight > 0, how.scale * weight**how.strength, 0.0)
        solved = ials.fold_in(
            vectors, weight, tf.constant(how.gram), how.unobserved, how.penalty, how.exponent
        )
        return (tf.pad(solved, [[0, 0], [1, 0]]),)


def _scale(problem: Problem, exponent: float) -> float:
    """1 / the mean of strengths, in units of their own mean, raised to an exponent."""
    if problem.train.strength is None:
        return 1.0
    strength = problem.train.strength.astype(np.float64)
    return float(1 / np.mean((strength / strength.mean()) ** exponent))


def _without_bias(vectors: np.ndarray) -> np.ndarray:
    return np.pad(vectors, [[0, 0], [1, 0]])
