"""Writes ratings with the statistics of LibimSeTi, which may not be redistributed.

Brožovský and Petříček 2007 collected 17,359,346 ratings from 1 to 10 that 135,359 users of a
dating site gave to 168,791 profiles. Imitated are the numbers of ratings that users give and
profiles receive, the histogram of ratings, which pairs occur, the spread of users' and profiles'
means, and a taste of low rank. A rating is an ordered logit (McCullagh 1980) whose mean is linear
in these effects, so the RMSE of the best possible model is known; it is written beside the data.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyarrow import csv

from tfx_recommender.foundation.errors import ConfigError

SETTINGS_FILE = "generator.json"

_QUANTILES = np.array([0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1])
_FEMALE, _MALE, _UNKNOWN = range(3)
_GENDERS = ("F", "M", "U")
_GENDER_SHARES = (0.44, 0.50, 0.06)
# Share of the pairs that could be of a woman and a man that are made so.
_BETWEEN_SEXES = 0.8
# Share of ratings from 1 to 10.
_HISTOGRAM = np.array([13, 6, 5, 6, 11, 10, 12, 11, 7.5, 18]) / 99.5

# Standard deviations of the effects, in rating points. Taste has one product of factors per rank.
# One rank: at LibimSeTi's density, each adds 0.5 % to the RMSE of even an ideal learner.
_WOMEN_ABOVE_MEN = 1.1
_USER_SD = 1.05
_ITEM_SD = 1.9
_TASTE_SD = (0.7,)
# Pairs are matched by the first factor of taste plus noise of this many standard deviations.
_BLUR = 1.5
# A mean closer than this to an end of the scale would leave no randomness in the rating.
_MARGIN = 0.1

_BLOCK_RATINGS = 1_000_000


@dataclasses.dataclass(frozen=True)
class _Degrees:
    """Numbers of ratings of one side, users or profiles, in LibimSeTi.

    Attributes:
      size: number of users, or profiles.
      quantiles: number of ratings of one of them, at `_QUANTILES`.
      activity: shift of a gender in the order by number of ratings, in standard deviations.
    """

    size: int
    quantiles: tuple[int, ...]
    activity: tuple[float, float, float]


_GIVEN = _Degrees(135_359, (20, 22, 29, 73, 124, 219, 1051, 25042), (-0.15, 0.15, 0))
_RECEIVED = _Degrees(168_791, (1, 1, 3, 17, 76, 228, 1275, 33389), (0.2, -0.2, 0))


@dataclasses.dataclass(frozen=True)
class Size:
    """The size of the data set; the defaults are LibimSeTi's.

    Attributes:
      users: number of users, each with at least one rating.
      items: number of profiles, each with at least one rating.
      ratings: number of distinct pairs of a user and a profile.
      seed: of everything random; the same settings give the same bytes.
    """

    users: int = _GIVEN.size
    items: int = _RECEIVED.size
    ratings: int = 17_359_346
    seed: int = 0

    def check(self) -> None:
        """Raises ConfigError if there are too many or too few ratings for these users and items."""
        most = self.users * self.items // 4
        least = max(self.users, self.items)
        if not least <= self.ratings <= most:
            raise ConfigError(
                f"--ratings {self.ratings}: {self.users} users and {self.items} items need from"
                f" {least} (one each) to {most} (a quarter of all pairs)"
            )


def write(folder: str, size: Size) -> None:
    """Writes the data set; memory grows with users and items, not with ratings.

    `ratings.dat` and `gender.dat` have LibimSeTi's form (`user,profile,rating` and
    `id,F|M|U`, no header; user 7 and profile 7 are one person). `generator.json` has the
    settings and `noise_floor_rmse`: the RMSE of predicting each rating's true mean.

    Args:
      folder: an existing folder.
      size: the size of the data set.
    """
    people = _People(size)
    schema = pa.schema([(name, pa.int32()) for name in ("user", "profile", "rating")])
    options = csv.WriteOptions(include_header=False)
    variance = 0.0
    scale: _Scale | None = None
    with csv.CSVWriter(os.path.join(folder, "ratings.dat"), schema, write_options=options) as file:
        for users, items in people.pairs():
            mean = people.effects(users, items)
            scale = scale or _Scale(mean)
            ratings, squared_error = scale.draw(mean, people.rng)
            variance += squared_error
            file.write(pa.record_batch([users + 1, items + 1, ratings], schema=schema))
    gender = pa.table(
        [
            pa.array(np.arange(1, len(people.gender) + 1)),
            pa.array(np.array(_GENDERS)[people.gender]),
        ],
        names=["id", "gender"],
    )
    options.quoting_style = "none"
    csv.write_csv(gender, os.path.join(folder, "gender.dat"), options)
    known = dataclasses.asdict(size) | {"noise_floor_rmse": math.sqrt(variance / size.ratings)}
    with open(os.path.join(folder, SETTINGS_FILE), "w", encoding="utf-8") as file:
        json.dump(known, file, indent=2)
        file.write("\n")


class _People:
    """Users and profiles: their genders, numbers of ratings, effects and tastes."""

    def __init__(self, size: Size) -> None:
        self.rng = rng = np.random.default_rng(size.seed)
        self.size = size
        self.gender = rng.choice(3, max(size.users, size.items), p=_GENDER_SHARES)
        self._given = _degrees(_GIVEN, size.users, size.items, size.ratings, self.gender, rng)
        self._received = _degrees(_RECEIVED, size.items, size.users, size.ratings, self.gender, rng)
        women_above = np.array([0.5, -0.5, 0])[self.gender[: size.users]] * _WOMEN_ABOVE_MEN
        # Effects are bounded: a mean beyond an end of the scale would be clipped, and clipped means
        # are not linear in the effects.
        self._user_effect = _uniform(rng, size.users) * _USER_SD + women_above
        appeal = rng.beta(0.6, 0.45, size.items)
        self._item_effect = (appeal - appeal.mean()) / appeal.std() * _ITEM_SD
        self._user_taste = _uniform(rng, len(_TASTE_SD), size.users)
        self._item_taste = _uniform(rng, len(_TASTE_SD), size.items)

    def pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Distinct pairs of users and items, int32 each, sorted, block by block."""
        left = self._received.copy()
        ends = np.cumsum(self._given)
        first = 0
        while first < self.size.users:
            done = ends[first] - self._given[first]
            last = max(first + 1, int(np.searchsorted(ends, done + _BLOCK_RATINGS, side="right")))
            users = np.repeat(np.arange(first, last, dtype=np.int32), self._given[first:last])
            received = self.rng.multivariate_hypergeometric(left, len(users), method="marginals")
            left -= received
            items = np.repeat(np.arange(self.size.items, dtype=np.int32), received)
            yield self._without_repeats(users, self._matched(users, items), items)
            first = last

    def effects(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Sum of the effects of each pair, in rating points; `_Scale` places its zero."""
        total = self._user_effect[users] + self._item_effect[items]
        for sd, of_user, of_item in zip(_TASTE_SD, self._user_taste, self._item_taste, strict=True):
            total += sd * of_user[users] * of_item[items]
        return total

    def _matched(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """`items` in an order that matches them with `users`."""
        matched = np.empty_like(items)
        user_left, item_left = np.ones(len(users), bool), np.ones(len(items), bool)
        for one, other in ((_FEMALE, _MALE), (_MALE, _FEMALE)):
            of_users = self.rng.permutation(np.flatnonzero(self.gender[users] == one))
            of_items = self.rng.permutation(np.flatnonzero(self.gender[items] == other))
            count = int(_BETWEEN_SEXES * min(len(of_users), len(of_items)))
            of_users, of_items = of_users[:count], of_items[:count]
            self._match(users, items, of_users, of_items, matched)
            user_left[of_users] = item_left[of_items] = False
        of_users, of_items = np.flatnonzero(user_left), np.flatnonzero(item_left)
        self._match(users, items, of_users, of_items, matched)
        return matched

    def _match(
        self,
        users: np.ndarray,
        items: np.ndarray,
        of_users: np.ndarray,
        of_items: np.ndarray,
        matched: np.ndarray,
    ) -> None:
        """Matches users and items of similar taste."""
        by_user = self._user_taste[0, users[of_users]] + self._blur(len(of_users))
        by_item = self._item_taste[0, items[of_items]] + self._blur(len(of_items))
        matched[of_users[np.argsort(by_user)]] = items[of_items[np.argsort(by_item)]]

    def _blur(self, count: int) -> np.ndarray:
        return self.rng.normal(0, _BLUR, count)

    def _without_repeats(
        self, users: np.ndarray, items: np.ndarray, popular: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Replaces repeated pairs; each item keeps at least one rating."""
        key = users.astype(np.int64) * self.size.items + items
        attempt = 0
        while True:
            key.sort()
            repeated = np.flatnonzero(key[1:] == key[:-1])
            if len(repeated) == 0:
                return np.divmod(key, self.size.items)
            # By popularity at first; then uniformly, for users who have rated all popular items.
            if attempt < 20:
                new = self.rng.choice(popular, len(repeated))
            else:
                new = self.rng.integers(self.size.items, size=len(repeated))
            key[repeated] += new - key[repeated] % self.size.items
            attempt += 1


class _Scale:
    """Turns effects into ratings from 1 to 10 with the wanted histogram.

    An ordered logit: rating r where a latent score x, plus standard logistic noise, falls
    between thresholds r - 1 and r. An effect is first mapped to the x whose mean rating it is, so
    that means are linear in the effects. The thresholds are chosen to give the histogram.
    """

    def __init__(self, effects: np.ndarray) -> None:
        """Finds the zero and the thresholds on a sample of effects, float64 [n]."""
        wanted = _HISTOGRAM @ np.arange(1, 11)
        self._zero = 0.0
        for _ in range(20):
            self._zero += wanted - self._means(effects).mean()
        at_least = 1 - np.cumsum(_HISTOGRAM)[:-1]
        counts, edges = np.histogram(self._means(effects), 1000)
        means, weights = (edges[1:] + edges[:-1]) / 2, counts / counts.sum()
        self._thresholds = -2 * np.log(at_least / (1 - at_least))
        for _ in range(40):
            self._tabulate()
            above = _sigmoid(np.interp(means, self._mean, self._x)[:, None] - self._thresholds)
            missing = weights @ above - at_least
            self._thresholds += np.clip(missing / (weights @ (above * (1 - above))), -0.2, 0.2)
        self._tabulate()

    def draw(self, effects: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Ratings, int32, and the expected sum of their squared distances from the true means."""
        mean = self._means(effects)
        x = np.interp(mean, self._mean, self._x)
        ratings = 1 + np.searchsorted(self._thresholds, x + rng.logistic(size=len(x)))
        return ratings.astype(np.int32), float(np.interp(mean, self._mean, self._variance).sum())

    def _tabulate(self) -> None:
        self._x = np.linspace(self._thresholds[0] - 8, self._thresholds[-1] + 8, 1001)
        above = _sigmoid(self._x[:, None] - self._thresholds)
        self._mean = 1 + above.sum(axis=1)
        # E[(r - 1)^2] is the sum of (2k - 1) P(r > k) over k from 1 to 9.
        self._variance = above @ (2.0 * np.arange(1, 10) - 1) - (self._mean - 1) ** 2

    def _means(self, effects: np.ndarray) -> np.ndarray:
        return np.clip(effects + self._zero, 1 + _MARGIN, 10 - _MARGIN)


def _degrees(
    like: _Degrees,
    size: int,
    others: int,
    ratings: int,
    gender: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """The number of ratings of each, int64 [size], from 1 to others / 2; the sum is `ratings`."""

    # Between the known quantiles the logarithm is linear in a power of the share above, the
    # power chosen so that the mean comes out as LibimSeTi's.
    def above(quantile: np.ndarray) -> np.ndarray:
        return (1 - quantile) ** 0.2

    known = np.append(_QUANTILES[:-1], 1 - 0.5 / like.size)
    at = (np.arange(size) + 0.5) / size
    shape = np.exp(np.interp(-above(at), -above(known), np.log(like.quantiles)))
    low, high = 0.0, float(ratings)
    for _ in range(100):
        factor = (low + high) / 2
        enough = np.clip(factor * shape, 1, others // 2).sum() > ratings
        low, high = (low, factor) if enough else (factor, high)
    # Rounding the running sum leaves no remainder to place.
    beyond_one = np.round(np.cumsum(np.clip(low * shape, 1, others // 2) - 1)).astype(np.int64)
    beyond_one[-1] = ratings - size
    degrees = 1 + np.diff(beyond_one, prepend=0)
    activity = rng.normal(size=size) + np.array(like.activity)[gender[:size]]
    result = np.empty(size, np.int64)
    result[np.argsort(activity)] = degrees
    return result


def _uniform(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Uniform with mean 0 and standard deviation 1."""
    return rng.uniform(-math.sqrt(3), math.sqrt(3), shape)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
