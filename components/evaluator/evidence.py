"""How sure it is that one model beats another on the same test rows.

The unit is the user: rows of one user resemble each other, so what is drawn at random are users,
each with all of its rows. A metric of all rows is a function of three sums over users; leaving each
user out in turn tells how much the metric owes to that user, and by that how far it may be off.

A model that learns every night is compared every night, and by luck alone one of many comparisons
looks well. `confidence` says how the error that is allowed is spent among them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from scipy import special

USER, ROWS, OWN, BASELINE = range(4)
"""Columns of users' sums: the user's code, its rows, and of each model the sum of row values."""

POWER = 0.8
"""Where a number of rows is said to tell a difference, it does so this often."""

Statistic = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""A metric from sums over rows [...]: rows, own, baseline."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure and how far chance may have moved it.

    Attributes:
      value: the figure.
      error: its standard error; NaN of fewer than two users.
      freedom: degrees of freedom of the error.
      rows: test rows that it is made of.
      users: users that these are of.
    """

    value: float
    error: float
    freedom: float
    rows: int
    users: int

    def lower_bound(self, confidence: float) -> float:
        """Lower end of the one-sided confidence interval by Student's distribution.

        NaN where the value or the error is.
        """
        if self.error == 0:
            return self.value
        return self.value - float(special.stdtrit(self.freedom, confidence)) * self.error

    def rows_to_tell(self, difference: float, confidence: float) -> float:
        """So many rows tell a difference from nothing, with POWER; NaN where nothing is known.

        By the spread of the rows at hand (Cohen 1988, eq. 12.2 in the normal approximation).

        Args:
          difference: between what the model is worth and what is asked for.
          confidence: of the lower bound that must show it.
        """
        if not (self.error > 0 and difference > 0):
            return math.nan
        quantiles = float(special.ndtri(confidence) + special.ndtri(POWER))
        return math.ceil(self.rows * (quantiles * self.error / difference) ** 2)


def of_users(parts: np.ndarray) -> np.ndarray:
    """Adds up parts of users' sums, whose users may recur: float64 [P, 4] -> [U, 4], by user."""
    users, place = np.unique(parts[:, USER], return_inverse=True)
    sums = np.zeros((len(users), parts.shape[1]))
    np.add.at(sums, place, parts)
    sums[:, USER] = users
    return sums


def user_parts(user: np.ndarray, own: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Users' sums of some rows [R]: float64 [U, 4]."""
    return of_users(np.stack([user, np.ones(len(user)), own, baseline], axis=1).astype(float))


def unseen_parts(user: np.ndarray) -> np.ndarray:
    """The same of users with no row among those at hand: they are in the population only."""
    parts = np.zeros((len(user), 4))
    parts[:, USER] = user
    return of_users(parts)


def share_unseen(sums: np.ndarray) -> float:
    """The share of users without a row; 1 where there is no user."""
    return 1 - np.count_nonzero(sums[:, ROWS]) / len(sums) if len(sums) else 1.0


def estimate(sums: np.ndarray, statistic: Statistic, share_unseen: float = 1.0) -> Estimate:
    """The statistic of all users, and its error by the jackknife that leaves out a user at a time.

    Efron and Tibshirani 1993, eq. 11.5, about the value itself, which MacKinnon, Nielsen and Webb
    2023 ("Leverage, influence, and the jackknife in clustered regression models") call CV3: a user
    with many rows is weighed in full, where sandwich estimators take its error for smaller than it
    is. The degrees of freedom are Satterthwaite's (1946), by the fourth power of the users'
    contributions, and at most one less than so many users of equal size say as much as these
    (Kish 1965; Carter, Schnepel and Steigerwald 2017): few, where few users decide.

    Args:
      sums: users' sums, float64 [U, 4]; users without a row are left aside.
      statistic: of the sums over users.
      share_unseen: the part of the population that is not in the sample. 1: the users stand for
        those to come. Below: for a finite population that they are part of, and the error is
        smaller by its root (Cochran 1977, eq. 2.20); 0: they are all of it.
    """
    sums = sums[sums[:, ROWS] > 0][:, ROWS:]
    users = len(sums)
    total = sums.sum(axis=0)
    if users < 2:
        value = float(statistic(*total)) if users else math.nan
        return Estimate(value, math.nan if share_unseen else 0.0, math.nan, int(total[0]), users)
    value = float(statistic(*total))
    contribution = value - statistic(*(total - sums).T)
    square = contribution**2
    spread = float(square.sum())
    fourth = float((square**2).sum()) - spread**2 / users
    freedom = max(1.0, float(total[0] ** 2 / np.sum(sums[:, 0] ** 2)) - 1)
    if fourth > 0:
        freedom = min(freedom, 2 * spread**2 / fourth)
    error = math.sqrt((users - 1) / users * spread * share_unseen)
    return Estimate(value, error, freedom, int(total[0]), users)


def confidence(wanted: float, candidates: int, comparison: int) -> float:
    """The confidence of one comparison, so that all since the last push have what is wanted.

    The error that is allowed is spent: comparison number t may take the share 1 / (t (t + 1)) of
    it, and these shares add up to 1 however many nights there are; the candidates of a night share
    alike. So says Bonferroni's inequality, whatever the comparisons have in common: the same test
    rows again, some of them, or new ones. (Spending error over looks is due to Lan and DeMets
    1983.)

    Args:
      wanted: that nothing is pushed which is not better, below 1.
      candidates: models of one night that may be pushed, at least 1.
      comparison: 1 for the first night since the served model was pushed, then 2, ….
    """
    return 1 - (1 - wanted) / (candidates * comparison * (comparison + 1))
