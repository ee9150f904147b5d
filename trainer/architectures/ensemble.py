"""Several heads of one architecture, fitted from different seeds, as one."""

from __future__ import annotations

from typing import Any

import keras

from tfx_recommender.trainer.architectures.composite import CompositeHead
from tfx_recommender.trainer.fitting.head import FoldIn, Head


def of(members: list[Head]) -> Head:
    """Members of one kind as one head; a single one stays as it is."""
    if len(members) == 1:
        return members[0]
    if all(isinstance(member, FoldIn) for member in members):
        return FoldInEnsembleHead(members)
    return EnsembleHead(members)


class EnsembleHead(CompositeHead):
    """score(u, i) = the mean of the members' scores."""

    def interact(self, user: Any, item: Any, training: bool = False) -> Any:
        """Scores: user [B, width] and item [B or 1, K, width] -> [B, K]."""
        vectors = zip(self.parts, self.split(user), self.split(item, True), strict=True)
        return sum(part.interact(u, i, training) for part, u, i in vectors) / len(self.parts)


class FoldInEnsembleHead(EnsembleHead):
    """Of members that can fold users in, as each does."""

    def fold_in(self, items: dict[str, Any], weight: Any) -> Any:
        """Vectors of users from items [B, L] and their weights [B, L] -> [B, width]."""
        folded = [part.fold_in(items, weight) for part in self.parts]
        return keras.ops.concatenate(folded, axis=-1)
