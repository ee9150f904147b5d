"""The softmax losses against their definition, row by row."""

from __future__ import annotations

import numpy as np
import pytest

from tests.contract import problems
from tfx_recommender.trainer import factors, losses


def test_the_rated_item_competes_with_what_its_user_has_not_rated() -> None:
    rows = problems.interactions()
    chosen = np.arange(30)
    batch = problems.batch(rows, chosen)
    rng = np.random.default_rng(0)
    users, items = (
        rng.normal(size=(count + 1, 4)).astype(np.float32)
        for count in (problems.USERS, problems.ITEMS)
    )
    scores = users[:, :1] + items[:, 0] + users[:, 1:] @ items[:, 1:].T
    expected = {False: [], True: []}
    for user, item in zip(rows.user[chosen], rows.item[chosen], strict=True):
        own = scores[user, item]
        rated = rows.item[rows.user == user]
        others = np.delete(scores[user], rated)  # the unknown item is one of them
        expected[False].append(np.log(np.exp([own, *others]).sum()) - own)
        negatives = scores[user, : problems.ITEMS]  # all items, whatever was rated
        expected[True].append(np.log(np.exp([own, *negatives]).sum()) - own)
    for sampled, values in expected.items():
        loss = losses.Softmax(factors.Head(users, items), sampled)
        assert float(loss(batch)) == pytest.approx(np.mean(values), rel=1e-5)
