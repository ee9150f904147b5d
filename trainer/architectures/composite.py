"""Several heads as one: their vectors lie side by side, and a subclass says how they interact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from tfx_recommender.trainer.architectures import factors
from tfx_recommender.trainer.fitting.head import Head


class CompositeHead(keras.layers.Layer):
    """What hybrids, ensembles and two stages share.

    Attributes:
      parts: the heads; trainable variables are theirs, one head after the other.
      sequential: whether any part is.
      width: length of a vector, the sum of the parts'.
    """

    def __init__(self, parts: Sequence[Head]) -> None:
        super().__init__()
        self.parts = [*parts]
        self.sequential = any(part.sequential for part in parts)
        self.width = sum(part.width for part in parts)

    def user(self, users: dict[str, Any], training: bool = False) -> Any:
        """Vectors of users: [B] rows -> [B, width]."""
        return keras.ops.concatenate([part.user(users, training) for part in self.parts], axis=-1)

    def item(self, items: dict[str, Any], training: bool = False) -> Any:
        """Vectors of items: [...] rows -> [..., width]."""
        return keras.ops.concatenate([part.item(items, training) for part in self.parts], axis=-1)

    def split(self, vector: Any, of_items: bool = False) -> list[Any]:
        """Each part's own: [..., width] -> [..., width of that part].

        Items' vectors have another width in parts that have an `item_width`.
        """
        widths = [part.width for part in self.parts]
        if of_items:
            widths = [getattr(part, "item_width", part.width) for part in self.parts]
        return factors.split(vector, widths)
