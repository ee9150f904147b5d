"""The losses against their definitions, row by row, and negatives against what they stand for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tests.contract import problems
from tfx_recommender.trainer.architectures.factors import FactorsHead
from tfx_recommender.trainer.fitting import batches, losses
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.fitting.settings import RankingTraining

ROWS = problems.interactions()
EVENTS = problems.events(ROWS)
ALL = range(problems.ITEMS + 1)  # the unknown item is one of the whole catalogue


class Moving(FactorsHead):
    """A head whose examples are ratings, as they are where users change with time."""

    sequential = True


def tables() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = problems.USERS + 1, problems.ITEMS + 1
    return [rng.normal(size=(size, 4)).astype(np.float32) for size in sizes]


def softmax(own: float, others: np.ndarray, weight: np.ndarray) -> float:
    return float(np.log(np.exp(own) + np.sum(weight * np.exp(others))) - own)


def bpr(own: float, others: np.ndarray, _: np.ndarray) -> float:
    return float(np.mean(np.log1p(np.exp(others - own))))


def rated_by(user: int) -> np.ndarray:
    return ROWS.item[ROWS.user == user]


def weight_of(rows: Interactions, user: int, item: int) -> float:
    """As how many a row counts: of events, its strength in units of the mean one."""
    if rows.strength is None:
        return 1.0
    (own,) = rows.strength[(rows.user == user) & (rows.item == item)]
    return own / np.mean(rows.strength)


def chances(popularity: float) -> np.ndarray:
    weight = np.bincount(ROWS.item, minlength=problems.ITEMS) ** popularity
    return weight / weight.sum()


@pytest.mark.parametrize("table", [0, 1 << 20])
@pytest.mark.parametrize("rows", [ROWS, EVENTS], ids=["ratings", "events"])
@pytest.mark.parametrize("by_user", [False, True])
@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize(("kind", "definition"), [("softmax", softmax), ("bpr", bpr)])
def test_a_rated_item_competes_with_what_its_user_has_not_rated(
    kind: str,
    definition: Callable[..., float],
    sampled: bool,
    by_user: bool,
    rows: Interactions,
    table: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "_TABLE", table)
    users, items = tables()
    scores = users[:, :1] + items[:, 0] + users[:, 1:] @ items[:, 1:].T
    loss = losses.RANKING[kind]((FactorsHead if by_user else Moving)(users, items), sampled)
    assert loss.by_user is by_user
    chosen = np.arange(12)
    if by_user:
        pairs = [(user, item) for user in np.unique(ROWS.user)[:12] for item in rated_by(user)]
    else:
        pairs = list(zip(ROWS.user[chosen], ROWS.item[chosen], strict=True))
    expected = []
    for user, item in pairs:
        others = np.setdiff1d(ALL[: problems.ITEMS] if sampled else ALL, rated_by(user))
        weight = 1 / (problems.ITEMS * chances(0)[others]) if sampled else np.ones(len(others))
        loss_of_row = definition(scores[user, item], scores[user, others], weight)
        expected.append(weight_of(rows, user, item) * loss_of_row)
    found = float(loss(problems.batch(rows, chosen, by_user)))
    assert found == pytest.approx(np.mean(expected), rel=1e-4)


@pytest.mark.parametrize("rows", [ROWS, EVENTS], ids=["ratings", "events"])
@pytest.mark.parametrize("by_user", [False, True])
def test_the_logistic_loss_counts_each_pair_of_a_user_once(
    by_user: bool, rows: Interactions
) -> None:
    """Of events, a yes counts as often as its strength says."""
    users, items = tables()
    scores = users[:, :1] + items[:, 0] + users[:, 1:] @ items[:, 1:].T
    head = (FactorsHead if by_user else Moving)(users, items)
    loss = losses.LogisticLoss(head, sampled=False, positive_weight=3.0)
    total = 0.0
    for user in np.unique(ROWS.user):
        score = scores[user] + np.log(3.0)
        others = np.setdiff1d(ALL, rated_by(user))
        for item in rated_by(user):
            total += 3.0 * weight_of(rows, user, item) * np.log1p(np.exp(-score[item]))
        total += np.sum(np.log1p(np.exp(score[others])))
    examples = np.arange(len(np.unique(ROWS.user)) if by_user else len(ROWS))
    found = float(loss(problems.batch(rows, examples, by_user)))
    assert found == pytest.approx(total / len(ROWS), rel=1e-4)


@pytest.mark.parametrize("rows", [ROWS, EVENTS], ids=["ratings", "events"])
@pytest.mark.parametrize("weight", [1.0, 20.0])
def test_a_logistic_score_is_the_probability_however_positives_weigh(
    weight: float, rows: Interactions
) -> None:
    """Of a single score for all pairs: the least loss is at the share of pairs that are rated."""
    examples = np.arange(len(np.unique(ROWS.user)))
    batch = problems.batch(rows, examples, by_user=True)
    nothing = [np.zeros((size + 1, 1), np.float32) for size in (problems.USERS, problems.ITEMS)]
    share = len(ROWS) / (len(examples) * len(ALL))
    values = []
    for probability in (share - 0.02, share, share + 0.02):
        score = np.float32(np.log(probability / (1 - probability)))
        head = FactorsHead(nothing[0] + score, nothing[1])
        values.append(float(losses.LogisticLoss(head, False, weight)(batch)))
    assert np.argmin(values) == 1


@pytest.mark.parametrize("popularity", [0.0, 0.5, 1.0])
def test_negatives_are_drawn_by_popularity_anew_each_epoch_and_seeded(popularity: float) -> None:
    how = RankingTraining(negatives=400, popularity=popularity, batch_size=4)
    problem = problems.problem(ROWS)
    made = batches.Batches(problem.train, problem, how, True, seed=3)
    drawn = [made.draw(tf.constant(epoch))[1].numpy() for epoch in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    assert (drawn[0][0] != drawn[0][1]).any()
    share = np.bincount(drawn[0].ravel(), minlength=problems.ITEMS) / drawn[0].size
    # Within five standard errors of each share.
    expected = chances(popularity)
    assert (np.abs(share - expected) < 5 * np.sqrt(expected / drawn[0].size)).all()
    one = made.gather(tf.range(4), tf.constant(drawn[0][0]))
    np.testing.assert_allclose(np.exp(one["log_expected"]), 400 * expected[drawn[0][0]], rtol=1e-5)
