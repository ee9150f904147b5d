"""Several heads of one architecture, fitted from different seeds, as one."""

from __future__ import annotations

from typing import Any

import keras

from tfx_recommender.trainer.losses import Head as AnyHead


def of(members: list[AnyHead]) -> AnyHead:
    """Members of one kind as one head; a single one stays as it is."""
    return members[0] if len(members) == 1 else Head(members)


class Head(keras.layers.Layer):
    """score(u, i) = the mean of the members' scores."""

    def __init__(self, members: list[AnyHead]) -> None:
        super().__init__()
        self.members = members
        self.sequential = members[0].sequential

    def user(self, users: dict[str, Any], training: bool = False) -> Any:
        """Vectors of users: [B] rows -> [B, D], the members' side by side."""
        return keras.ops.concatenate([m.user(users, training) for m in self.members], axis=-1)

    def item(self, items: dict[str, Any], training: bool = False) -> Any:
        """Vectors of items: [...] rows -> [..., D], the members' side by side."""
        return keras.ops.concatenate([m.item(items, training) for m in self.members], axis=-1)

    def interact(self, user: Any, item: Any, training: bool = False) -> Any:
        """Scores: user [B, D] and item [B or 1, K, D] -> [B, K]."""
        count = len(self.members)
        parts = zip(
            self.members,
            keras.ops.split(user, count, axis=-1),
            keras.ops.split(item, count, axis=-1),
            strict=True,
        )
        return sum(member.interact(u, i, training) for member, u, i in parts) / count
