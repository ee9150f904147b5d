"""An ensemble scores what its members score on average, pairs and catalogue alike."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tfx_recommender.trainer.architectures import ensemble
from tfx_recommender.trainer.architectures.factors import FactorsHead
from tfx_recommender.trainer.fitting.head import EntityBatch, Tensor, score_all, score_pairs

USERS, ITEMS = 6, 5


def batch(index: Iterable[int]) -> EntityBatch[Tensor]:
    """These users, or items, without features."""
    return {"index": tf.constant([*index]), "numeric": tf.zeros([0]), "categories": {}}


def test_an_ensemble_scores_the_mean_of_its_members() -> None:
    rng = np.random.default_rng(0)
    tables = [[rng.normal(size=(n, 4)).astype(np.float32) for n in (USERS, ITEMS)] for _ in "abc"]
    scores = np.mean([u[:, :1] + i[:, 0] + u[:, 1:] @ i[:, 1:].T for u, i in tables], axis=0)
    head = ensemble.of([FactorsHead(*pair) for pair in tables])
    users, items = batch(range(USERS)), batch(range(ITEMS))
    crossed = score_all(head, users, items)
    np.testing.assert_allclose(crossed, scores, rtol=1e-5)
    pairs = score_pairs(head, batch([3, 1]), batch([0, 4]))
    np.testing.assert_allclose(pairs, scores[[3, 1], [0, 4]], rtol=1e-5)


def test_a_single_member_stays_as_it_is() -> None:
    head = FactorsHead(np.zeros((2, 1), np.float32), np.zeros((2, 1), np.float32))
    assert ensemble.of([head]) is head
