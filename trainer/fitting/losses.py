"""The losses of heads, as Keras layers: `Batch` -> float32 []."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfx_recommender.trainer.fitting.batches import Batch
from tfx_recommender.trainer.fitting.head import (
    Head,
    Tensor,
    score_pairs,
    shared,
    single,
    take,
)
from tfx_recommender.trainer.fitting.settings import RankingTraining

# The logit of an impossible item: its probability is 0, and gradients stay finite.
_NEVER = -1e9


class Loss(keras.layers.Layer):
    """A loss of one head.

    Attributes:
      by_user: whether an example is a user with all ratings (see `Batches`).
    """

    def __init__(self, head: Head, name: str, by_user: bool) -> None:
        super().__init__(name=name)
        self.built = True  # it has no weights of its own; the head's layers build themselves
        self.head, self.by_user = head, by_user


class SquaredError(Loss):
    """Mean squared error of the rating, in units of the ratings' standard deviation."""

    def __init__(self, head: Head, rating_mean: float, rating_scale: float) -> None:
        super().__init__(head, "rating_loss", by_user=False)
        self.rating_mean, self.rating_scale = rating_mean, rating_scale

    def call(self, batch: Batch, training: bool = False) -> Tensor:
        """The mean over a batch, float32 []."""
        score = score_pairs(self.head, batch["user"], batch["item"], training)
        error = (batch["rating"] - self.rating_mean) / self.rating_scale - score
        return keras.ops.mean(keras.ops.square(error))


class Ranking(Loss):
    """The base of ranking losses, which compare a rated item with other items.

    The others are the whole catalogue, or negatives that are drawn for each step; items that the
    user rated in training are not among them.

    Rows of events are weighted by their strength divided by the mean strength of the train split,
    so the unit of strength does not matter: an event of twice the strength counts as two events.
    """

    def __init__(self, head: Head, sampled: bool, positive_weight: float = 1.0) -> None:
        """Makes the loss of a head.

        Args:
          head: the head to train.
          sampled: whether negatives are drawn.
          positive_weight: weight of a rated item, in the logistic loss.
        """
        super().__init__(head, "preference_loss", by_user=not head.sequential)
        self.sampled, self.positive_weight = sampled, positive_weight

    def scores(self, batch: Batch, training: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scores of rated items and of the others.

        Returns:
          Scores of the rated items, float32 [P]; scores of the others, float32 [E, N]; whether each
          of these counts, bool [E, N]; and log-weights of the others, float32 [N] or []: a drawn
          item stands for exp(log-weight) items of the catalogue.
        """
        head = self.head
        user = head.user(batch["user"], training)
        item = single(head.item(batch["item"], training))
        own = head.interact(take(user, batch["example"]), item, training)[:, 0]
        others = batch["negative"] if self.sampled else batch["catalogue"]
        logits = head.interact(user, shared(head.item(others, training)), training)
        if self.sampled:
            return own, logits, ~batch["collision"], -batch["log_expected"]
        return own, logits, ~batch["rated"], tf.constant(0.0)


class Softmax(Ranking):
    """Cross-entropy of the rated item among the others.

    The logarithm of its expected number is subtracted from the logit of a drawn item, so that the
    sum over drawn items estimates the sum over the catalogue. Bengio and Senecal: Adaptive
    Importance Sampling (2008); Yi et al.: Sampling-Bias-Corrected Neural Modeling (2019), eq. 3.
    """

    def call(self, batch: Batch, training: bool = False) -> Tensor:
        """The mean over the rated items of a batch, float32 []."""
        own, logits, counts, weight = self.scores(batch, training)
        logits = keras.ops.where(counts, logits + weight, _NEVER)
        others = tf.gather(keras.ops.logsumexp(logits, axis=1), batch["example"])
        return keras.ops.mean(_weighted(keras.ops.softplus(others - own), batch))


class BayesianPersonalizedRanking(Ranking):
    """-log sigmoid(score of the rated item - score of another), the mean over the others.

    Rendle et al.: BPR: Bayesian Personalized Ranking from Implicit Feedback (2009), section 4.1.
    """

    def call(self, batch: Batch, training: bool = False) -> Tensor:
        """The mean over the rated items of a batch, float32 []."""
        own, logits, counts, _ = self.scores(batch, training)
        logits, counts = (tf.gather(part, batch["example"]) for part in (logits, counts))
        ahead = keras.ops.where(counts, own[:, None] - logits, -_NEVER)
        pairs = keras.ops.maximum(keras.ops.sum(keras.ops.cast(counts, "float32"), axis=1), 1.0)
        loss = keras.ops.sum(keras.ops.softplus(-ahead), axis=1) / pairs
        return keras.ops.mean(_weighted(loss, batch))


class LogisticLoss(Ranking):
    """Cross-entropy of whether the user rated the item; rated items are weighted.

    Johnson: Logistic Matrix Factorization for Implicit Feedback Data (2014), eq. 3. The weight of a
    rated item there is alpha times the strength, so `positive_weight` is alpha times the mean
    strength. A weight w shifts the learnt logit by log(w); the loss adds that shift, so
    sigmoid(score) is the probability that a user rates an item. With strengths, exp(score) is the
    odds of an event times its expected strength, in units of the mean strength.
    """

    def call(self, batch: Batch, training: bool = False) -> Tensor:
        """The sum over all pairs of user and item, per rated item, float32 []."""
        own, logits, counts, weight = self.scores(batch, training)
        shift = np.log(self.positive_weight)
        yes = _weighted(self.positive_weight * keras.ops.softplus(-own - shift), batch)
        no = keras.ops.exp(weight) * keras.ops.softplus(logits + shift)
        no = keras.ops.sum(keras.ops.where(counts, no, 0.0), axis=1) * batch["share"]
        return (keras.ops.sum(yes) + keras.ops.sum(no)) / keras.ops.cast(tf.size(own), "float32")


def _weighted(loss: Tensor, batch: Batch) -> Tensor:
    """Losses of the rated items [P] times the weights of their rows; ratings have weight 1."""
    return loss * batch["weight"] if "weight" in batch else loss


RANKING = {"softmax": Softmax, "bpr": BayesianPersonalizedRanking, "logistic": LogisticLoss}


def ranking(head: Head, config: RankingTraining) -> Ranking:
    """The configured loss of a preference head."""
    return RANKING[config.loss](head, config.negatives is not None, config.positive_weight)
