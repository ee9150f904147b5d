"""The model to beat before any was pushed: biases for the rating, popularity for the ranking."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfx_recommender.trainer.recommender import Recommender
from tfx_recommender.trainer.training import Interactions


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
      user_shrinkage: added to a user's count of ratings, pulls small counts to 0.
      item_shrinkage: the same for items.
      sweeps: how often both sides are solved.

    Returns:
      The mean, the users' biases float64 [users], the items' biases float64 [items].
    """
    mean = float(rows.rating.mean(dtype=np.float64))
    residual = rows.rating.astype(np.float64) - mean
    user_count = np.bincount(rows.user, minlength=users)
    item_count = np.bincount(rows.item, minlength=items)
    user_bias, item_bias = np.zeros(users), np.zeros(items)
    for _ in range(sweeps):
        total = np.bincount(rows.item, residual - user_bias[rows.user], items)
        item_bias = total / (item_shrinkage + item_count)
        total = np.bincount(rows.user, residual - item_bias[rows.item], users)
        user_bias = total / (user_shrinkage + user_count)
    return mean, user_bias, item_bias


class Head(keras.layers.Layer):
    """score(u, i) = b_u + b_i, in the shape that every architecture has."""

    def __init__(self, user_bias: np.ndarray, item_bias: np.ndarray) -> None:
        super().__init__()
        self.user_bias = self._table(user_bias)
        self.item_bias = self._table(item_bias)

    def _table(self, bias: np.ndarray) -> Any:
        with_unknown = np.append(bias, 0.0).astype(np.float32)[:, None]
        initializer = keras.initializers.Constant(with_unknown)
        return self.add_weight(shape=with_unknown.shape, initializer=initializer)

    def user(self, users: dict[str, Any], training: bool = False) -> Any:
        """Users' biases: [B] rows -> [B, 1]."""
        return keras.ops.take(self.user_bias, users["index"], axis=0)

    def item(self, items: dict[str, Any], training: bool = False) -> Any:
        """Items' biases: [...] rows -> [..., 1]."""
        return keras.ops.take(self.item_bias, items["index"], axis=0)

    def interact(self, user: Any, item: Any, training: bool = False) -> Any:
        """Scores: user [B, 1] and item [B or 1, K, 1] -> [B, K]."""
        return user + item[..., 0]


def bias_and_popularity(
    train: Interactions, users: int, items: int, rating_range: tuple[float, float]
) -> Recommender:
    """The baseline: rating by biases, preference by the number of ratings in training.

    Args:
      train: the train split.
      users: number of users.
      items: number of items.
      rating_range: smallest and largest rating of the scale.
    """
    mean, user_bias, item_bias = fit_biases(train, users, items)
    popularity = np.bincount(train.item, minlength=items)
    return Recommender(
        rating=Head(user_bias, item_bias),
        preference=Head(np.zeros(users), popularity),
        rating_mean=mean,
        rating_scale=1.0,
        rating_range=rating_range,
    )
