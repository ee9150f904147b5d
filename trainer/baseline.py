"""The baselines before the first push: biases predict ratings, popularity ranks items."""

from __future__ import annotations

import numpy as np

from tfx_recommender.trainer.architectures.factors import FactorsHead
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.recommender import Recommender


def fit_biases(
    rows: Interactions,
    users: int,
    items: int,
    user_shrinkage: float = 15.0,
    item_shrinkage: float = 10.0,
    sweeps: int = 10,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Biases by alternating least squares: rating = mean + b_u + b_i.

    Koren: Factor in the Neighbors (2010), section 2.1, with the shrinkages of Surprise's
    `BaselineOnly` (als).

    Args:
      rows: the train split.
      users: number of users; every `rows.user` is below.
      items: number of items; every `rows.item` is below.
      user_shrinkage: added to a user's number of ratings; biases of few ratings move towards 0.
      item_shrinkage: the same for items.
      sweeps: number of times that both sides are solved.

    Returns:
      The mean, the users' biases float64 [users], the items' biases float64 [items].
    """
    rating = rows.known_rating()
    mean = float(rating.mean(dtype=np.float64))
    residual = rating.astype(np.float64) - mean
    user_count = np.bincount(rows.user, minlength=users)
    item_count = np.bincount(rows.item, minlength=items)
    user_bias, item_bias = np.zeros(users), np.zeros(items)
    for _ in range(sweeps):
        total = np.bincount(rows.item, residual - user_bias[rows.user], items)
        item_bias = total / (item_shrinkage + item_count)
        total = np.bincount(rows.user, residual - item_bias[rows.item], users)
        user_bias = total / (user_shrinkage + user_count)
    return mean, user_bias, item_bias


def bias_and_popularity(
    train: Interactions, users: int, items: int, rating_range: tuple[float, float]
) -> Recommender:
    """The baseline for ratings: biases predict ratings, popularity ranks items.

    Args:
      train: the train split.
      users: number of users.
      items: number of items.
      rating_range: smallest and largest rating of the scale.
    """
    mean, user_bias, item_bias = fit_biases(train, users, items)
    return Recommender(
        rating=FactorsHead(_with_unknown(user_bias), _with_unknown(item_bias)),
        preference=_popularity_head(train, users, items),
        rating_mean=mean,
        rating_scale=1.0,
        rating_range=rating_range,
    )


def popularity(train: Interactions, users: int, items: int) -> Recommender:
    """The baseline for events: popularity ranks items. Strengths are not used."""
    return Recommender(rating=None, preference=_popularity_head(train, users, items))


def _popularity_head(train: Interactions, users: int, items: int) -> FactorsHead:
    """score(u, i) = the number of training ratings of item i."""
    count = np.bincount(train.item, minlength=items)
    return FactorsHead(_with_unknown(np.zeros(users)), _with_unknown(count))


def _with_unknown(bias: np.ndarray) -> np.ndarray:
    return np.append(bias, 0.0).astype(np.float32)[:, None]
