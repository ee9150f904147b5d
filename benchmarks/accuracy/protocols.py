"""MovieLens-100k and how it is split; what a model is given, and nothing else.

Ratings stand in file order (that of GroupLens' `u.data`), which the random splits refer to.

- `5-fold`: `KFold(n_splits=5, random_state=0, shuffle=True)` of Surprise.
- `90-10`: the first 10,000 rows of `numpy.random.default_rng(42).permutation(100000)` are test.
- `last-out`: each user's last rating is test; the order is by time, then by item id.

Validation is carved out of a split's train rows: a tenth of them at random, or each user's last.
"""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np

USERS, ITEMS = 943, 1682
RANDOM, LAST_OUT = ("5-fold", "90-10"), "last-out"
PROTOCOLS = (*RANDOM, LAST_OUT)


@dataclasses.dataclass(frozen=True)
class MovieLens:
    """All of it. Users and items are numbered from 0: id 1 is row 0.

    Attributes:
      user: int64 [100000].
      item: int64 [100000].
      rating: 1 to 5, float32 [100000].
      time: seconds, int64 [100000].
      age: float64 [943].
      gender: str [943].
      occupation: str [943].
      year: float64 [1682]; NaN where it is not known.
      genres: names joined by `|`, str [1682].
    """

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    time: np.ndarray
    age: np.ndarray
    gender: np.ndarray
    occupation: np.ndarray
    year: np.ndarray
    genres: np.ndarray


@dataclasses.dataclass(frozen=True)
class Split:
    """Rows of the ratings, int64 each.

    Attributes:
      name: the protocol, and the fold where there are several.
      train: to fit to.
      held_out: to be judged by.
    """

    name: str
    train: np.ndarray
    held_out: np.ndarray


def load(folder: Path) -> MovieLens:
    """Reads what `tfx-recommender data movielens-100k` wrote."""
    ratings, users, items = (
        _read(folder / f"{name}.csv") for name in ("ratings", "users", "items")
    )
    users.sort(key=lambda row: int(row["user_id"]))
    items.sort(key=lambda row: int(row["item_id"]))

    def numbers(name: str) -> np.ndarray:
        return np.array([int(row[name]) for row in ratings], np.int64)

    return MovieLens(
        user=numbers("user_id") - 1,
        item=numbers("item_id") - 1,
        rating=np.array([row["rating"] for row in ratings], np.float32),
        time=numbers("timestamp"),
        age=np.array([float(row["age"]) for row in users]),
        gender=np.array([row["gender"] for row in users]),
        occupation=np.array([row["occupation"] for row in users]),
        year=np.array([float(row["release_year"] or "nan") for row in items]),
        genres=np.array([row["genres"] for row in items]),
    )


def splits(protocol: str, data: MovieLens) -> list[Split]:
    """The splits of a protocol: five, or one."""
    rows = np.arange(len(data.rating))
    if protocol == "5-fold":
        np.random.RandomState(0).shuffle(rows)
        folds = np.array_split(rows, 5)
        return [
            Split(f"5-fold/{n}", np.concatenate(folds[:n] + folds[n + 1 :]), fold)
            for n, fold in enumerate(folds)
        ]
    if protocol == "90-10":
        order = np.random.default_rng(42).permutation(len(rows))
        return [Split("90-10", order[10_000:], order[:10_000])]
    return [_last_out("last-out", rows, data)]


def validation(split: Split, data: MovieLens) -> Split:
    """The same kind of split of the train rows alone."""
    name = f"{split.name}/validation"
    if split.name == LAST_OUT:
        return _last_out(name, split.train, data)
    order = np.random.default_rng(7).permutation(split.train)
    return Split(name, order[len(order) // 10 :], order[: len(order) // 10])


def negatives(data: MovieLens) -> np.ndarray:
    """99 distinct items for each user that the user never rated, int64 [943, 99]."""
    rated = np.zeros((USERS, ITEMS), bool)
    rated[data.user, data.item] = True
    rng = np.random.default_rng(0)
    return np.stack([rng.choice(np.flatnonzero(~row), 99, replace=False) for row in rated])


def save(path: Path, split: Split, data: MovieLens) -> None:
    """What a model may know: the train ratings, all metadata, and the pairs held out."""
    np.savez(
        path,
        **{
            f"train_{name}": getattr(data, name)[split.train]
            for name in ("user", "item", "rating", "time")
        },
        **{f"held_out_{name}": getattr(data, name)[split.held_out] for name in ("user", "item")},
        **{name: getattr(data, name) for name in ("age", "gender", "occupation", "year", "genres")},
    )


def _last_out(name: str, rows: np.ndarray, data: MovieLens) -> Split:
    ordered = rows[np.lexsort((data.item[rows], data.time[rows], data.user[rows]))]
    last = np.append(np.diff(data.user[ordered]) != 0, True)
    return Split(name, ordered[~last], ordered[last])


def _read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
