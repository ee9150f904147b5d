"""Alternating least squares for implicit feedback.

    L = sum_observed c_ui (1 - <p_u, q_i>)^2 + alpha sum_u sum_i <p_u, q_i>^2
        + lambda sum_u (c_u + alpha |I|)^nu |p_u|^2 + lambda sum_i (c_i + alpha |U|)^nu |q_i|^2,

where c_ui is the confidence in an observation and c_u, c_i are its sums. Hu, Koren, Volinsky:
Collaborative Filtering for Implicit Feedback Datasets (2008); with the frequency-scaled penalty of
Rendle, Krichene, Zhang, Koren: Revisiting the Performance of iALS on Item Recommendation
Benchmarks (2022), eq. 1-4.

Vectors of up to `BLOCK` numbers are solved for exactly. Of longer ones, blocks of so many are, one
after the other (Rendle et al.: iALS++: Speeding up Matrix Factorization with Subspace Optimization,
2021, algorithm 1): a solve takes the cube of its size.

Each row of a half step depends on its own observations and the other side's vectors alone, so rows
may be solved anywhere and in any order. Results are equal, bit by bit, from run to run with as
many threads; with another number sums may be rounded otherwise.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from scipy import sparse

from tfx_recommender.trainer.architectures.observations import Observations

BLOCK = 64
# Bounds of what is held of a block of rows: numbers of its observations, and of Gram matrices.
_VECTORS, _GRAMS = 1 << 24, 1 << 23
# A block's rows have at least so many of the observations of its longest: the rest is padding.
_FILLED = 0.8
# Of the first vectors' length, whatever their size (Rendle et al. 2022, section 4.4).
_SCALE = 0.1


@dataclasses.dataclass(frozen=True)
class SideFactors:
    """Vectors of both sides: float32 [users, D], [items, D]."""

    user: tf.Tensor
    item: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Rows:
    """A block of one side's rows with all their observations.

    Attributes:
      row: which they are, int32 [R].
      other: rows of the other side that each was observed with, int32 [R, L]; 0 where padded.
      weight: confidences, float32 [R, L]; 0 where padded.
      count: how many ids a row stands for, float32 [R].
    """

    row: tf.Tensor
    other: tf.Tensor
    weight: tf.Tensor
    count: tf.Tensor


class Side:
    """One side's observations, in blocks of rows that have about as many of them.

    Attributes:
      total: sums of confidences, float32 [rows].
      count: how many ids each row stands for, float32 [rows].
      blocks: the rows that have observations; the others' vectors are 0.
    """

    def __init__(
        self, weight: sparse.csr_array, count: np.ndarray, size: int, block: int = BLOCK
    ) -> None:
        """Groups the rows.

        Args:
          weight: confidences, float32 [rows, the other side's rows].
          count: how many ids each row stands for, int [rows].
          size: vectors will be at most so long.
          block: so many of their numbers are solved for at once.
        """
        block = min(size, block)
        observed = np.diff(weight.indptr)
        self.total = weight.sum(axis=1).astype(np.float32)
        self.count = count.astype(np.float32)
        self.blocks: list[Rows] = []
        order = np.argsort(-observed, kind="stable")[: np.count_nonzero(observed)]
        observed = observed[order]
        start, most, cells = 0, max(1, _GRAMS // block**2), _VECTORS // size
        while start < len(order):
            length = observed[start]
            similar = np.searchsorted(-observed, -length * _FILLED, side="right")
            rows = order[start : min(similar, start + max(1, min(most, cells // length)))]
            present = np.arange(length) < observed[start : start + len(rows)][:, None]
            place = np.where(present, weight.indptr[rows][:, None] + np.arange(length), 0)
            self.blocks.append(
                Rows(
                    tf.constant(rows, tf.int32),
                    tf.constant(np.where(present, weight.indices[place], 0), tf.int32),
                    tf.constant(np.where(present, weight.data[place], 0), tf.float32),
                    tf.constant(self.count[rows]),
                )
            )
            start += len(rows)


class Solver:
    """Both sides of a problem, ready to be fitted with any hyperparameters."""

    def __init__(self, observed: Observations, size: int) -> None:
        """Groups the observations.

        Args:
          observed: what to fit.
          size: vectors will be at most so long.
        """
        self.users = Side(observed.weight, observed.users, size)
        self.items = Side(observed.weight.T.tocsr(), observed.items, size)

    def start(self, size: int, seed: int) -> SideFactors:
        """Small random vectors of so many numbers."""
        rng, scale = np.random.default_rng(seed), _SCALE / np.sqrt(size)
        user, item = (
            tf.constant(rng.normal(0, scale, (len(side.count), size)), tf.float32)
            for side in (self.users, self.items)
        )
        return SideFactors(user, item)

    def sweep(
        self, factors: SideFactors, alpha: float, penalty: float, exponent: float
    ) -> SideFactors:
        """Solves for all users given the items, then for all items.

        Args:
          factors: vectors to go on from.
          alpha: weight of what was not observed.
          penalty: lambda.
          exponent: nu.
        """
        half = self.half_sweep(factors, alpha, penalty, exponent)
        item = solve(self.items, half.item, self.users, half.user, alpha, penalty, exponent)
        return SideFactors(half.user, item)

    def half_sweep(
        self, factors: SideFactors, alpha: float, penalty: float, exponent: float
    ) -> SideFactors:
        """Solves for all users given the items."""
        user = solve(self.users, factors.user, self.items, factors.item, alpha, penalty, exponent)
        return SideFactors(user, factors.item)


def solve(
    side: Side,
    own: tf.Tensor,
    other_side: Side,
    other: tf.Tensor,
    alpha: float,
    penalty: float,
    exponent: float,
) -> tf.Tensor:
    """A half step: one side's vectors given the other's, float32 [rows, D].

    Args:
      side: whose vectors.
      own: what they are so far, [rows, D].
      other_side: the other side.
      other: its vectors, [others, D].
      alpha: weight of what was not observed.
      penalty: lambda.
      exponent: nu.
    """
    gram = alpha * tf.matmul(other * other_side.count[:, None], other, transpose_a=True)
    unobserved = alpha * other_side.count.sum() * side.count
    ridge = tf.constant(penalty * (side.total + unobserved) ** exponent, tf.float32)
    half_step = _half_step(int(own.shape[1]))
    result = tf.zeros_like(own)
    for rows in side.blocks:
        solved = half_step(
            tf.gather(own, rows.row),
            rows.other,
            rows.weight,
            rows.count,
            tf.gather(ridge, rows.row),
            other,
            gram,
        )
        result = tf.tensor_scatter_nd_update(result, rows.row[:, None], solved)
    return result


@functools.cache
def _half_step(size: int) -> Callable[..., tf.Tensor]:
    """`half_step` as one graph for rows and observations of any number."""
    floats = [tf.TensorSpec(shape) for shape in ([None, size], [None, None], [None], [None])]
    own, weight, count, ridge = floats
    others = tf.TensorSpec([None, size]), tf.TensorSpec([size, size])
    signature = [own, tf.TensorSpec([None, None], tf.int32), weight, count, ridge, *others]
    return tf.function(half_step, autograph=False, input_signature=signature)


def half_step(
    own: tf.Tensor,
    observed: tf.Tensor,
    weight: tf.Tensor,
    count: tf.Tensor,
    ridge: tf.Tensor,
    other: tf.Tensor,
    gram: tf.Tensor,
    block: int = BLOCK,
) -> tf.Tensor:
    """Vectors of a block of rows, given the other side's: a Newton step for each block of numbers.

    The loss is quadratic in them, so that a step is its least.

    Args:
      own: what they are so far, float32 [R, D].
      observed: rows of the other side that each was observed with, int32 [R, L].
      weight: confidences, float32 [R, L]; 0 where padded.
      count: how many ids a row stands for, float32 [R].
      ridge: penalty of each row's squared length, float32 [R].
      other: all vectors of the other side, float32 [others, D].
      gram: alpha times the sum over all others of their outer products, float32 [D, D].
      block: so many numbers are solved for at once.

    Returns:
      float32 [R, D].
    """
    size = int(own.shape[1])
    vectors = tf.gather(other, observed)
    if size <= block:
        curvature = count[:, None, None] * gram
        return _ridge(vectors, weight, curvature, ridge)
    predicted = tf.reduce_sum(vectors * own[:, None], axis=2)
    parts = tf.split(own, [min(block, size - start) for start in range(0, size, block)], axis=1)
    for number, part in enumerate(parts):
        span = slice(number * block, number * block + int(part.shape[1]))
        inputs = vectors[..., span]
        weighted = inputs * weight[..., None]
        error = tf.matmul(weighted, (predicted - 1.0)[..., None], transpose_a=True)[..., 0]
        everything = tf.concat(parts, axis=1) @ gram[:, span] * count[:, None]
        gradient = error + everything + ridge[:, None] * part
        curvature = tf.matmul(weighted, inputs, transpose_a=True)
        curvature += count[:, None, None] * gram[span, span]
        curvature = _add_to_diagonal(curvature, ridge)
        factor = tf.linalg.cholesky(curvature)
        step = tf.linalg.cholesky_solve(factor, gradient[..., None])
        predicted -= tf.reduce_sum(inputs * tf.linalg.matrix_transpose(step), axis=2)
        parts[number] = part - step[..., 0]
    return tf.concat(parts, axis=1)


def fold_in(
    vectors: tf.Tensor,
    weight: tf.Tensor,
    gram: tf.Tensor,
    unobserved: float,
    penalty: float,
    exponent: float,
) -> tf.Tensor:
    """The exact vectors of users from what they interacted with alone.

    Args:
      vectors: of these items, float32 [B, L, D].
      weight: confidences, float32 [B, L]; 0 where padded.
      gram: alpha times the sum over all items of their outer products, float32 [D, D].
      unobserved: alpha times the number of all items.
      penalty: lambda.
      exponent: nu.

    Returns:
      float32 [B, D]; 0 for users of nothing.
    """
    ridge = penalty * (tf.reduce_sum(weight, axis=1) + unobserved) ** exponent
    return _ridge(vectors, weight, gram, ridge)


def _ridge(vectors: tf.Tensor, weight: tf.Tensor, gram: tf.Tensor, ridge: tf.Tensor) -> tf.Tensor:
    """Exact solutions: [R, L, D], [R, L], [R, D, D] or [D, D], and [R] -> [R, D]."""
    weighted = vectors * weight[..., None]
    curvature = _add_to_diagonal(tf.matmul(weighted, vectors, transpose_a=True) + gram, ridge)
    right = tf.reduce_sum(weighted, axis=1)[..., None]
    return tf.linalg.cholesky_solve(tf.linalg.cholesky(curvature), right)[..., 0]


def _add_to_diagonal(matrices: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """[R, D, D] and [R] -> [R, D, D]."""
    return tf.linalg.set_diag(matrices, tf.linalg.diag_part(matrices) + values[:, None])
