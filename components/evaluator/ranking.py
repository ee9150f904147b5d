"""Ranks of held-out items in the whole catalogue and among sampled negatives; the first K items.

Both models of a comparison rank the same catalogue with the same histories, not those inside the
models. A model scores an item that it does not know as unknown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfx_recommender.components.evaluator.predictions import NO_ITEM, NO_SCORE, NOT_RANKED

NEGATIVES = 99
"""Sampled negatives of each held-out row (He et al. 2017)."""

# Scores held at once: bounds the memory of a block, and of a scorer's hidden layers.
_PAIRS = 1 << 22

# Users, int [B] -> preferences for each item of the catalogue, [B, N]
Scorer = Callable[[np.ndarray], np.ndarray]
# Users and items of some ratings, int [P] each.
Pairs = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Rankings:
    """Ranks and lists by one model. Ranks start at 0; ties count against the model.

    Attributes:
      rank: float64 [R], among the items of the catalogue that the user has not rated in
        training; NOT_RANKED where the row is not relevant, NaN where any of the user's scores is.
      sampled_rank: float64 [R], among the row's sampled negatives; special values as in `rank`.
      user: int64 [W], the users with a ranked row, ascending.
      recommended: int64 [W, min(k, N)], each user's best items of those not rated in training, then
        NO_ITEM. Of equal scores, the item that comes first in the catalogue. All are NO_SCORE
        where any of the user's scores is NaN.
    """

    rank: np.ndarray
    sampled_rank: np.ndarray
    user: np.ndarray
    recommended: np.ndarray


def rank(
    scorer: Scorer,
    users: int,
    items: int,
    held_out: Pairs,
    relevant: np.ndarray,
    history: Pairs,
    known: Pairs,
    k: int,
    seed: int,
) -> Rankings:
    """Ranks each relevant held-out row's item for its user.

    Args:
      scorer: gives the preferences of users.
      users: number of users; every user is below.
      items: size of the catalogue; every item is below.
      held_out: the rows [R] to rank.
      relevant: whether to rank a row, bool [R].
      history: the training ratings [T].
      known: the ratings of all splits, distinct; none of them is ever a negative.
      k: length of the lists of recommended items.
      seed: of the negatives, which also depend on rows and ratings but not on the scorer.
    """
    ranks, sampled_ranks = (np.full(len(relevant), float(NOT_RANKED)) for _ in range(2))
    ranked = np.unique(held_out[0][relevant])
    place = np.full(users, -1)
    place[ranked] = np.arange(len(ranked))
    rows = np.flatnonzero(relevant)
    rows = rows[np.argsort(place[held_out[0][rows]], kind="stable")]
    row_user, row_item = place[held_out[0][rows]], held_out[1][rows]
    seen, rated = _of_users(place, history, items), _of_users(place, known, items)
    recommended = np.full((len(ranked), min(k, items)), NO_ITEM)
    generator = np.random.default_rng(seed)
    block = max(1, _PAIRS // items)
    for start in range(0, len(ranked), block):
        stop = min(start + block, len(ranked))
        # A copy: what the scorer returns may be read-only.
        scores = np.array(scorer(ranked[start:stop]))
        broken = np.isnan(scores).any(axis=1)
        first, last = np.searchsorted(row_user, (start, stop))
        user, item = row_user[first:last] - start, row_item[first:last]
        score = scores[user, item]
        negatives = sample_negatives(generator, user, _between(rated, start, stop), items)
        at_least = scores[user[:, None], negatives] >= score[:, None]
        sampled = np.count_nonzero(at_least & (negatives != NO_ITEM), axis=1)
        # No comparison with NaN is true, so items rated in training do not compete.
        scores[_between(seen, start, stop)] = np.nan
        full = np.empty(len(user))
        for some in range(0, len(user), block):
            chunk = slice(some, some + block)
            full[chunk] = np.count_nonzero(scores[user[chunk]] >= score[chunk, None], axis=1)
        ranks[rows[first:last]] = np.where(broken[user], np.nan, full - 1)
        sampled_ranks[rows[first:last]] = np.where(broken[user], np.nan, sampled)
        scores[np.isnan(scores)] = -np.inf
        best, best_items = tf.math.top_k(scores, recommended.shape[1])
        recommended[start:stop] = np.where(best > -np.inf, best_items, NO_ITEM)
        recommended[start:stop][broken] = NO_SCORE
    return Rankings(ranks, sampled_ranks, ranked, recommended)


def sample_negatives(
    generator: np.random.Generator, user: np.ndarray, rated: Pairs, items: int
) -> np.ndarray:
    """Draws NEGATIVES distinct items for each row, uniformly from those its user never rated.

    Robert Floyd's algorithm (Bentley and Floyd 1987, "A sample of brilliance"), one step for all
    rows at a time, draws places among what a user has not rated; no draw is ever rejected.

    Args:
      generator: drawn from in the order of the rows, however they are cut into calls.
      user: int [r].
      rated: their ratings, distinct, in ascending order of user, then item.
      items: size of the catalogue.

    Returns:
      int64 [r, NEGATIVES], positions in the catalogue; where a user has fewer unrated items, all
      of them, then NO_ITEM.
    """
    first = np.searchsorted(rated[0], user)
    unrated = items - (np.searchsorted(rated[0], user, side="right") - first)
    size = np.minimum(unrated, NEGATIVES)
    uniform = generator.random((len(user), NEGATIVES))
    places = np.full((len(user), NEGATIVES), NO_ITEM)
    for step in range(NEGATIVES):
        last = unrated - size + step
        drawn = (uniform[:, step] * (last + 1)).astype(np.int64)
        is_taken = (places[:, :step] == drawn[:, None]).any(axis=1)
        places[:, step] = np.where(step < size, np.where(is_taken, last, drawn), NO_ITEM)
    # The item at place p is p plus the number of rated items with at most p unrated before them.
    before = rated[1] - (np.arange(len(rated[0])) - np.searchsorted(rated[0], rated[0]))
    width = items + 1
    skipped = np.searchsorted(
        rated[0] * width + before, user[:, None] * width + places, side="right"
    )
    return np.where(places == NO_ITEM, NO_ITEM, places + skipped - first[:, None])


def _of_users(place: np.ndarray, pairs: Pairs, items: int) -> Pairs:
    """The pairs of users that have a place, in order of place, then item."""
    user = place[pairs[0]]
    has_place = user >= 0
    codes = np.sort(user[has_place] * items + pairs[1][has_place])
    return codes // items, codes % items


def _between(pairs: Pairs, start: int, stop: int) -> Pairs:
    """The pairs of users `start` to `stop`, who become 0, 1, …"""
    first, last = np.searchsorted(pairs[0], (start, stop))
    return pairs[0][first:last] - start, pairs[1][first:last]
