"""Fits our models, by the trainer's own code; a worker in `.venv`."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal
from unittest import mock

import numpy as np
import tensorflow as tf

from benchmarks.accuracy import protocols, worker
from benchmarks.accuracy.worker import Arrays, Fitted
from tfx_recommender.foundation.settings import Settings
from tfx_recommender.trainer import baseline
from tfx_recommender.trainer.architectures import bayesian_factorization, ensemble, model
from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
from tfx_recommender.trainer.fitting.fit import Fitter, Untrained
from tfx_recommender.trainer.fitting.head import EntityBatch, Head, Tensor
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.fitting.problem import Catalogue, EntityShape, EntityTable, Problem
from tfx_recommender.trainer.fitting.settings import history_length
from tfx_recommender.trainer.recommender import Recommender

RANGE = (1.0, 5.0)


def fit(arrays: Arrays, task: str, name: str, settings: dict[str, Any], seed: int) -> Fitted:
    """Fits a baseline, or one head of an architecture.

    `settings`: `head`, its hyperparameters; `members`, how many are averaged; and for ablations
    `features: false` (no metadata), `times: false` (no timestamps), `noise: false` (one precision
    for all ratings), `sampler: false` (MF of ratings optimised instead of sampled).
    """
    tf.config.experimental.enable_op_determinism()  # as a Trainer does
    catalogue = catalogue_of(arrays, settings.get("features", True))
    train = _interactions(arrays, catalogue)
    passes = 0
    if name == "baseline":
        sizes = len(catalogue.users), len(catalogue.items)
        recommender = baseline.bias_and_popularity(train, *sizes, RANGE)
    else:
        if not settings.get("times", True):
            train = dataclasses.replace(train, time=None)
        config = _config(task, name, settings)
        # Nothing to stop by: all epochs are run.
        empty = train.user[:0], train.item[:0], train.known_rating()[:0]
        none = Interactions(*empty, train.time)
        problem = Problem(catalogue, train, none, history_length(config), seed)
        members = settings.get("members", 1)
        head = ensemble.of(
            [
                _head(task, name, config, settings, problem, seed * members + n)
                for n in range(members)
            ]
        )
        # One head stands for both.
        recommender = Recommender(head, head, problem.rating_mean, problem.rating_scale, RANGE)
        passes = members * _passes(config)
        catalogue = problem.catalogue
    users, items = catalogue.users.batch(), catalogue.items.batch()

    def rate() -> np.ndarray:
        pairs = positions(arrays, "held_out", catalogue)
        rows = [_rows(table, place) for table, place in zip((users, items), pairs, strict=True)]
        return np.asarray(recommender.rate(*rows))

    def prefer() -> np.ndarray:
        user = _place(catalogue.users, np.arange(protocols.USERS))
        rows = _rows(items, _place(catalogue.items, np.arange(protocols.ITEMS)))
        blocks = np.array_split(user, 16)  # bounds the memory of hidden layers
        return np.concatenate(
            [np.asarray(recommender.prefer_all(_rows(users, block), rows)) for block in blocks]
        )

    return Fitted(passes, rate if task == "rating" else prefer)


def _config(task: str, architecture: str, settings: dict[str, Any]) -> Settings:
    heads = ARCHITECTURES[architecture]
    if task == "ranking":
        kind = heads.preference
    else:
        kind = heads.rating if settings.get("sampler", True) else heads.preference
    return kind.model_validate(settings.get("head", {}))


def _head(
    task: str,
    architecture: str,
    config: Settings,
    settings: dict[str, Any],
    problem: Problem,
    seed: int,
) -> Head:
    if task == "ranking":
        return model.fit_preference(architecture, config, problem, Fitter(seed))
    if not settings.get("sampler", True):
        head = model.fit_preference(architecture, config, problem, Untrained(seed))
        return Fitter(seed).rating(head, problem, getattr(config, "training"))  # noqa: B009 - each architecture's own
    # With so strong a prior no user's or item's precision moves away from the common one.
    prior = bayesian_factorization._NOISE_PRIOR if settings.get("noise", True) else 1e9
    with mock.patch.object(bayesian_factorization, "_NOISE_PRIOR", prior):
        return model.fit_rating(architecture, config, problem, Fitter(seed))


def _passes(config: Settings) -> int:
    """Sweeps of a sampler, and epochs of what is trained."""
    training = getattr(config, "training", None)
    epochs = training.epochs if training else 0
    return epochs + getattr(getattr(config, "mf", config), "sweeps", 0)


def catalogue_of(arrays: Arrays, features: bool = True) -> Catalogue:
    """Users and items of the train ratings, encoded as Transform does with the shipped config."""
    users, items = (
        _SideEncoder("user", arrays["train_user"]),
        _SideEncoder("item", arrays["train_item"]),
    )
    if features:
        users.numeric.append(arrays["age"])
        users.categories["gender"] = [[value] for value in arrays["gender"]]
        users.categories["occupation"] = [[value] for value in arrays["occupation"]]
        items.numeric.append(arrays["year"])
        items.categories["genres"] = [
            str(genres).split("|") if genres else [] for genres in arrays["genres"]
        ]
    return Catalogue(users.entities(), items.entities(), users.shape(), items.shape())


class _SideEncoder:
    def __init__(self, side: Literal["user", "item"], rows: np.ndarray) -> None:
        self.side: Literal["user", "item"] = side
        self.rows, self.known = rows, np.unique(rows)
        self.numeric: list[np.ndarray] = []
        self.categories: dict[str, list[list[str]]] = {}

    def entities(self) -> EntityTable:
        """Everyone in train, in order of id; the row after the last stands for the unknown."""
        numeric = [self._z_score(values) for values in self.numeric]
        table = np.stack(numeric, axis=1) if numeric else np.zeros((len(self.known), 0))
        return EntityTable(
            raw_ids=np.array([str(number).encode() for number in self.known], object),
            index=np.arange(len(self.known) + 1),
            numeric=np.append(table, np.zeros((1, table.shape[1])), axis=0).astype(np.float32),
            categories={name: self._codes(name) for name in self.categories},
        )

    def shape(self) -> EntityShape:
        """One OOV bucket; each category has one more value than are known."""
        size = len(self.known)
        values = {
            name: (*(value.encode() for value in self._vocabulary(name)), b"")
            for name in self.categories
        }
        ratings = np.append(np.unique(self.rows, return_counts=True)[1], 0)
        return EntityShape(self.side, size + 1, size, len(self.numeric), values, ratings)

    def _z_score(self, values: np.ndarray) -> np.ndarray:
        """Over ratings, as tft.scale_to_z_score; 0 where missing."""
        ratings = values[self.rows]
        score = (values[self.known] - np.nanmean(ratings)) / np.nanstd(ratings)
        return np.nan_to_num(score)

    def _vocabulary(self, name: str) -> list[str]:
        values = self.categories[name]
        return sorted({value for entity in self.known for value in values[entity]})

    def _codes(self, name: str) -> np.ndarray:
        code = {value: n for n, value in enumerate(self._vocabulary(name))}
        values = self.categories[name]
        width = max(len(values[entity]) for entity in self.known)
        codes = np.full((len(self.known) + 1, width), -1)
        for row, entity in enumerate(self.known):
            codes[row, : len(values[entity])] = [code[value] for value in values[entity]]
        return codes


def _place(entities: EntityTable, ids: np.ndarray) -> np.ndarray:
    """Position of each id; the row after the last where it is unknown."""
    known = entities.raw_ids.astype(int)
    place = np.searchsorted(known, ids)
    found = known[np.minimum(place, len(known) - 1)] == ids
    return np.where(found, place, len(known))


def positions(arrays: Arrays, part: str, catalogue: Catalogue) -> tuple[np.ndarray, np.ndarray]:
    """Users and items of the ratings of a part, as positions in the catalogue."""
    return (
        _place(catalogue.users, arrays[f"{part}_user"]),
        _place(catalogue.items, arrays[f"{part}_item"]),
    )


def _interactions(arrays: Arrays, catalogue: Catalogue) -> Interactions:
    user, item = positions(arrays, "train", catalogue)
    return Interactions(user, item, arrays["train_rating"], arrays["train_time"])


def _rows(table: EntityBatch[np.ndarray], rows: np.ndarray) -> EntityBatch[Tensor]:
    return tf.nest.map_structure(lambda column: tf.gather(column, rows), table)


if __name__ == "__main__":
    worker.serve(fit)
