"""One model with two heads: one predicts ratings, the other ranks items.

A model trained on squared error ranks badly, and one trained to rank predicts no ratings. So the
heads share no weights. A model of events has only the ranking head.
"""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from tfx_recommender.trainer.fitting.head import EntityBatch, Head, Tensor, score_all, score_pairs


class Recommender(tf.Module):
    """A rating head and a ranking head.

    Attributes:
      rating_head: None for events.
      preference_head: ranks the items of one user.
      rating_mean: mean of the train split's ratings.
      rating_scale: standard deviation of the train split's ratings.
      rating_range: smallest and largest rating of the scale.
    """

    def __init__(
        self,
        rating: Head | None,
        preference: Head,
        rating_mean: float = 0.0,
        rating_scale: float = 1.0,
        rating_range: tuple[float, float] = (-math.inf, math.inf),
    ) -> None:
        super().__init__()
        self.rating_head = rating
        self.preference_head = preference
        self.rating_mean = rating_mean
        self.rating_scale = rating_scale
        self.rating_range = rating_range

    def predict(self, users: EntityBatch[Tensor], items: EntityBatch[Tensor]) -> dict[str, Tensor]:
        """`rating` (none for events) and `preference` of pairs: users [B], items [B]."""
        rating = {} if self.rating_head is None else {"rating": self.rate(users, items)}
        return rating | {"preference": self.prefer(users, items)}

    def rate(self, users: EntityBatch[Tensor], items: EntityBatch[Tensor]) -> Tensor:
        """Ratings of pairs: users [B], items [B] -> float32 [B], clipped to the scale."""
        assert self.rating_head is not None, "a model of events predicts no ratings"
        score = score_pairs(self.rating_head, users, items)
        rating = self.rating_mean + self.rating_scale * score
        return keras.ops.clip(rating, *self.rating_range)

    def prefer(self, users: EntityBatch[Tensor], items: EntityBatch[Tensor]) -> Tensor:
        """Preferences of pairs: users [B], items [B] -> unbounded float32 [B]."""
        return score_pairs(self.preference_head, users, items)

    def prefer_all(self, users: EntityBatch[Tensor], items: EntityBatch[Tensor]) -> Tensor:
        """Preferences of each user for each item: users [B], items [K] -> float32 [B, K]."""
        return score_all(self.preference_head, users, items)
