"""Alternating least squares: each half step against ridge regressions in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import sparse

from tests.contract import problems
from tfx_recommender.trainer.architectures import observations
from tfx_recommender.trainer.architectures.mf import ials, ials_head, ials_search
from tfx_recommender.trainer.architectures.mf.settings import (
    AlternatingLeastSquares,
    MatrixFactorization,
)
from tfx_recommender.trainer.fitting import validation
from tfx_recommender.trainer.fitting.held_out import HeldOut

ALPHA, PENALTY, EXPONENT = 0.3, 0.05, 0.8
USERS, ITEMS = 40, 25


def observed() -> observations.Observations:
    """Random confidences; the last row of either side stands for three ids, one row for none."""
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.2, 3, (USERS, ITEMS)) * (rng.random((USERS, ITEMS)) < 0.2)
    weight[5] = 0
    users, items = np.ones(USERS, int), np.ones(ITEMS, int)
    users[-1], items[-1], users[5] = 3, 3, 0
    return observations.Observations(sparse.csr_array(weight.astype(np.float32)), users, items)


def ridge(weight: np.ndarray, count: int, other: np.ndarray, others: np.ndarray) -> np.ndarray:
    """One row's vector, as the loss defines it: float64, pair by pair."""
    size = other.shape[1]
    if not weight.any():
        return np.zeros(size)
    left, right = np.zeros((size, size)), np.zeros(size)
    for c, ids, vector in zip(weight, others, other, strict=True):
        left += (c + ALPHA * count * ids) * np.outer(vector, vector)
        right += c * vector
    unobserved = ALPHA * others.sum() * count
    left += PENALTY * (weight.sum() + unobserved) ** EXPONENT * np.eye(size)
    return np.linalg.solve(left, right)


@pytest.mark.parametrize("size", [1, 7, 16])
def test_a_half_step_is_a_weighted_ridge_regression_of_each_row(size: int) -> None:
    given = observed()
    solver = ials.Solver(given, size)
    start = solver.start(size, seed=1)
    found = solver.sweep(start, ALPHA, PENALTY, EXPONENT)
    weight = given.weight.toarray().astype(np.float64)
    other = start.item.numpy().astype(np.float64)
    user = np.stack([ridge(weight[n], given.users[n], other, given.items) for n in range(USERS)])
    np.testing.assert_allclose(found.user.numpy(), user, rtol=1e-4, atol=1e-5)
    item = np.stack([ridge(weight[:, n], given.items[n], user, given.users) for n in range(ITEMS)])
    np.testing.assert_allclose(found.item.numpy(), item, rtol=1e-3, atol=1e-4)


def test_blocks_of_numbers_come_to_the_same_vectors() -> None:
    """iALS++: each block is a Newton step of its own; over and over they solve for the whole."""
    given = observed()
    side, size = ials.Side(given.weight, given.users, 8), 8
    rng = np.random.default_rng(2)
    other = tf.constant(rng.normal(size=(ITEMS, size)), tf.float32)
    gram = ALPHA * tf.matmul(other, other, transpose_a=True)
    for rows in side.blocks:
        ones = tf.ones_like(rows.count)
        exact, own = (tf.zeros([len(ones), size]) for _ in range(2))
        exact = ials.half_step(exact, rows.other, rows.weight, ones, ones, other, gram)
        for _ in range(60):
            own = ials.half_step(own, rows.other, rows.weight, ones, ones, other, gram, block=3)
        np.testing.assert_allclose(own.numpy(), exact.numpy(), rtol=1e-3, atol=1e-4)


def test_a_row_depends_on_its_own_observations_and_the_other_side_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = observed()
    whole = ials.Solver(given, 8)
    start = whole.start(8, seed=1)
    expected = whole.sweep(start, ALPHA, PENALTY, EXPONENT)
    monkeypatch.setattr(ials, "_VECTORS", 64)  # two or three rows at a time
    parts = ials.Solver(given, 8)
    assert len(parts.users.blocks) > len(whole.users.blocks)
    found = parts.sweep(start, ALPHA, PENALTY, EXPONENT)
    np.testing.assert_allclose(found.user.numpy(), expected.user.numpy(), rtol=1e-4, atol=1e-6)


def test_sweeps_lower_the_loss() -> None:
    given = observed()
    weight = given.weight.toarray()
    solver = ials.Solver(given, 6)
    factors, last = solver.start(6, seed=0), np.inf
    for _ in range(6):
        factors = solver.sweep(factors, ALPHA, PENALTY, EXPONENT)
        user, item = factors.user.numpy(), factors.item.numpy()
        score = user @ item.T
        loss = np.sum(weight * (1 - score) ** 2)
        loss += ALPHA * np.sum(np.outer(given.users, given.items) * score**2)
        for vectors, side, others in ((user, 0, given.items), (item, 1, given.users)):
            count = (given.users, given.items)[side]
            scale = (weight.sum(axis=1 - side) + ALPHA * others.sum() * count) ** EXPONENT
            loss += PENALTY * np.sum(scale * np.sum(vectors**2, axis=1))
        assert loss < last
        last = loss


def test_the_same_seed_fits_the_same_head_and_validation_chooses() -> None:
    tf.config.experimental.enable_op_determinism()
    problem = problems.split(problems.two_tastes())
    heads = [ials_head.fit(MatrixFactorization(), problem, seed=3) for _ in range(2)]
    for one, other in zip(heads[0].weights, heads[1].weights, strict=True):
        np.testing.assert_array_equal(np.array(one), np.array(other))
    chosen = ials_search.choose(AlternatingLeastSquares(), None, problem, seed=3)
    assert chosen.penalty in ials_search._PENALTIES
    assert chosen.size < 64
    given = AlternatingLeastSquares(
        regularization=0.5, unobserved_weight=0.2, strength_exponent=1.0
    )
    assert ials_search.choose(given, 4, problem, 3) == ials_search.IalsHyperparameters(
        4, 0.2, 0.5, 1.0
    )
    part = ials_search.choose(AlternatingLeastSquares(unobserved_weight=0.2), 4, problem, seed=3)
    assert (part.size, part.alpha) == (4, 0.2)


def test_without_validation_rows_the_defaults_are_taken() -> None:
    # Rows that were seen in training say nothing, so there are none.
    problem = problems.problem(problems.two_tastes())
    chosen = ials_search.choose(AlternatingLeastSquares(), None, problem, seed=3)
    assert chosen == ials_search.IalsHyperparameters(64, 0.1, 0.01, 0.0)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_confidences_are_strengths_raised_to_an_exponent_in_units_of_their_mean(
    exponent: float,
) -> None:
    rows = problems.events(problems.interactions())
    found = observations.of(problems.problem(rows), exponent)
    assert rows.strength is not None
    expected = rows.strength.astype(np.float64) ** exponent
    expected /= expected.mean()
    assert found.weight[rows.user[3], rows.item[3]] == pytest.approx(expected[3], rel=1e-5)
    assert found.weight.data.mean() == pytest.approx(1, rel=1e-5)
    assert found.users.sum() == problems.USERS


def test_held_out_ndcg_is_that_of_the_tuner() -> None:
    problem = problems.split(problems.interactions())
    head = ials_head.fit(MatrixFactorization(embedding_size=4), problem, seed=0)
    vectors = [np.array(table) for table in (head.user_table, head.item_table)]
    found = HeldOut(problem, seed=0).ndcg(lambda user: vectors[0][user] @ vectors[1][:-1].T)
    assert found == pytest.approx(validation.ndcg(head, problem, 10), abs=1e-6)
    assert HeldOut(problem, 0).ndcg(lambda user: np.full((len(user), problems.ITEMS), np.nan)) == (
        pytest.approx(HeldOut(problem, 0).ndcg(lambda user: np.zeros((len(user), problems.ITEMS))))
    )
