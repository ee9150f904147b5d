"""Ranks of held-out items in the whole catalogue.

Both models of a comparison are asked for the same catalogue and the same histories, never for
what either carries inside; an item that a model does not know is scored as unknown.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfx_recommender.components.evaluator.metrics import NOT_RANKED

# User-item pairs scored at once: bounds the memory of a scorer's hidden layers.
_PAIRS = 1 << 20

# (user ids [B], item ids [N]) -> preferences [B, N]
Scorer = Callable[[np.ndarray, np.ndarray], np.ndarray]


def ranks(
    scorer: Scorer,
    user_ids: np.ndarray,
    item_ids: np.ndarray,
    held_out: tuple[np.ndarray, np.ndarray],
    relevant: np.ndarray,
    history: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """The rank of each held-out row's item for its user.

    Competitors are the items of the catalogue that the user has not rated in training. Ties
    count against the model: an item ranks behind every other with the same score.

    Args:
      scorer: preferences of users for items.
      user_ids: distinct users, bytes [U].
      item_ids: the catalogue, distinct items, bytes [N].
      held_out: the rows' users and items, positions in `user_ids` and `item_ids`, int [R] each.
      relevant: which rows to rank, bool [R].
      history: users and items of the training ratings, likewise, int [T] each.

    Returns:
      float64 [R]: 0 is the top; NOT_RANKED where not relevant; NaN where any of the user's
      scores is NaN.
    """
    result = np.full(len(relevant), float(NOT_RANKED))
    rows_of = _groups(held_out[0][relevant], np.flatnonzero(relevant), len(user_ids))
    wanted = np.unique(held_out[0][relevant])
    is_wanted = np.isin(history[0], wanted)
    seen = _groups(history[0][is_wanted], history[1][is_wanted], len(user_ids))
    block = max(1, _PAIRS // len(item_ids))
    for start in range(0, len(wanted), block):
        members = wanted[start : start + block]
        scores = np.array(scorer(user_ids[members], item_ids), np.float64)
        for one, member in zip(scores, members, strict=True):
            rows = rows_of[member]
            if np.isnan(one).any():
                result[rows] = np.nan
                continue
            competitors = np.sort(np.delete(one, seen[member]))
            at_least = len(competitors) - np.searchsorted(competitors, one[held_out[1][rows]])
            result[rows] = at_least - 1
    return result


def _groups(keys: np.ndarray, values: np.ndarray, count: int) -> list[np.ndarray]:
    """values grouped by key: element g holds those whose key is g."""
    order = np.argsort(keys, kind="stable")
    ends = np.cumsum(np.bincount(keys, minlength=count))
    return np.split(values[order], ends[:-1])
