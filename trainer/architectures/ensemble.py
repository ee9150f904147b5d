"""Several heads of one architecture, fitted from different seeds, as one."""

from __future__ import annotations

from tfx_recommender.trainer.architectures.composite import CompositeHead
from tfx_recommender.trainer.fitting.head import Head, Tensor, Vectors


def of(members: list[Head]) -> Head:
    """One head that averages the members; a single member is returned as it is."""
    return members[0] if len(members) == 1 else EnsembleHead(members)


class EnsembleHead(CompositeHead):
    """score(u, i) = the mean of the members' scores."""

    def interact(self, user: Vectors, item: Vectors, training: bool = False) -> Tensor:
        """Scores, float32 [B, K]; see `Head.interact`."""
        return sum(self.scores(user, item, training)) / len(self.heads)
