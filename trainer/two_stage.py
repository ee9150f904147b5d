"""Two stages: candidates by a dot product, ranked by whatever scores better and costs more.

Covington, Adams, Sargin: Deep Neural Networks for YouTube Recommendations (2016), figure 2. On a
large catalogue the ranking architecture sees only the candidates of each user. Ratings are
predicted by the hybrid's head.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfx_recommender.trainer import hybrid
from tfx_recommender.trainer.losses import Head as AnyHead

rating_head = hybrid.rating_head


class Head(keras.layers.Layer):
    """score(u, i) = ranking(u, i) for the candidates, something lower for all others."""

    def __init__(self, candidates: AnyHead, ranking: AnyHead, number: int) -> None:
        """Takes fitted heads.

        Args:
          candidates: the first stage; of its items, the `number` best are ranked.
          ranking: the second stage.
          number: how many candidates a user has at most.
        """
        super().__init__()
        self.candidates, self.ranking, self.number = candidates, ranking, number
        self.sequential = candidates.sequential or ranking.sequential

    def user(self, users: dict[str, Any], training: bool = False) -> Any:
        """Vectors of users: [B] rows -> [B, D], both stages' side by side."""
        return keras.ops.concatenate(
            [self.candidates.user(users, training), self.ranking.user(users, training)], axis=-1
        )

    def item(self, items: dict[str, Any], training: bool = False) -> Any:
        """Vectors of items: [...] rows -> [..., D], both stages' side by side."""
        return keras.ops.concatenate(
            [self.candidates.item(items, training), self.ranking.item(items, training)], axis=-1
        )

    def interact(self, user: Any, item: Any, training: bool = False) -> Any:
        """Scores: user [B, D] and item [B or 1, K, D] -> [B, K].

        The candidates are the best among these K; so one item alone gets the score of the
        ranking stage. What is no candidate stays below those that are, in the order of the first
        stage.
        """
        width = self.candidates.width
        first = self.candidates.interact(user[:, :width], item[..., :width], training)
        best, place = tf.math.top_k(first, tf.minimum(self.number, tf.shape(first)[1]))
        if item.shape[0] == 1:
            chosen = tf.gather(item[0, :, width:], place)
        else:
            chosen = tf.gather(item[..., width:], place, batch_dims=1)
        second = self.ranking.interact(user[:, width:], chosen, training)
        lowest = tf.reduce_min(second, axis=1, keepdims=True)
        below = lowest - 1.0 + first - best[:, :1]
        rows = tf.broadcast_to(tf.range(tf.shape(place)[0])[:, None], tf.shape(place))
        return tf.tensor_scatter_nd_update(below, tf.stack([rows, place], axis=-1), second)
