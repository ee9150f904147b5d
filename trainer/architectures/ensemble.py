"""Several heads of one architecture, fitted from different seeds, as one."""

from __future__ import annotations

from typing import Any

from tfx_recommender.trainer.architectures.composite import CompositeHead
from tfx_recommender.trainer.fitting.head import Head


def of(members: list[Head]) -> Head:
    """Members of one kind as one head; a single one stays as it is."""
    return members[0] if len(members) == 1 else EnsembleHead(members)


class EnsembleHead(CompositeHead):
    """score(u, i) = the mean of the members' scores."""

    def interact(self, user: Any, item: Any, training: bool = False) -> Any:
        """Scores: user [B, width] and item [B or 1, K, width] -> [B, K]."""
        vectors = zip(self.parts, self.split(user), self.split(item), strict=True)
        return sum(part.interact(u, i, training) for part, u, i in vectors) / len(self.parts)
