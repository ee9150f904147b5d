"""What a head is trained on, as layers: a batch in (see `batches.Batches`), one number out."""

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

# Stands for "cannot be": as a logit it leaves nothing of a probability, and stays finite.
_NEVER = -1e9


class Loss(keras.layers.Layer):
    """A loss of one head.

    Attributes:
      by_user: whether its examples are users with all their ratings.
    """

    def __init__(self, head: Head, name: str, by_user: bool) -> None:
        super().__init__(name=name)
        self.built = True  # nothing of its own; the head's layers build themselves
        self.head, self.by_user = head, by_user


class SquaredError(Loss):
    """Of the rating, in units of its standard deviation: the loss of a rating head."""

    def __init__(self, head: Head, rating_mean: float, rating_scale: float) -> None:
        super().__init__(head, "rating_loss", by_user=False)
        self.rating_mean, self.rating_scale = rating_mean, rating_scale

    def call(self, batch: Batch, training: bool = False) -> Tensor:
        """The mean over a batch, float32 []."""
        score = score_pairs(self.head, batch["user"], batch["item"], training)
        error = (batch["rating"] - self.rating_mean) / self.rating_scale - score
        return keras.ops.mean(keras.ops.square(error))


class Ranking(Loss):
    """Of a rated item against others: what the losses of a preference head share.

    The others are either the whole catalogue, or negatives drawn from it anew at every step;
    what the user rated in training is not among them.

    A batch of events has weights, their strengths: one of twice the strength counts as two, so
    softmax is the likelihood of as many choices, BPR learns from as many pairs, and logistic MF
    from as many times yes. They are divided by the mean of the train split, so that no unit of
    strength changes what a learning rate or a positive weight is.
    """

    def __init__(self, head: Head, sampled: bool, positive_weight: float = 1.0) -> None:
        """Takes a head.

        Args:
          head: the head to train.
          sampled: whether the others are drawn.
          positive_weight: of a rated item, where the loss knows weights.
        """
        super().__init__(head, "preference_loss", by_user=not head.sequential)
        self.sampled, self.positive_weight = sampled, positive_weight

    def scores(self, batch: Batch, training: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scores of rated items and of the others.

        Returns:
          Of the rated ones, float32 [P]; of the others, float32 [E, N]; which of those count,
          bool [E, N]; and the logarithm of how many of its kind each stands for, [N] or [].
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

    Logits of drawn items are corrected by the logarithm of their expected number, so that their
    sum estimates the catalogue's. Bengio and Senecal: Adaptive Importance Sampling (2008);
    Yi et al.: Sampling-Bias-Corrected Neural Modeling (2019), eq. 3.
    """

    def call(self, batch: Batch, training: bool = False) -> Tensor:
        """The mean over the rated items of a batch, float32 []."""
        own, logits, counts, weight = self.scores(batch, training)
        logits = keras.ops.where(counts, logits + weight, _NEVER)
        others = tf.gather(keras.ops.logsumexp(logits, axis=1), batch["example"])
        return keras.ops.mean(_weighted(keras.ops.softplus(others - own), batch))


class BayesianPersonalizedRanking(Ranking):
    """-log sigmoid of how far the rated item is ahead, the mean over the others.

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
    """Of yes for a rated item, which weighs more, and no for every other.

    Johnson: Logistic Matrix Factorization for Implicit Feedback Data (2014), eq. 3, where the
    weight of yes is alpha times the strength: `positive_weight` is alpha times the mean strength.
    Weighing one kind shifts the probability that is learnt; the shift, log(weight), is inside the
    loss, so sigmoid(score) is the probability that a user rates an item (of events that differ in
    strength, the odds are those of an interaction times its strength to be expected, the mean
    being 1). Each drawn item stands for as many as the catalogue has for one of it.
    """

    def call(self, batch: Batch, training: bool = False) -> Tensor:
        """The sum over all pairs of the users, per rated item, float32 []."""
        own, logits, counts, weight = self.scores(batch, training)
        shift = np.log(self.positive_weight)
        yes = _weighted(self.positive_weight * keras.ops.softplus(-own - shift), batch)
        no = keras.ops.exp(weight) * keras.ops.softplus(logits + shift)
        no = keras.ops.sum(keras.ops.where(counts, no, 0.0), axis=1) * batch["share"]
        return (keras.ops.sum(yes) + keras.ops.sum(no)) / keras.ops.cast(tf.size(own), "float32")


def _weighted(loss: Tensor, batch: Batch) -> Tensor:
    """Losses of the rated items [P], as their rows count; ratings all count alike."""
    return loss * batch["weight"] if "weight" in batch else loss


RANKING = {"softmax": Softmax, "bpr": BayesianPersonalizedRanking, "logistic": LogisticLoss}


def ranking(head: Head, config: RankingTraining) -> Ranking:
    """The configured loss of a preference head."""
    return RANKING[config.loss](head, config.negatives is not None, config.positive_weight)
