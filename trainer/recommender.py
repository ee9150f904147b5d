"""One model, two heads: a rating (squared error) and a preference (which item comes next).

A model trained on squared error alone ranks badly, and one trained to rank knows no scale. So
each architecture is built twice, with weights of its own for either task, and trained
together; nothing one head learns can spoil the other.
"""

from __future__ import annotations

from typing import Any, Protocol

import keras


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

    LOSSES = ("rating_loss", "preference_loss")

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
          Each of LOSSES, float32 scalars, without penalties (which are `losses`).
        """
        score = self._pairs(self.rating_head, batch["user"], batch["item"], training)
        error = (batch["rating"] - self.rating_mean) / self.rating_scale - score
        head = self.preference_head
        user = head.user(batch["user"], training)
        positive = head.interact(user, head.item(batch["item"], training)[:, None], training)
        negative = head.interact(user, head.item(batch["negative"], training)[None], training)
        logits = keras.ops.concatenate([positive, negative], axis=1)
        preference_loss = keras.ops.logsumexp(logits, axis=1) - positive[:, 0]
        losses = keras.ops.mean(keras.ops.square(error)), keras.ops.mean(preference_loss)
        return dict(zip(self.LOSSES, losses, strict=True))
