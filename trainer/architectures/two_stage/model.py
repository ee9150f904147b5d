"""Two stages: a dot product finds candidates, and a more expensive head ranks them.

Covington, Adams, Sargin: Deep Neural Networks for YouTube Recommendations (2016), figure 2. The
ranking head scores only the candidates of each user, not the whole catalogue. The hybrid's rating
head predicts ratings.
"""

from __future__ import annotations

import tensorflow as tf

from tfx_recommender.trainer.architectures import model
from tfx_recommender.trainer.architectures.composite import CompositeHead
from tfx_recommender.trainer.architectures.hybrid import model as hybrid
from tfx_recommender.trainer.architectures.two_stage.settings import TwoStageRanking
from tfx_recommender.trainer.fitting.fit import Fitter
from tfx_recommender.trainer.fitting.head import Head, Tensor, Vectors
from tfx_recommender.trainer.fitting.problem import Problem

fit_rating = hybrid.fit_rating


def fit_preference(config: TwoStageRanking, problem: Problem, fitter: Fitter) -> TwoStageHead:
    """Fits each stage by itself, as the architecture that it names."""
    candidates, ranking = (
        model.fit_preference(stage.architecture, stage, problem, fitter)
        for stage in (config.candidates, config.ranking)
    )
    return TwoStageHead(candidates, ranking, config.number)


class TwoStageHead(CompositeHead):
    """score(u, i) = ranking(u, i) for the candidates; all other items score lower."""

    def __init__(self, candidates: Head, ranking: Head, number: int) -> None:
        """Takes fitted heads.

        Args:
          candidates: the first stage; its `number` best items are the candidates.
          ranking: the second stage.
          number: maximum number of candidates per user.
        """
        super().__init__([candidates, ranking])
        self.number = number

    def interact(self, user: Vectors, item: Vectors, training: bool = False) -> Tensor:
        """Scores, float32 [B, K]; see `Head.interact`.

        The candidates are the best among these K items, so a single item gets the score of the
        second stage. Items that are no candidates rank below all candidates, in the order of the
        first stage.
        """
        candidates, ranking = self.heads
        (user_first, user_second), (item_first, item_second) = user, item
        first = candidates.interact(user_first, item_first, training)
        best, place = tf.math.top_k(first, tf.minimum(self.number, tf.shape(first)[1]))

        def chosen(part: Tensor) -> Tensor:
            if part.shape[0] == 1:  # the same items for all users
                return tf.gather(tf.squeeze(part, axis=0), place)
            return tf.gather(part, place, batch_dims=1)

        second = ranking.interact(user_second, tf.nest.map_structure(chosen, item_second), training)
        lowest = tf.reduce_min(second, axis=1, keepdims=True)
        below = lowest - 1.0 + first - best[:, :1]
        rows = tf.broadcast_to(tf.range(tf.shape(place)[0])[:, None], tf.shape(place))
        return tf.tensor_scatter_nd_update(below, tf.stack([rows, place], axis=-1), second)
