"""A/A: the same data again and again, with other seeds. What is pushed, and what is it truly worth?

Models are small but real: both heads of `mf`, fitted by the trainer's own code to ratings of a
made-up shop whose users' tastes are known. So a model's true RMSE and HitRate@K can be measured on
as many fresh rows as one likes. Ranks, row values and decisions are the product's own.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.gate_simulation import Rule
from tfx_recommender.components.evaluator import catalogue, evidence

USERS, ITEMS, K = 300, 120, 10
FRESH = 100
"""Fresh rows of each user, by which models are truly judged."""
_PER_USER = {"test": 3, "validation": 2}
_SETTINGS: dict[str, dict[str, Any]] = {
    "rating": {"factors": 4, "sweeps": 40, "burn_in": 20, "samples": 10},
    "preference": {
        "embedding_size": 4,
        "l2": 0.001,
        "training": {"epochs": 12, "batch_size": 512, "learning_rate": 0.02},
    },
}
_RANGE = (1.0, 5.0)
METRICS = ("rmse", "hit_rate")

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Users, items and ratings [R]."""


@dataclasses.dataclass(frozen=True)
class Shop:
    """Ratings of a made-up shop.

    Attributes:
      parts: train, validation, test and fresh rows. Fresh ones are drawn as the others were, of
        items that the user has not rated in training.
    """

    parts: dict[str, Rows]


@functools.cache
def shop(seed: int = 0) -> Shop:
    """Biases, tastes of three dimensions, and noise; popular items are chosen more often."""
    rng = np.random.default_rng(seed)
    taste, trait = rng.normal(size=(USERS, 3)), rng.normal(size=(ITEMS, 3))
    popularity = rng.dirichlet(np.ones(ITEMS))
    weight = popularity * np.exp(taste @ trait.T)
    parts: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": [], "fresh": []}
    for user in range(USERS):
        chance = weight[user] / weight[user].sum()
        items = rng.permutation(rng.choice(ITEMS, rng.integers(18, 34), replace=False, p=chance))
        ends = np.cumsum([*_PER_USER.values()])
        test, validation, train = np.split(items, ends)
        chance[train] = 0
        fresh = rng.choice(ITEMS, FRESH, p=chance / chance.sum())
        for name, chosen in zip(parts, (train, validation, test, fresh), strict=True):
            parts[name].append(np.stack([np.full(len(chosen), user), chosen], axis=1))

    def rated(pairs: list[np.ndarray]) -> Rows:
        user, item = np.concatenate(pairs).T
        score = 3 + 0.6 * np.sum(taste[user] * trait[item], axis=1)
        rating = np.clip(np.round(score + rng.normal(0, 0.5, len(user))), *_RANGE)
        return user, item, rating.astype(np.float32)

    return Shop({name: rated(pairs) for name, pairs in parts.items()})


@dataclasses.dataclass(frozen=True)
class Judged:
    """One trained model.

    Attributes:
      rows: metric -> its value in each test row [R].
      truth: metric -> its value on the fresh rows.
    """

    rows: dict[str, np.ndarray]
    truth: dict[str, float]


def retrain(seed: int) -> Judged:
    """Fits both heads, by the code of a Trainer node, and judges them."""
    import tensorflow as tf

    from tfx_recommender.components import first_baseline
    from tfx_recommender.trainer import input_data, run_fn
    from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
    from tfx_recommender.trainer.fitting.problem import Catalogue, Problem
    from tfx_recommender.trainer.fitting.settings import history_length

    tf.config.experimental.enable_op_determinism()
    parts = shop().parts

    def ids(numbers: np.ndarray) -> pa.DictionaryArray:
        return pa.array([b"%05d" % number for number in numbers]).dictionary_encode()

    # All in training, so that a place in the catalogue is a number of ours.
    everyone = input_data.SplitRows(
        ids(np.arange(USERS)), ids(np.arange(ITEMS)), np.zeros(0, np.float32)
    )
    users, items = (first_baseline.entities(side) for side in (everyone.user_id, everyone.item_id))
    shapes = first_baseline.shape("user", users), first_baseline.shape("item", items)
    train, validation = (
        input_data.interactions(input_data.SplitRows(ids(u), ids(i), r), users, items)
        for u, i, r in (parts["train"], parts["validation"])
    )
    row = ARCHITECTURES["mf"]
    rating, preference = (
        kind(**_SETTINGS[name])
        for name, kind in (("rating", row.rating), ("preference", row.preference))
    )
    problem = Problem(
        Catalogue(users, items, *shapes),
        train,
        validation,
        history_length(rating, preference),
        seed,
    )
    model = run_fn.fit("mf", rating, preference, problem, _RANGE, seed)
    tables = users.batch(), items.batch()

    def gathered(table: Any, places: np.ndarray) -> Any:
        return tf.nest.map_structure(lambda column: tf.gather(column, places), table)

    def rate(user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return np.asarray(model.rate(gathered(tables[0], user), gathered(tables[1], item)))

    preferred = np.asarray(
        model.prefer_all(
            gathered(tables[0], np.arange(USERS)), gathered(tables[1], np.arange(ITEMS))
        )
    )
    values = {part: _row_values(parts[part], rate, preferred) for part in ("test", "fresh")}
    truth = {
        name: float(_metric(name).of_mean(of_rows.mean()))
        for name, of_rows in values["fresh"].items()
    }
    return Judged(values["test"], truth)


def _row_values(
    rows: Rows, rate: Callable[[np.ndarray, np.ndarray], np.ndarray], preferred: np.ndarray
) -> dict[str, np.ndarray]:
    from tfx_recommender.components.evaluator import ranking

    user, item, label = rows
    history = shop().parts["train"][:2]
    rank = ranking.rank(
        lambda users: preferred[users], USERS, ITEMS, (user, item), np.ones(len(user), bool),
        history=history, known=_pairs_once(history, (user, item)), k=K, seed=0,
    ).rank  # fmt: skip
    error = rate(user, item).astype(float) - label
    return {
        "rmse": catalogue.Rmse().of_errors(error),
        "hit_rate": catalogue.HitRate().of_rows(rank, K),
    }


def _pairs_once(*pairs: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    codes = np.unique(np.concatenate([user * ITEMS + item for user, item in pairs]))
    return codes // ITEMS, codes % ITEMS


def save(models: list[Judged], path: str) -> None:
    """Keeps what was trained, so that tables can be made anew in a second."""
    columns = {}
    for name in METRICS:
        columns[f"rows_{name}"] = np.stack([model.rows[name] for model in models])
        columns[f"truth_{name}"] = np.array([model.truth[name] for model in models])
    np.savez_compressed(path, **columns)  # type: ignore[arg-type]


def load(path: str) -> list[Judged]:
    """What `save` has kept."""
    with np.load(path) as kept:
        columns = dict(kept)
    return [
        Judged(
            {name: columns[f"rows_{name}"][n] for name in METRICS},
            {name: float(columns[f"truth_{name}"][n]) for name in METRICS},
        )
        for n in range(len(columns["rows_rmse"]))
    ]


def _metric(name: str) -> catalogue.RowMetric:
    row = catalogue.METRICS[name]
    assert isinstance(row, catalogue.RowMetric)
    return row


def compare(name: str, own: Judged, baseline: Judged) -> evidence.Estimate:
    """How much better the one is on the test rows."""
    row = _metric(name)
    sign = -1 if row.better == "lower" else 1
    users = shop().parts["test"][0]
    return evidence.estimate(
        evidence.user_parts(users, own.rows[name], baseline.rows[name]),
        lambda n, mine, other: sign * (row.of_mean(mine / n) - row.of_mean(other / n)),
    )


def passes(rule: Rule, own: Judged, baseline: Judged, comparison: int) -> bool:
    """Whether both gates let the one pass."""
    return all(rule.passes(compare(name, own, baseline), comparison) for name in METRICS)


def pushes(rule: Rule, models: list[Judged]) -> Iterator[Judged]:
    """The first model, and whatever the gates on both metrics let pass after it, night by night."""
    served, comparison = models[0], 1
    yield served
    for candidate in models[1:]:
        is_pushed = passes(rule, candidate, served, comparison)
        comparison += 1
        if is_pushed:
            served, comparison = candidate, 1
            yield served
