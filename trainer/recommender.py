"""One model, two heads: a rating (squared error) and a preference (which item comes next).

A model trained on squared error alone ranks badly, and one trained to rank knows no scale. So
each architecture is built twice, with weights of its own for either task, and trained
together; nothing one head learns can spoil the other.
"""

from __future__ import annotations

from typing import Any, Protocol

import keras
import tensorflow as tf


class Head(Protocol):
    """What every architecture offers; see `matrix_factorization.Head`."""

    def user(self, users: dict[str, Any], training: bool = False) -> Any: ...
    def item(self, items: dict[str, Any], training: bool = False) -> Any: ...
    def interact(self, user: Any, item: Any, training: bool = False) -> Any: ...


class Recommender(keras.Model):
    """A rating head and a preference head of the same architecture.

    The losses are added: squared error of the rating in units of its standard deviation, and
    the softmax cross-entropy of the rated item against `negatives` drawn uniformly from the
    catalogue, anew at every step (Covington et al. 2016, section 3.2; uniform draws need no
    correction of the logits). A draw that hits an item the user rated is kept: its
    probability is the share of the catalogue the user rated, and masking would cost more.
    """

    def __init__(
        self,
        rating: Head,
        preference: Head,
        rating_mean: float,
        rating_scale: float,
        rating_range: tuple[float, float],
    ) -> None:
        super().__init__()
        self.built = True  # nothing of its own; the heads' layers build themselves
        self.rating_head = rating
        self.preference_head = preference
        self.rating_mean = rating_mean
        self.rating_scale = rating_scale
        self.rating_range = rating_range
        self.trackers = {
            name: keras.metrics.Mean(name=name)
            for name in ("rating_loss", "preference_loss", "loss")
        }

    def rate(self, users: dict[str, Any], items: dict[str, Any]) -> Any:
        """Ratings of pairs: users [B], items [B] -> float32 [B], clipped to the scale."""
        score = self._pairs(self.rating_head, users, items, training=False)
        rating = self.rating_mean + self.rating_scale * score
        return keras.ops.clip(rating, *self.rating_range)

    def prefer(self, users: dict[str, Any], items: dict[str, Any]) -> Any:
        """Preferences of pairs: users [B], items [B] -> unbounded float32 [B]."""
        return self._pairs(self.preference_head, users, items, training=False)

    def prefer_all(self, users: dict[str, Any], items: dict[str, Any]) -> Any:
        """Preferences of each user for each item: users [B], items [K] -> float32 [B, K]."""
        head = self.preference_head
        return head.interact(head.user(users), head.item(items)[None])

    @staticmethod
    def _pairs(head: Head, users: Any, items: Any, training: bool) -> Any:
        item = head.item(items, training)[:, None, :]
        return head.interact(head.user(users, training), item, training)[:, 0]

    def call(self, batch: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Both losses of a batch.

        Args:
          batch: `user` and `item` (as `Entities.table()`, [B] rows), `rating` float32 [B],
            `negative` (items, [N] rows, shared by the batch).
          training: whether dropout and id dropout apply.

        Returns:
          `rating_loss` and `preference_loss`, float32 scalars.
        """
        score = self._pairs(self.rating_head, batch["user"], batch["item"], training)
        error = (batch["rating"] - self.rating_mean) / self.rating_scale - score
        head = self.preference_head
        user = head.user(batch["user"], training)
        positive = head.interact(user, head.item(batch["item"], training)[:, None], training)
        negative = head.interact(user, head.item(batch["negative"], training)[None], training)
        logits = keras.ops.concatenate([positive, negative], axis=1)
        return {
            "rating_loss": keras.ops.mean(keras.ops.square(error)),
            "preference_loss": keras.ops.mean(keras.ops.logsumexp(logits, axis=1) - positive[:, 0]),
        }

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One optimizer step (called by Keras' `fit`)."""
        with tf.GradientTape() as tape:
            losses = self(batch, training=True)
            total = sum(losses.values()) + sum(self.losses)
        gradients = tape.gradient(total, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return self._report(losses)

    def test_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The losses without penalties (called by Keras' `fit` on the validation split)."""
        return self._report(self(batch, training=False))

    def _report(self, losses: dict[str, Any]) -> dict[str, Any]:
        for name, value in {**losses, "loss": sum(losses.values())}.items():
            self.trackers[name].update_state(value)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means, which Keras resets at each epoch."""
        return list(self.trackers.values())
