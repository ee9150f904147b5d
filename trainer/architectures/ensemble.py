"""Several heads of one architecture, fitted from different seeds, as one."""

from __future__ import annotations

from tfx_recommender.trainer.architectures.composite import CompositeHead
from tfx_recommender.trainer.fitting.head import EntityBatch, FoldIn, Head, Tensor, Vectors


def of(members: list[Head]) -> Head:
    """One head that averages the members; a single member is returned as it is."""
    if len(members) == 1:
        return members[0]
    if all(isinstance(member, FoldIn) for member in members):
        return FoldInEnsembleHead(members)
    return EnsembleHead(members)


class EnsembleHead(CompositeHead):
    """score(u, i) = the mean of the members' scores."""

    def interact(self, user: Vectors, item: Vectors, training: bool = False) -> Tensor:
        """Scores, float32 [B, K]; see `Head.interact`."""
        return sum(self.scores(user, item, training)) / len(self.heads)


class FoldInEnsembleHead(EnsembleHead):
    """An ensemble of heads that fold users in."""

    def fold_in(self, items: EntityBatch[Tensor], weight: Tensor) -> Vectors:
        """Vectors of users by each head; see `FoldIn.fold_in`."""
        heads = (head for head in self.heads if isinstance(head, FoldIn))
        return tuple(head.fold_in(items, weight) for head in heads)
