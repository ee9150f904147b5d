"""What training, evaluation and export need of a model: a head, which scores users and items."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import keras


class Head(Protocol):
    """One head of an architecture; `architectures/mf/model.py` has the plainest.

    A head that can tell a user from items alone is a `FoldIn` too.

    Attributes:
      sequential: whether a user's vector depends on what was rated before.
      width: length of a vector.
    """

    sequential: bool
    width: int

    def user(self, users: dict[str, Any], training: bool = False) -> Any: ...
    def item(self, items: dict[str, Any], training: bool = False) -> Any: ...
    def interact(self, user: Any, item: Any, training: bool = False) -> Any: ...


@runtime_checkable
class FoldIn(Protocol):
    """A head that makes a user's vector of whatever was interacted with."""

    def fold_in(self, items: dict[str, Any], weight: Any) -> Any:
        """Vectors of users that need not be known.

        Args:
          items: rows of the items that they interacted with, [B, L].
          weight: confidences, 1 on average over the train split, float32 [B, L]; 0 where padded.

        Returns:
          float32 [B, width].
        """


def score_pairs(head: Head, users: Any, items: Any, training: bool = False) -> Any:
    """Scores of pairs: users [B], items [B] -> float32 [B]."""
    item = keras.ops.expand_dims(head.item(items, training), axis=1)
    scores = head.interact(head.user(users, training), item, training)
    return keras.ops.squeeze(scores, axis=1)
