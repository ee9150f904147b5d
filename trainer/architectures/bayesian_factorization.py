"""Bayesian matrix factorisation by blocked Gibbs sampling.

    y_ui ~ N(b_u + b_i + <p_u, q_i>, 1 / (a a_u a_i))
    (b_u, p_u) ~ N(m + F_u B, L^-1),   B ~ N(0, (l L)^-1),   (m, L) ~ Normal-Wishart,

and the same for items. Salakhutdinov and Mnih: Bayesian PMF using MCMC (2008), section 3, with
three additions: a linear prior on side information F (Simm et al.: Macau, 2017, section 2); the
items that a user rated, and the users who rated an item, as side information (Rendle, Zhang, Koren:
On the Difficulty of Evaluating Baselines, 2019); and a precision for each user and each item
(Lakshminarayanan, Bouchard, Archambeau: Robust Bayesian Matrix Factorisation, 2011).

The mean prediction over samples is a dot product of the vectors of all samples, concatenated.
`_distil` approximates it by short vectors.
"""

from __future__ import annotations

import dataclasses
from typing import TypedDict

import numpy as np
import tensorflow as tf

from tfx_recommender.trainer.architectures.factors import FactorsHead
from tfx_recommender.trainer.architectures.mf.settings import BayesianFactorization
from tfx_recommender.trainer.fitting.head import Tensor
from tfx_recommender.trainer.fitting.problem import EntityShape, EntityTable, Problem

# The ratings of a user or item are cut into pieces of this length, so that all have one shape.
_WIDTH = 16
# Number of pieces that are processed at once; bounds the memory of a draw.
_PIECES = 1 << 14
# Pseudo-observations of the priors: of the mean (Normal-Wishart), and of a precision (Gamma).
_MEAN_PRIOR, _NOISE_PRIOR = 2.0, 20.0


@dataclasses.dataclass(frozen=True)
class Factors:
    """A posterior mean: score(u, i) = user[u, 0] + item[i, 0] + <user[u, 1:], item[i, 1:]>.

    Attributes:
      user: float32 [users, 1 + D], the bias first.
      item: float32 [items, 1 + D].
      errors: mean squared error on the training rows after each sweep.
    """

    user: np.ndarray
    item: np.ndarray
    errors: list[float]


def head(config: BayesianFactorization, problem: Problem, seed: int) -> FactorsHead:
    """The fitted factors of a problem's ratings, in units of their standard deviation."""
    catalogue, train = problem.catalogue, problem.train
    user, item = catalogue.users.index[train.user], catalogue.items.index[train.item]
    user_features, item_features, limit = [], [], config.side_information
    if limit:
        user_features = side_information(catalogue.users, catalogue.user_shape, user, item, limit)
        item_features = side_information(catalogue.items, catalogue.item_shape, item, user, limit)
    fitted = fit(
        user,
        item,
        ((train.known_rating() - problem.rating_mean) / problem.rating_scale).astype(np.float32),
        catalogue.user_shape.ids,
        catalogue.item_shape.ids,
        user_features,
        item_features,
        config,
        seed,
    )
    for sweep, error in enumerate(fitted.errors):
        tf.summary.scalar("rating_loss", error, step=sweep)
    return FactorsHead(fitted.user, fitted.item)


def fit(
    user: np.ndarray,
    item: np.ndarray,
    rating: np.ndarray,
    users: int,
    items: int,
    user_features: list[np.ndarray],
    item_features: list[np.ndarray],
    config: BayesianFactorization,
    seed: int,
) -> Factors:
    """The mean prediction over samples of the posterior.

    Args:
      user: int [R], below `users`.
      item: int [R], below `items`.
      rating: of mean 0 and variance about 1, float32 [R].
      users: number of users.
      items: number of items.
      user_features: kinds of side information, float32 [users, F] each.
      item_features: kinds of side information, float32 [items, F] each.
      config: hyperparameters.
      seed: of the sampler.
    """
    size = 1 + config.factors
    sampler = _Sampler(
        _RatingBlocks(users, user, item, rating, user_features, size),
        _RatingBlocks(items, item, user, rating, item_features, size),
        len(rating),
        config,
        seed,
    )
    user_samples, item_samples, errors = (part.numpy() for part in sampler.run())
    return Factors(
        *_distil(user_samples, item_samples, config.embedding_size), errors=errors.tolist()
    )


def side_information(
    entities: EntityTable, shape: EntityShape, own: np.ndarray, other: np.ndarray, limit: int
) -> list[np.ndarray]:
    """Side information of each row of an embedding table: metadata, and the rated items.

    For items, the users who rated them take the place of rated items.

    Args:
      entities: one side.
      shape: its table.
      own: the table rows of this side in all training ratings, int [R].
      other: those of the other side, int [R].
      limit: maximum number of values of a category, and of rated items; the most frequent are
        kept.

    Returns:
      Metadata and rated items, float32 [shape.ids, F] each; 0 for OOV buckets.
    """
    known = entities.index < shape.vocabulary
    rows = entities.index[known]
    numeric = np.zeros((shape.ids, entities.numeric.shape[1]), np.float32)
    numeric[rows] = entities.numeric[known]
    metadata = [numeric]
    for values in entities.categories.values():
        present = values[known] >= 0
        row = np.repeat(rows, present.sum(axis=1))
        metadata.append(_indicators(row, values[known][present], shape.ids, limit))
    rated = own < shape.vocabulary
    count = np.maximum(np.bincount(own, minlength=shape.ids), 1).astype(np.float32)
    implicit = _indicators(own[rated], other[rated], shape.ids, limit)
    return [np.concatenate(metadata, axis=1), implicit / np.sqrt(count)[:, None]]


def _indicators(row: np.ndarray, value: np.ndarray, rows: int, limit: int) -> np.ndarray:
    """1 where a row has a value, a column for each of the `limit` most frequent values."""
    count = np.bincount(value) if len(value) else np.zeros(0, int)
    frequent = np.argsort(-count, kind="stable")[:limit]
    column = np.full(len(count), -1)
    column[frequent] = np.arange(len(frequent))
    kept = column[value] >= 0
    result = np.zeros((rows, len(frequent)), np.float32)
    result[row[kept], column[value[kept]]] = 1.0
    return result


class _Features:
    """One kind of side information F, and a decomposition that solves F'F + l for any l."""

    def __init__(self, table: np.ndarray) -> None:
        self.table, self.width = tf.constant(table), table.shape[1]
        values, vectors = np.linalg.eigh(table.T.astype(np.float64) @ table)
        self.values = tf.constant(np.maximum(values, 0).astype(np.float32))
        self.vectors = tf.constant(vectors.astype(np.float32))

    def solve(self, right: Tensor, ridge: Tensor) -> Tensor:
        """(F'F + ridge)^-1 right, [F, K]."""
        turned = tf.matmul(self.vectors, right, transpose_a=True)
        return self.vectors @ (turned / (self.values + ridge)[:, None])


class _RatingBlocks:
    """One side's ratings as constants of a graph, in blocks of pieces, and its features."""

    def __init__(
        self,
        count: int,
        own: np.ndarray,
        other: np.ndarray,
        rating: np.ndarray,
        features: list[np.ndarray],
        size: int,
    ) -> None:
        self.count, self.size = count, size
        self.features = [_Features(kind) for kind in features if kind.shape[1]]

        ratings = np.bincount(own, minlength=self.count)
        self.ratings = tf.constant(ratings, tf.float32)
        pieces = -(-ratings // _WIDTH)
        before = np.cumsum(pieces) - pieces
        block = before // _PIECES
        blocks, first = block[-1] + 1, np.searchsorted(block, np.arange(block[-1] + 1))
        piece, member = before - before[first][block], np.arange(self.count) - first[block]
        # One more piece than needed, so that each block ends with an empty one.
        self.members, most_pieces = int(member.max()) + 1, int((piece + pieces).max()) + 1
        self.place = tf.constant(block * self.members + member, tf.int32)

        order = np.argsort(own, kind="stable")
        own, other, rating = own[order], other[order], rating[order]
        within = np.arange(len(own)) - (np.cumsum(ratings) - ratings)[own]
        cell = (block[own] * most_pieces + piece[own]) * _WIDTH + within
        shape = (blocks, most_pieces, _WIDTH)

        def cells(values: np.ndarray, dtype: type[np.int32] | type[np.float32]) -> Tensor:
            table = np.zeros(shape, dtype)
            table.reshape(-1)[cell] = values
            return tf.constant(table)

        self.other, self.rating = cells(other, np.int32), cells(rating, np.float32)
        self.present = cells(np.ones(len(own)), np.float32)
        # Cells without a rating have weight 0, so their member does not matter, but pieces must be
        # sorted by member and the last member must have one.
        self.own = tf.reduce_max(cells(own, np.int32), axis=2)
        empty = tf.reduce_max(self.present, axis=2) == 0
        of_member = tf.reduce_max(cells(member[own], np.int32), axis=2)
        self.member = tf.where(empty, self.members - 1, of_member)
        rows = np.zeros((blocks, self.members), np.int32)
        rows[block, member] = np.arange(self.count)
        self.rows = tf.constant(rows)


class _Prior(TypedDict):
    """What the prior means of one side depend on.

    Attributes:
      weights: B of each kind of side information, float32 [F, K].
      ridges: l of each, float32 [].
    """

    weights: list[Tensor]
    ridges: list[Tensor]


class _Chain(_Prior):
    """One side of a sample.

    Attributes:
      z: biases and vectors, float32 [N, K].
    """

    z: Tensor


class _State(TypedDict):
    """One sample.

    Attributes:
      user: of users.
      item: of items.
      user_precision: a_u, float32 [users].
      item_precision: a_i, float32 [items].
      precision: a, float32 [].
    """

    user: _Chain
    item: _Chain
    user_precision: Tensor
    item_precision: Tensor
    precision: Tensor


class _Sampler:
    """The Markov chain, inside one TensorFlow function."""

    def __init__(
        self,
        users: _RatingBlocks,
        items: _RatingBlocks,
        ratings: int,
        config: BayesianFactorization,
        seed: int,
    ) -> None:
        self.users, self.items, self.ratings = users, items, float(ratings)
        self.config = config
        self.random = tf.random.Generator.from_seed(seed)

    @tf.function(autograph=False)
    def run(self) -> tuple[Tensor, Tensor, Tensor]:
        """Samples of users [S, users, K] and items [S, items, K], and errors [sweeps]."""
        burn_in, sweeps, samples = self.config.burn_in, self.config.sweeps, self.config.samples

        def body(
            number: Tensor, state: _State, kept: tuple[tf.TensorArray, ...]
        ) -> tuple[Tensor, _State, tuple[tf.TensorArray, ...]]:
            state, error = self._sweep(state)
            # Each slot keeps the last of its sweeps; samples of the burn-in are overwritten.
            slot = tf.maximum(0, (number - burn_in) * samples // (sweeps - burn_in))
            users, items, errors = kept
            kept = (
                users.write(slot, state["user"]["z"]),
                items.write(slot, state["item"]["z"]),
                errors.write(number, error),
            )
            return number + 1, state, kept

        def slots(side: _RatingBlocks) -> tf.TensorArray:
            shape = [side.count, side.size]
            return tf.TensorArray(tf.float32, samples, element_shape=shape)

        state: _State = {
            "user": self._start(self.users),
            "item": self._start(self.items),
            "user_precision": tf.ones([self.users.count]),
            "item_precision": tf.ones([self.items.count]),
            "precision": tf.constant(1.5),
        }
        kept = slots(self.users), slots(self.items), tf.TensorArray(tf.float32, sweeps)
        _, _, (users, items, errors) = tf.while_loop(
            lambda number, *_: number < sweeps, body, (0, state, kept), parallel_iterations=1
        )
        return users.stack(), items.stack(), errors.stack()

    def _start(self, side: _RatingBlocks) -> _Chain:
        noise = 0.1 * self.random.normal([side.count, side.size - 1])
        return {
            "z": tf.concat([tf.zeros([side.count, 1]), noise], axis=1),
            "weights": [tf.zeros([kind.width, side.size]) for kind in side.features],
            "ridges": [tf.constant(1.0) for _ in side.features],
        }

    def _sweep(self, state: _State) -> tuple[_State, Tensor]:
        user_scale, item_scale = state["user_precision"], state["item_precision"]
        user_prior, mean, precision = self._prior(self.users, state["user"])
        z, _ = self._draw(
            self.users,
            mean,
            precision,
            state["item"]["z"],
            state["precision"] * user_scale,
            item_scale,
        )
        user: _Chain = {"z": z, **user_prior}
        item_prior, mean, precision = self._prior(self.items, state["item"])
        z, squares = self._draw(
            self.items, mean, precision, z, state["precision"] * item_scale, user_scale
        )
        item: _Chain = {"z": z, **item_prior}

        of_user, of_item = self.items.other, self.items.own[..., None]
        weighted = squares * tf.gather(user_scale, of_user) * tf.gather(item_scale, of_item)
        overall = self._gamma(1.0 + self.ratings, 1.0 + tf.reduce_sum(weighted))
        user_scale = self._scale(
            self.users, of_user, overall * squares * tf.gather(item_scale, of_item)
        )
        item_scale = self._scale(
            self.items, of_item, overall * squares * tf.gather(user_scale, of_user)
        )
        state = {
            "user": user,
            "item": item,
            "user_precision": user_scale,
            "item_precision": item_scale,
            "precision": overall,
        }
        return state, tf.reduce_sum(squares) / self.ratings

    def _prior(self, side: _RatingBlocks, state: _Chain) -> tuple[_Prior, Tensor, Tensor]:
        """Draws m, L, each B and its l given the vectors; also returns the means [N, K] and L."""
        count, size = side.count, side.size
        weights, ridges = list(state["weights"]), list(state["ridges"])
        shares = [kind.table @ b for kind, b in zip(side.features, weights, strict=True)]
        rest = state["z"] - sum(shares)
        center = tf.reduce_mean(rest, axis=0)
        spread = rest - center
        shrunk = count / (count + _MEAN_PRIOR)
        scatter = tf.eye(size) + tf.matmul(spread, spread, transpose_a=True)
        scatter += shrunk * _MEAN_PRIOR * center[:, None] * center
        for b, ridge in zip(weights, ridges, strict=True):
            scatter += ridge * tf.matmul(b, b, transpose_a=True)
        degrees = float(size + count + sum(kind.width for kind in side.features))
        precision, noise = self._wishart(scatter, degrees)
        mean = shrunk * center + self._noise(1, noise)[0] / np.sqrt(count + _MEAN_PRIOR)
        for n, kind in enumerate(side.features):
            # A draw of B is a ridge regression of noisy targets (Macau, eq. 5).
            others = sum(shares[:n]) + sum(shares[n + 1 :])
            target = state["z"] - mean - others + self._noise(count, noise)
            right = tf.matmul(kind.table, target, transpose_a=True)
            right += tf.sqrt(ridges[n]) * self._noise(kind.width, noise)
            weights[n] = kind.solve(right, ridges[n])
            shares[n] = kind.table @ weights[n]
            energy = tf.reduce_sum((weights[n] @ precision) * weights[n])
            ridges[n] = self._gamma(1e-3 + float(kind.width * size), 1e-3 + energy)
        prior = tf.zeros_like(state["z"]) + mean + sum(shares)
        return {"weights": weights, "ridges": ridges}, prior, precision

    def _draw(
        self,
        side: _RatingBlocks,
        mean: Tensor,
        precision: Tensor,
        other: Tensor,
        own_scale: Tensor,
        other_scale: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Draws the vectors given all else: float32 [N, K]; also returns all squared residuals."""
        size = side.size
        inputs = tf.concat([tf.ones_like(other[:, :1]), other[:, 1:]], axis=1)
        pull = mean @ precision

        def block(part: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            others, rating, present, own, member, rows = part
            x = tf.gather(inputs, others)  # [pieces, width, K]
            target = rating - tf.gather(other[:, 0], others)
            weight = present * tf.gather(own_scale, own)[:, None] * tf.gather(other_scale, others)
            moments = tf.matmul(
                x * weight[..., None], tf.concat([x, target[..., None]], 2), transpose_a=True
            )
            moments = tf.math.segment_sum(moments, member)
            root = tf.linalg.cholesky(moments[..., :size] + precision)
            right = moments[..., size:] + tf.gather(pull, rows)[..., None]
            noise = self.random.normal([side.members, size, 1])
            z = tf.linalg.triangular_solve(root, right) + noise
            z = tf.linalg.triangular_solve(root, z, adjoint=True)
            predicted = (x @ tf.gather(z, member))[..., 0]
            return z[..., 0], present * tf.square(target - predicted)

        parts = (side.other, side.rating, side.present, side.own, side.member, side.rows)
        z, squares = tf.map_fn(
            block, parts, fn_output_signature=(tf.float32, tf.float32), parallel_iterations=1
        )
        return tf.gather(tf.reshape(z, [-1, size]), side.place), squares

    def _scale(self, side: _RatingBlocks, index: Tensor, squares: Tensor) -> Tensor:
        """Draws one side's precisions, float32 [N], of geometric mean 1 over ratings."""
        index = tf.broadcast_to(index, tf.shape(squares))
        total = tf.math.unsorted_segment_sum(squares, index, side.count)
        scale = self._gamma(_NOISE_PRIOR + side.ratings, _NOISE_PRIOR + total)
        return scale / tf.exp(tf.reduce_sum(side.ratings * tf.math.log(scale)) / self.ratings)

    def _gamma(self, degrees: Tensor | float, scale: Tensor) -> Tensor:
        """Draws Gamma(degrees / 2, rate scale / 2)."""
        shape = tf.shape(scale)
        seed = self.random.make_seeds()[:, 0]
        return 2.0 * tf.random.stateless_gamma(shape, seed, degrees / 2.0) / scale

    def _wishart(self, scatter: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
        """Draws L ~ Wishart(scatter^-1, degrees), and C with rows of noise: e C ~ N(0, L^-1).

        By Bartlett's decomposition, with any A for which A A' = scatter^-1.
        """
        size = scatter.shape[0]
        double = tf.float64
        root = tf.linalg.cholesky(tf.cast(scatter, double))
        inverse = tf.linalg.triangular_solve(root, tf.eye(size, dtype=double))
        chi_square = tf.random.stateless_gamma(
            [size],
            self.random.make_seeds()[:, 0],
            (degrees - tf.range(size, dtype=double)) / 2,
            dtype=double,
        )
        lower = tf.linalg.band_part(self.random.normal([size, size], dtype=double), -1, 0)
        lower = tf.linalg.set_diag(lower, tf.sqrt(2 * chi_square))
        factor = tf.matmul(inverse, lower, transpose_a=True)
        precision = tf.matmul(factor, factor, transpose_b=True)
        noise = tf.linalg.inv(tf.linalg.cholesky(precision))
        return tf.cast(precision, tf.float32), tf.cast(noise, tf.float32)

    def _noise(self, count: int, factor: Tensor) -> Tensor:
        return self.random.normal([count, factor.shape[0]]) @ factor


def _distil(users: np.ndarray, items: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The best approximation, of rank `size`, of the mean over samples [S, N, K]: [N, 1 + size]."""
    samples = len(users)
    p = users[:, :, 1:].transpose(1, 0, 2).reshape(users.shape[1], -1) / samples
    q = items[:, :, 1:].transpose(1, 0, 2).reshape(items.shape[1], -1)
    (p_basis, p_rest), (q_basis, q_rest) = np.linalg.qr(p), np.linalg.qr(q)
    left, values, right = np.linalg.svd(p_rest @ q_rest.T)
    size = min(size, len(values))
    root = np.sqrt(values[:size])
    result = []
    for bias, basis, turn in (
        (users[:, :, 0], p_basis, left),
        (items[:, :, 0], q_basis, right.T),
    ):
        vectors = basis @ turn[:, :size] * root
        result.append(np.column_stack([bias.mean(axis=0), vectors]).astype(np.float32))
    return result[0], result[1]
