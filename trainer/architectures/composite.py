"""Several heads as one; a subclass says how their scores are put together."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from tfx_recommender.trainer.fitting.head import EntityBatch, Head, Tensor, Vectors


class CompositeHead(keras.layers.Layer):
    """What hybrids, ensembles and two stages share: `Vectors` hold those of each head.

    Attributes:
      heads: the heads inside; trainable weights are theirs, one head after the other.
      sequential: whether any of them is.
    """

    def __init__(self, heads: Sequence[Head]) -> None:
        super().__init__()
        self.heads = [*heads]
        self.sequential = any(head.sequential for head in heads)

    def user(self, users: EntityBatch[Tensor], training: bool = False) -> Vectors:
        """Vectors of users by each head: [B] rows."""
        return tuple(head.user(users, training) for head in self.heads)

    def item(self, items: EntityBatch[Tensor], training: bool = False) -> Vectors:
        """Vectors of items by each head: [...] rows."""
        return tuple(head.item(items, training) for head in self.heads)

    def scores(self, user: Vectors, item: Vectors, training: bool) -> list[Tensor]:
        """Scores by each head, float32 [B, K]; see `Head.interact`."""
        return [
            head.interact(of_user, of_item, training)
            for head, of_user, of_item in zip(self.heads, user, item, strict=True)
        ]
