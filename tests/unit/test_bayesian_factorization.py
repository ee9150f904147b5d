"""The sampler finds what is there, uses what it is told, and its short form loses nothing."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfx_recommender.trainer.architectures import bayesian_factorization
from tfx_recommender.trainer.architectures.mf.settings import BayesianFactorization

USERS, ITEMS, NOISE = 60, 40, 0.3
CONFIG = BayesianFactorization(embedding_size=8, factors=3, sweeps=80, burn_in=30, samples=25)


def world(seed: int = 0) -> dict[str, np.ndarray]:
    """Every rating of biases and two tastes; `seen` are three in ten of them."""
    rng = np.random.default_rng(seed)
    traits = rng.normal(size=(USERS, 2)).astype(np.float32)
    score = traits @ rng.normal(size=(2, ITEMS)) + rng.normal(size=ITEMS)
    score /= score.std()
    return {
        "score": score,
        "traits": traits,
        "rating": (score + rng.normal(size=score.shape) * NOISE).astype(np.float32),
        "seen": rng.random(score.shape) < 0.3,
    }


def error(data: dict[str, np.ndarray], known: bool = False, cold: int = 0) -> float:
    """RMSE against the true scores of unseen cells; of the first `cold` users all are unseen."""
    seen = data["seen"].copy()
    seen[:cold] = False
    user, item = np.nonzero(seen)
    fitted = bayesian_factorization.fit(
        user, item, data["rating"][seen], USERS, ITEMS,
        [data["traits"]] if known else [], [], CONFIG, seed=1,
    )  # fmt: skip
    found = fitted.user[:, :1] + fitted.item[:, 0] + fitted.user[:, 1:] @ fitted.item[:, 1:].T
    rows = slice(cold) if cold else slice(None)
    return float(np.sqrt(np.mean((found - data["score"])[rows][~seen[rows]] ** 2)))


def test_it_finds_the_scores_below_the_noise() -> None:
    assert error(world()) < NOISE


def test_so_it_does_in_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bayesian_factorization, "_PIECES", 40)
    monkeypatch.setattr(bayesian_factorization, "_WIDTH", 4)
    assert error(world()) < NOISE


def test_side_information_tells_of_users_without_ratings() -> None:
    data = world()
    assert error(data, known=True, cold=5) < 0.5 * error(data, known=False, cold=5)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_factors() -> None:
    tf.config.experimental.enable_op_determinism()  # as run_fn does
    assert error(world()) == error(world())


def test_the_short_form_keeps_the_mean_of_all_samples() -> None:
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(5, n, 3)).astype(np.float32) for n in (7, 9))
    expected = np.mean(
        [
            u[:, :1] + i[:, 0] + u[:, 1:] @ i[:, 1:].T
            for u, i in zip(users, items, strict=True)
        ],
        axis=0,
    )  # fmt: skip
    user, item = bayesian_factorization._distil(users, items, 50)
    found = user[:, :1] + item[:, 0] + user[:, 1:] @ item[:, 1:].T
    np.testing.assert_allclose(found, expected, atol=1e-5)
    short = bayesian_factorization._distil(users, items, 2)
    assert short[0].shape == (7, 3)
