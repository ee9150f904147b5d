"""M5: the baselines are honest, on MovieLens-100k by the protocols that others publish."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import tfx.components  # noqa: F401 - must be imported before TFMA on older glibc

from tfx_recommender.components.errors import UserError
from tfx_recommender.components.evaluator import ranking
from tfx_recommender.pipeline import datasets
from tfx_recommender.trainer import baseline
from tfx_recommender.trainer.problem import Interactions


@pytest.fixture(scope="module")
def movielens(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """user, item, rating, timestamp of all ratings in file order, int64 [100000, 4]."""
    folder = Path("data")
    if not (folder / "movielens-100k").is_dir():
        folder = tmp_path_factory.mktemp("data")
        try:
            datasets.fetch("movielens-100k", str(folder))
        except UserError as error:
            pytest.skip(f"no source of MovieLens-100k can be reached: {error}")
    with open(folder / "movielens-100k" / "ratings.csv", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return np.array(rows, dtype=float).astype(np.int64)


def interactions(rows: np.ndarray) -> Interactions:
    return Interactions(rows[:, 0] - 1, rows[:, 1] - 1, rows[:, 2].astype(np.float32))


def test_biases_reach_the_rmse_of_surprise_on_a_90_10_split(movielens: np.ndarray) -> None:
    order = np.random.default_rng(42).permutation(100_000)
    test, train = (interactions(movielens[rows]) for rows in (order[:10_000], order[10_000:]))
    mean, user_bias, item_bias = baseline.fit_biases(train, users=943, items=1682)
    rating = np.clip(mean + user_bias[test.user] + item_bias[test.item], 1, 5)
    assert np.sqrt(np.mean((rating - test.rating) ** 2)) <= 0.936


def test_popularity_reaches_the_published_hit_rates(movielens: np.ndarray) -> None:
    """Leave-last-out by time, ties by item id: all items not rated in training; 99 negatives."""
    ordered = movielens[np.lexsort((movielens[:, 1], movielens[:, 3], movielens[:, 0]))]
    last = np.append(ordered[1:, 0] != ordered[:-1, 0], True)
    train, test = ordered[~last], ordered[last]
    popularity = np.bincount(train[:, 1] - 1, minlength=1682).astype(float)
    found = ranking.rank(
        lambda users, items: np.tile(popularity[items], (len(users), 1)),
        np.arange(943),
        np.arange(1682),
        held_out=(test[:, 0] - 1, test[:, 1] - 1),
        relevant=np.ones(len(test), bool),
        history=(train[:, 0] - 1, train[:, 1] - 1),
        known=(movielens[:, 0] - 1, movielens[:, 1] - 1),
        k=10,
        seed=0,
    )
    assert np.mean(found.rank < 10) >= 0.049
    # Others report .3075 with negatives of their own; the standard error is .015.
    assert np.mean(found.sampled_rank < 10) == pytest.approx(0.3075, abs=0.03)
