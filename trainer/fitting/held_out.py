"""How well scores rank the validation split, for models that are fitted in closed form.

Such models are fitted several times with other hyperparameters, so judging one must take little:
scores come as plain matrices, and of a large split a random part is enough.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfx_recommender.foundation import formulas
from tfx_recommender.trainer.fitting.problem import Problem

# NDCG@K is judged; a random so many validation rows say it to a few per cent. Of a very large
# catalogue fewer are ranked, down to so many scores, for these take the time.
_K = 10
_ROWS, _LEAST_ROWS, _ALL_SCORES = 4096, 1024, 1 << 28
# So many scores are held at once.
_SCORES = 1 << 24


class HeldOut:
    """Validation rows, and what each one's user rated in training.

    Rows whose user or item training does not know are left out, as in `validation.ndcg`; so is
    what was seen in training.

    Attributes:
      user: positions in the users' `EntityTable`, ascending, int64 [R].
      item: positions in the items' `EntityTable`, int64 [R].
    """

    def __init__(self, problem: Problem, seed: int, chosen: np.ndarray | None = None) -> None:
        """Draws the rows.

        Args:
          problem: whose validation split it is.
          seed: of the draw.
          chosen: which users count, bool [users]; None: all.
        """
        rows, train = problem.validation, problem.train
        users, items = len(problem.catalogue.users), len(problem.catalogue.items)
        counts = np.append(np.ones(users, bool) if chosen is None else chosen, False)
        known = np.flatnonzero(counts[rows.user] & (rows.item < items))
        asked = np.zeros(users, bool)
        asked[rows.user[known]] = True
        own = np.flatnonzero(asked[train.user])
        seen = train.user[own] * items + train.item[own]
        known = known[~np.isin(rows.user[known] * items + rows.item[known], seen)]
        most = min(_ROWS, max(_LEAST_ROWS, _ALL_SCORES // max(1, items)))
        if len(known) > most:
            known = np.random.default_rng(seed).choice(known, most, replace=False)
        known = known[np.argsort(rows.user[known], kind="stable")]
        self.user, self.item = rows.user[known], rows.item[known]
        own = own[np.argsort(train.user[own], kind="stable")]
        self._rated = train.item[own]
        self._end = np.cumsum(np.bincount(train.user[own], minlength=users))
        self._count = np.bincount(train.user[own], minlength=users)
        self._size = max(1, _SCORES // max(1, items))

    def __len__(self) -> int:
        return len(self.user)

    def ndcg(self, score: Callable[[np.ndarray], np.ndarray]) -> float:
        """NDCG@10: each item among all that its user has not rated, ties counted against it.

        Args:
          score: positions of users int64 [B] -> scores of all items, float32 [B, items].
        """
        gains = [np.zeros(0)]
        for start in range(0, len(self), self._size):
            user, item = (side[start : start + self._size] for side in (self.user, self.item))
            scores = score(user)
            own = scores[np.arange(len(user)), item]
            # NaN is never ahead, and a row that scores NaN has lost.
            ahead = np.sum(~(scores < own[:, None]), axis=1) - 1
            count = self._count[user]
            row = np.repeat(np.arange(len(user)), count)
            place = np.arange(len(row)) + np.repeat(self._end[user] - np.cumsum(count), count)
            rated = self._rated[place]
            hidden = ~(scores[row, rated] < own[row])
            gains.append(formulas.gain(ahead - np.bincount(row[hidden], minlength=len(user)), _K))
        return float(np.mean(np.concatenate(gains))) if len(self) else 0.0
