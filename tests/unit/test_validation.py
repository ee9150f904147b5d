"""What a search judges by, against a plain reading of its definition."""

from __future__ import annotations

import numpy as np
import pytest

from tests.contract import problems
from tfx_recommender.trainer.architectures.factors import FactorsHead
from tfx_recommender.trainer.fitting import validation
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.fitting.problem import Problem


def test_rmse_and_ndcg_equal_their_definitions() -> None:
    rng = np.random.default_rng(3)
    rows = problems.interactions()
    new = np.array([problems.ITEMS, 2])  # an unknown item counts for the rating alone
    held_out = Interactions(
        np.append(rng.integers(0, problems.USERS, 60), [4, problems.USERS]),
        np.append(rng.integers(0, problems.ITEMS, 60), new),
        rng.integers(1, 6, 62).astype(np.float32),
    )
    to_fit = Problem(problems.catalogue(), rows, held_out, 0, 0)
    users, items = (
        rng.integers(-2, 3, (size + 1, 3)).astype(np.float32)  # whole numbers: many ties
        for size in (problems.USERS, problems.ITEMS)
    )
    head = FactorsHead(users, items)
    scores = users[:, :1] + items[:, 0] + users[:, 1:] @ items[:, 1:].T
    errors, gains = [], []
    for user, item, rating in zip(
        held_out.user, held_out.item, held_out.known_rating(), strict=True
    ):
        predicted = to_fit.rating_mean + to_fit.rating_scale * scores[user, item]
        errors.append(np.clip(predicted, 1, 5) - rating)
        if user < problems.USERS and item < problems.ITEMS:
            rivals = set(range(problems.ITEMS)) - set(rows.item[rows.user == user]) - {item}
            rank = sum(scores[user, rival] >= scores[user, item] for rival in rivals)
            gains.append(1 / np.log2(rank + 2) if rank < 5 else 0.0)
    assert validation.rmse(head, to_fit, (1.0, 5.0)) == pytest.approx(
        np.sqrt(np.mean(np.square(errors))), rel=1e-5
    )
    assert validation.ndcg(head, to_fit, k=5) == pytest.approx(np.mean(gains))
