"""Metrics of a head on the validation split, by the Evaluator's formulas."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfx_recommender.foundation import formulas
from tfx_recommender.trainer.fitting.head import EntityBatch, Head, Tensor, score_pairs, shared
from tfx_recommender.trainer.fitting.histories import Grouped
from tfx_recommender.trainer.fitting.problem import Problem

_ROWS = 256


def rmse(head: Head, problem: Problem, rating_range: tuple[float, float]) -> float:
    """RMSE of a rating head's clipped predictions on the validation rows."""
    rows, catalogue = problem.validation, problem.catalogue
    predictions = [np.zeros(0)]
    for part in _parts(len(rows)):
        users = _rows(catalogue.users.batch(), rows.user[part])
        items = _rows(catalogue.items.batch(), rows.item[part])
        score = score_pairs(head, users, items).numpy()
        predicted = problem.rating_mean + problem.rating_scale * score
        predictions.append(np.clip(predicted, *rating_range))
    return formulas.rmse(np.concatenate(predictions), rows.known_rating())


def ndcg(head: Head, problem: Problem, k: int) -> float:
    """NDCG@k of a preference head on the validation rows.

    Each row's item is ranked among the items that its user has not rated in training; ties count
    against it. Rows with an unknown user or item are left out. 0 if no row is left.
    """
    rows, catalogue = problem.validation, problem.catalogue
    users, items = len(catalogue.users), len(catalogue.items)
    rated = Grouped(problem.train.user, problem.train.item, users)
    known = np.flatnonzero((rows.user < users) & (rows.item < items))
    vectors = shared(head.item(_rows(catalogue.items.batch(), np.arange(items))))
    gains = []
    for part in _parts(len(known)):
        user, item = rows.user[known[part]], rows.item[known[part]]
        of_user = head.user(_rows(catalogue.users.batch(), user))
        scores = head.interact(of_user, vectors)
        own = tf.gather(scores, item, batch_dims=1)
        hidden = tf.concat([rated.of(user), np.stack([np.arange(len(user)), item], 1)], axis=0)
        never = tf.fill([tf.shape(hidden)[0]], -np.inf)
        others = tf.tensor_scatter_nd_update(scores, hidden, never)
        rank = np.sum(others.numpy() >= own.numpy()[:, None], axis=1)
        gains.append(formulas.gain(rank, k))
    return float(np.mean(np.concatenate([np.zeros(0), *gains]))) if len(known) else 0.0


def _parts(count: int) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]


def _rows(table: EntityBatch[np.ndarray], at: np.ndarray) -> EntityBatch[Tensor]:
    return tf.nest.map_structure(lambda column: tf.constant(column[at]), table)
