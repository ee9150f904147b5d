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
    relevant: np.ndarray,
    catalogue: np.ndarray,
    history: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """The rank of each row's item for its user.

    Competitors are the items of the catalogue that the user has not rated in training. Ties
    count against the model: an item ranks behind every other with the same score.

    Args:
      scorer: preferences of users for items.
      user_ids: users of the held-out rows, bytes [R].
      item_ids: items of the held-out rows, bytes [R], all in the catalogue.
      relevant: which rows to rank, bool [R].
      catalogue: distinct item ids, bytes [N].
      history: user ids and item ids of the training ratings, bytes [T] each.

    Returns:
      float64 [R]: 0 is the top; NOT_RANKED where not relevant; NaN where any of the user's
      scores is NaN.
    """
    result = np.full(len(user_ids), float(NOT_RANKED))
    users, user = np.unique(user_ids, return_inverse=True)
    order = np.argsort(catalogue)
    position = order[np.searchsorted(catalogue, item_ids, sorter=order)]
    seen = _seen_positions(users, catalogue, order, *history)
    rows_of = _groups(user[relevant], np.flatnonzero(relevant), len(users))
    wanted = np.flatnonzero([len(rows) for rows in rows_of])
    block = max(1, _PAIRS // len(catalogue))
    for start in range(0, len(wanted), block):
        members = wanted[start : start + block]
        scores = np.array(scorer(users[members], catalogue), np.float64)
        for one, member in zip(scores, members, strict=True):
            rows = rows_of[member]
            if np.isnan(one).any():
                result[rows] = np.nan
                continue
            held_out = one[position[rows]]
            competitors = np.sort(np.delete(one, seen[member]))
            at_least = len(competitors) - np.searchsorted(competitors, held_out, side="left")
            result[rows] = at_least - 1
    return result


def _seen_positions(
    users: np.ndarray,
    catalogue: np.ndarray,
    order: np.ndarray,
    history_users: np.ndarray,
    history_items: np.ndarray,
) -> list[np.ndarray]:
    place = np.minimum(np.searchsorted(users, history_users), len(users) - 1)
    held_out_user = users[place] == history_users
    position = order[np.searchsorted(catalogue, history_items[held_out_user], sorter=order)]
    return _groups(place[held_out_user], position, len(users))


def _groups(keys: np.ndarray, values: np.ndarray, count: int) -> list[np.ndarray]:
    """values grouped by key: element g holds those whose key is g."""
    order = np.argsort(keys, kind="stable")
    ends = np.cumsum(np.bincount(keys, minlength=count))
    return np.split(values[order], ends[:-1])
