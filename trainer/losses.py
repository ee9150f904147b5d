"""What a head is trained on, as layers: a batch in, one number out."""

from __future__ import annotations

from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf


class Head(Protocol):
    """What every architecture offers; see `matrix_factorization.Head`."""

    def user(self, users: dict[str, Any], training: bool = False) -> Any: ...
    def item(self, items: dict[str, Any], training: bool = False) -> Any: ...
    def interact(self, user: Any, item: Any, training: bool = False) -> Any: ...


def score_pairs(head: Head, users: Any, items: Any, training: bool = False) -> Any:
    """Scores of pairs: users [B], items [B] -> float32 [B]."""
    item = head.item(items, training)[:, None, :]
    return head.interact(head.user(users, training), item, training)[:, 0]


class SquaredError(keras.layers.Layer):
    """Of the rating, in units of its standard deviation: the loss of a rating head."""

    def __init__(self, head: Head, rating_mean: float, rating_scale: float) -> None:
        super().__init__(name="rating_loss")
        self.built = True  # nothing of its own; the head's layers build themselves
        self.head = head
        self.rating_mean, self.rating_scale = rating_mean, rating_scale

    def call(self, batch: dict[str, Any], training: bool = False) -> Any:
        """The mean over a batch (see `training.Batches`), float32 []."""
        score = score_pairs(self.head, batch["user"], batch["item"], training)
        error = (batch["rating"] - self.rating_mean) / self.rating_scale - score
        return keras.ops.mean(keras.ops.square(error))


class Softmax(keras.layers.Layer):
    """Cross-entropy of the rated item among others: the loss of a preference head.

    The others are either the whole catalogue but what the user rated in training, or negatives
    drawn uniformly from it, anew at every step (Covington et al. 2016, section 3.2; uniform draws
    need no correction of the logits). A draw that hits an item the user rated is kept: its
    probability is the share of the catalogue the user rated, and masking would cost more.
    """

    def __init__(self, head: Head, sampled: bool) -> None:
        super().__init__(name="preference_loss")
        self.built = True
        self.head, self.sampled = head, sampled

    def call(self, batch: dict[str, Any], training: bool = False) -> Any:
        """The mean over a batch (see `training.Batches`), float32 []."""
        head = self.head
        user = head.user(batch["user"], training)
        positive = head.interact(user, head.item(batch["item"], training)[:, None], training)
        others = batch["negative"] if self.sampled else batch["catalogue"]
        logits = head.interact(user, head.item(others, training)[None], training)
        if not self.sampled:
            rated = batch["rated"]
            none = tf.fill(tf.shape(rated)[:1], -np.inf)
            logits = tf.tensor_scatter_nd_update(logits, rated, none)
        logits = keras.ops.concatenate([positive, logits], axis=1)
        return keras.ops.mean(keras.ops.logsumexp(logits, axis=1) - positive[:, 0])
