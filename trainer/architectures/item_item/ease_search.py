"""EaseHyperparameters of EASE that are left open, chosen by NDCG on the validation split.

Of a large catalogue the most popular items are enough to choose by: what is chosen depends on how
many users an item has more than on how many items there are.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from absl import logging
from scipy import sparse

from tfx_recommender.trainer.architectures.item_item import ease
from tfx_recommender.trainer.architectures.item_item.settings import ItemToItem
from tfx_recommender.trainer.fitting.held_out import HeldOut

# What is tried, and what is taken where nothing can be tried.
_PENALTIES, _PENALTY = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0), 300.0
_DROPOUTS = (0.0, 0.25, 0.5)
_NEIGHBOURS = (200, 50, 20)
# So many items, the most popular ones, are chosen by.
_ITEMS = 2000


@dataclasses.dataclass(frozen=True)
class EaseHyperparameters:
    """What a fit takes; see `settings.ItemToItem`."""

    regularization: float
    dropout: float
    neighbours: int


class Search:
    """Fits with the most popular items, judged on validation rows of all."""

    def __init__(
        self,
        observed: sparse.csr_array,
        popular: np.ndarray,
        popularity: np.ndarray,
        held_out: HeldOut,
        item: np.ndarray,
    ) -> None:
        """Counts co-occurrences.

        Args:
          observed: who interacted with what, float32 [users, rows of the items' table].
          popular: rows of the items that have weights, the most popular ones first.
          popularity: score of an item that nothing speaks for or against, float32 [rows].
          held_out: what to judge by.
          item: row of each item of the catalogue, [items].
        """
        self._held_out = held_out
        popular = popular[:_ITEMS]
        self._observed = observed[:, popular]
        self._gram = ease.gram(self._observed)
        place = np.full(len(popularity), -1)
        place[popular] = np.arange(len(popular))
        self._item = np.flatnonzero(place[item] >= 0)
        self._popular = place[item][self._item]
        self._popularity = popularity[item]
        self._weights: tuple[tuple[float, float], np.ndarray] | None = None

    def run(self, config: ItemToItem) -> EaseHyperparameters:
        """What the config leaves open, one after the other."""
        start = default(config)
        if not len(self._held_out):
            return start
        best, score = start, self._ndcg(start)
        if config.regularization is None:
            at = _PENALTIES.index(_PENALTY)
            for tried in (_PENALTIES[at - 1 :: -1], _PENALTIES[at + 1 :]):
                best, score = self._climb(best, score, "regularization", tried)
        if config.dropout is None:
            best, score = self._climb(best, score, "dropout", _DROPOUTS[1:])
        if config.neighbours is None:
            best, score = self._climb(best, score, "neighbours", _NEIGHBOURS[1:])
        return best

    def _climb(
        self, best: EaseHyperparameters, score: float, name: str, values: tuple[Any, ...]
    ) -> tuple[EaseHyperparameters, float]:
        """Goes on as long as it gets better."""
        for value in values:
            tried = dataclasses.replace(best, **dict[str, Any]({name: value}))
            if (ndcg := self._ndcg(tried)) <= score:
                break
            best, score = tried, ndcg
        return best, score

    def _ndcg(self, values: EaseHyperparameters) -> float:
        how = values.regularization, values.dropout
        if self._weights is None or self._weights[0] != how:
            self._weights = how, ease.weights(self._gram, *how)
        weights = ease.nearest(self._weights[1], values.neighbours)

        def score(users: np.ndarray) -> np.ndarray:
            scores = np.tile(self._popularity, (len(users), 1))
            found = (self._observed[users] @ weights).toarray()
            scores[:, self._item] += found[:, self._popular]
            return scores

        ndcg = self._held_out.ndcg(score)
        logging.info("EASE: %s: NDCG@10 %.4f on validation", values, ndcg)
        return ndcg


def default(config: ItemToItem) -> EaseHyperparameters:
    """What the config gives, and what does well on most data."""
    return EaseHyperparameters(
        _PENALTY if config.regularization is None else config.regularization,
        _DROPOUTS[0] if config.dropout is None else config.dropout,
        _NEIGHBOURS[0] if config.neighbours is None else config.neighbours,
    )
