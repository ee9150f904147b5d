"""What training, evaluation and export need of a model: a head, which scores users and items."""

from __future__ import annotations

from typing import Any, Protocol

import keras


class Head(Protocol):
    """One head of an architecture; `architectures/mf/model.py` has the plainest.

    Attributes:
      sequential: whether a user's vector depends on what was rated before.
      width: length of a vector.
    """

    sequential: bool
    width: int

    def user(self, users: dict[str, Any], training: bool = False) -> Any: ...
    def item(self, items: dict[str, Any], training: bool = False) -> Any: ...
    def interact(self, user: Any, item: Any, training: bool = False) -> Any: ...


def score_pairs(head: Head, users: Any, items: Any, training: bool = False) -> Any:
    """Scores of pairs: users [B], items [B] -> float32 [B]."""
    item = keras.ops.expand_dims(head.item(items, training), axis=1)
    scores = head.interact(head.user(users, training), item, training)
    return keras.ops.squeeze(scores, axis=1)
