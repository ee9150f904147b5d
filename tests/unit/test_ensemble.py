"""An ensemble scores what its members score on average, pairs and catalogue alike."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfx_recommender.trainer.architectures import ensemble
from tfx_recommender.trainer.architectures.factors import FactorsHead
from tfx_recommender.trainer.fitting.losses import score_pairs

USERS, ITEMS = 6, 5


def test_an_ensemble_scores_the_mean_of_its_members() -> None:
    rng = np.random.default_rng(0)
    tables = [[rng.normal(size=(n, 4)).astype(np.float32) for n in (USERS, ITEMS)] for _ in "abc"]
    scores = np.mean([u[:, :1] + i[:, 0] + u[:, 1:] @ i[:, 1:].T for u, i in tables], axis=0)
    head = ensemble.of([FactorsHead(*pair) for pair in tables])
    users, items = ({"index": tf.range(n)} for n in (USERS, ITEMS))
    crossed = head.interact(head.user(users), head.item(items)[None])
    np.testing.assert_allclose(crossed, scores, rtol=1e-5)
    pairs = score_pairs(head, {"index": tf.constant([3, 1])}, {"index": tf.constant([0, 4])})
    np.testing.assert_allclose(pairs, scores[[3, 1], [0, 4]], rtol=1e-5)


def test_a_single_member_stays_as_it_is() -> None:
    head = FactorsHead(np.zeros((2, 1), np.float32), np.zeros((2, 1), np.float32))
    assert ensemble.of([head]) is head
