"""A tiny recommendation problem in memory, for tests that need no file and no TFX."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
from tfx_recommender.trainer.fitting import batches, losses
from tfx_recommender.trainer.fitting.batches import Batch
from tfx_recommender.trainer.fitting.fit import Fitter, Untrained
from tfx_recommender.trainer.fitting.head import Head
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.fitting.losses import Loss
from tfx_recommender.trainer.fitting.problem import Catalogue, EntityShape, EntityTable, Problem
from tfx_recommender.trainer.fitting.settings import RankingTraining
from tfx_recommender.trainer.input_data import SplitRows
from tfx_recommender.trainer.recommender import Recommender
from tfx_recommender.transform.features import Columns, Feature
from tfx_recommender.transform.preprocessing import Z_SCORE_LIMIT

USERS, ITEMS = 30, 20
# Training that ends in seconds.
FAST = {"epochs": 8, "batch_size": 64, "learning_rate": 0.02, "patience": 8}
COLUMNS = Columns(
    1.0,
    5.0,
    False,
    (
        Feature("age", "numeric", "user"),
        Feature("gender", "category", "user"),
        Feature("genres", "categories", "item"),
    ),
)


def catalogue() -> Catalogue:
    """30 users with age and gender, 20 items with up to three genres."""
    rng = np.random.default_rng(0)
    users = EntityTable(
        raw_ids=np.array([f"u{n}".encode() for n in range(USERS)], object),
        index=np.arange(USERS + 1),
        numeric=np.append(rng.normal(size=(USERS, 1)), [[0.0]], axis=0).astype(np.float32),
        categories={"gender": np.append(rng.integers(0, 2, (USERS, 1)), [[-1]], axis=0)},
    )
    items = EntityTable(
        raw_ids=np.array([f"ï{n}".encode() for n in range(ITEMS)], object),
        index=np.arange(ITEMS + 1),
        numeric=np.zeros((ITEMS + 1, 0), np.float32),
        categories={"genres": np.append(rng.integers(-1, 4, (ITEMS, 3)), [[-1] * 3], axis=0)},
    )
    genders, genres = (b"F", b"M", b"\0"), (b"a", b"b", b"c", b"d", b"\0")
    return Catalogue(
        users,
        items,
        EntityShape("user", USERS + 1, USERS, 1, {"gender": genders}, np.full(USERS + 1, 7)),
        EntityShape("item", ITEMS + 1, ITEMS, 0, {"genres": genres}, 1 + np.arange(ITEMS + 1)),
    )


def interactions(count: int = 200) -> Interactions:
    """Distinct pairs, few items in most of them; ratings of biases and a taste of rank two."""
    rng = np.random.default_rng(1)
    popularity = np.tile(1.0 / np.arange(1, ITEMS + 1) ** 2, USERS)
    pairs = rng.choice(USERS * ITEMS, count, replace=False, p=popularity / popularity.sum())
    user, item = pairs // ITEMS, pairs % ITEMS
    taste, trait = rng.normal(size=(USERS, 2)), rng.normal(size=(ITEMS, 2))
    rating = 3 + np.sum(taste[user] * trait[item], axis=1) / 2 + rng.normal(size=ITEMS)[item] / 2
    return Interactions(user, item, np.clip(rating, 1, 5).astype(np.float32))


def events(rows: Interactions) -> Interactions:
    """The same pairs as events, which have no ratings but strengths, tenths to tens."""
    strength = np.random.default_rng(2).lognormal(size=len(rows)).astype(np.float32)
    return dataclasses.replace(rows, rating=None, strength=strength)


def two_tastes() -> Interactions:
    """Even users rate items of the first half, odd ones of the second, seven of ten each."""
    rng, half = np.random.default_rng(0), ITEMS // 2
    user = np.repeat(np.arange(USERS), 7)
    item = np.concatenate([rng.permutation(half)[:7] + half * (u % 2) for u in range(USERS)])
    rating = 3 + rng.normal(size=USERS)[user] + rng.normal(size=ITEMS)[item] / 2
    return Interactions(user, item, np.clip(rating, 1, 5).astype(np.float32), np.arange(len(user)))


def extremes() -> Problem:
    """Data of every shape that once made, or could make, a number that is none (M11).

    User 0 has 2,314 ratings (MovieLens-1M's most) at as many times, user 1 2,100 at one time, user
    2 only one; everybody rated item 0, nobody the last; metadata are as far out as Transform lets
    them be.
    """
    items, rng = 2400, np.random.default_rng(0)
    counts = [2314, 2100, 1, *rng.integers(2, 12, USERS - 3)]
    user = np.repeat(np.arange(USERS), counts)
    item = np.concatenate([np.append(0, 1 + rng.permutation(items - 2)[: n - 1]) for n in counts])
    time = np.where(user == 1, 7, np.arange(len(user)))
    rating = rng.integers(1, 6, len(user)).astype(np.float32)
    of = catalogue()
    numeric = np.clip([[1e30], [-1e30], [0.0]] * 11, -Z_SCORE_LIMIT, Z_SCORE_LIMIT)
    users = dataclasses.replace(of.users, numeric=numeric[: USERS + 1].astype(np.float32))
    genres = np.append(rng.integers(-1, 4, (items, 3)), [[-1] * 3], axis=0)
    all_items = EntityTable(
        raw_ids=np.array([f"ï{n}".encode() for n in range(items)], object),
        index=np.arange(items + 1),
        numeric=np.zeros((items + 1, 0), np.float32),
        categories={"genres": genres},
    )
    rated = np.append(np.bincount(item, minlength=items), 1)
    shape = dataclasses.replace(of.item_shape, ids=items + 1, vocabulary=items, ratings=rated)
    rows = Interactions(user, item, rating, time)
    held_out = Interactions(user[:40], item[:40], rating[:40])
    return Problem(Catalogue(users, all_items, of.user_shape, shape), rows, held_out, 8, seed=7)


def ratings(user_ids: np.ndarray, item_ids: np.ndarray) -> SplitRows:
    """Rows as `input_data.read` returns them, from ids (bytes)."""
    user_id, item_id = (
        pa.array(ids.tolist(), pa.binary()).dictionary_encode() for ids in (user_ids, item_ids)
    )
    return SplitRows(user_id, item_id)


def problem(rows: Interactions) -> Problem:
    """These rows to learn from, the first forty of them to stop by."""
    few = Interactions(
        rows.user[:40],
        rows.item[:40],
        None if rows.rating is None else rows.rating[:40],
        strength=None if rows.strength is None else rows.strength[:40],
    )
    return Problem(catalogue(), rows, few, history=8, seed=7)


def heads_of(
    architecture: str,
    rows: Interactions | Problem,
    plain: bool = False,
    fitter: Fitter | None = None,
) -> tuple[Head, Head, Fitter]:
    """Both heads of a small model of one architecture, and the fitter that made them.

    Args:
      architecture: a key of `ARCHITECTURES`.
      rows: the train split of the problem, or the problem.
      plain: whether regularisation is off.
      fitter: trains the heads; None: they stay as they are before training.
    """
    to_fit = rows if isinstance(rows, Problem) else problem(rows)
    keras.utils.set_random_seed(7)
    sampler: dict[str, object] = {"factors": 4, "sweeps": 60, "burn_in": 20, "samples": 20}
    off: dict[str, object] = {"l2": 0.0, "id_dropout": 0.0} if plain else {}
    mf = off | ({"bias_l2": 0.0} if plain else {})
    mlp = off | ({"dropout": 0.0} if plain else {})
    products = {"products": True, "l2_exponent": 0.5}
    wide = mlp | ({"wide_l2": 0.0} if plain else {})
    training: dict[str, object] = {"training": FAST} if fitter else {}
    hybrid = {"mf": sampler | {"side_information": 8}, "mlp": mlp} | training
    stages = {
        "candidates": {"architecture": "two_tower", **mlp, **training},
        "ranking": {"architecture": "mlp", **mlp, **training},
        "number": ITEMS // 2,
    }
    settings: dict[str, tuple[Mapping[str, object], Mapping[str, object]]] = {
        "mf": (sampler, mf | training),
        # What wide_deep, whose deep part is an MLP too, leaves out.
        "mlp": (mlp | products | training, mlp | products | training),
        "hybrid": (hybrid, mlp | training),
        "wide_deep": (wide | training, wide | training),
        "two_tower": (mlp | training, mlp | training),
        "two_stage": (hybrid, stages),
    }
    rating, preference = settings[architecture]
    row, fitter = ARCHITECTURES[architecture], fitter or Untrained(7)
    rating_head = row.model.fit_rating(row.rating.model_validate(rating), to_fit, fitter)
    preference_head = row.model.fit_preference(
        row.preference.model_validate(preference), to_fit, fitter
    )
    return rating_head, preference_head, fitter


def losses_of(architecture: str, rows: Interactions | Problem, plain: bool = False) -> list[Loss]:
    """The loss of each head of an untrained model: squared error, or softmax of 16 negatives.

    The rating head comes first, also where it is sampled and so has nothing to train.
    """
    to_fit = rows if isinstance(rows, Problem) else problem(rows)
    rating, _, fitter = heads_of(architecture, to_fit, plain)
    squared = losses.SquaredError(rating, to_fit.rating_mean, to_fit.rating_scale)
    ranking = [loss for loss in fitter.losses if isinstance(loss, losses.Ranking)]
    return [squared, *(losses.Softmax(loss.head, sampled=True) for loss in ranking)]


def recommender(rating: Head | None, preference: Head, rows: Interactions) -> Recommender:
    """The model of two heads."""
    of = problem(rows)
    return Recommender(rating, preference, of.rating_mean, of.rating_scale, (1.0, 5.0))


def batch(rows: Interactions | Problem, chosen: np.ndarray, by_user: bool = False) -> Batch:
    """A batch of chosen ratings (or users) as training makes it, every item as a negative."""
    of, own = (rows, rows.train) if isinstance(rows, Problem) else (problem(rows), rows)
    items = len(of.catalogue.items)
    how = RankingTraining(negatives=items)
    drawn = batches.Batches(own, of, how, by_user, seed=7)
    return drawn.gather(tf.constant(chosen, tf.int32), tf.range(items))
