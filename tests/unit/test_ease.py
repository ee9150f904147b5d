"""EASE against its definition, and the head that holds its weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import sparse

from tests.contract import problems
from tfx_recommender.trainer.architectures.item_item import ease, ease_search
from tfx_recommender.trainer.architectures.item_item import model as item_item
from tfx_recommender.trainer.architectures.item_item.settings import ItemToItem
from tfx_recommender.trainer.fitting.fit import Fitter
from tfx_recommender.trainer.fitting.head import shared
from tfx_recommender.trainer.fitting.held_out import HeldOut

FIXED = ItemToItem(regularization=5.0, dropout=0.0, neighbours=problems.ITEMS)


def seen(count: int = 60) -> np.ndarray:
    return (np.random.default_rng(0).random((200, count)) < 0.15).astype(np.float32)


def oracle(x: np.ndarray, regularization: float, dropout: float) -> np.ndarray:
    gram = x.astype(np.float64).T @ x
    penalty = regularization + dropout / (1 - dropout) * np.diag(gram)
    inverse = np.linalg.inv(gram + np.diag(penalty))
    weights = np.eye(len(gram)) - inverse / np.diag(inverse)
    return weights - np.diag(np.diag(weights))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("block", [7, 1024])
def test_weights_are_what_they_are_defined_as(
    dropout: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ease, "_BLOCK", block)
    x = seen()
    gram = ease.gram(sparse.csr_array(x))
    np.testing.assert_array_equal(gram, x.T @ x)
    found = ease.weights(gram, 20.0, dropout)
    np.testing.assert_allclose(found, oracle(x, 20.0, dropout), atol=1e-5)
    assert not np.diag(found).any()


def test_of_each_column_the_largest_weights_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "_BLOCK", 7)
    weights = oracle(seen(), 20.0, 0.0).astype(np.float32)
    kept = ease.nearest(weights, 9).toarray()
    assert (np.count_nonzero(kept, axis=0) == 9).all()
    for column in range(len(weights)):
        largest = np.argsort(-np.abs(weights[:, column]))[:9]
        np.testing.assert_array_equal(kept[largest, column], weights[largest, column])
    np.testing.assert_array_equal(ease.nearest(weights, 999).toarray(), weights)


def test_a_user_scores_the_sum_of_the_weights_from_all_of_its_history() -> None:
    rows = problems.interactions()
    problem = problems.problem(rows)
    head = item_item.fit_preference(FIXED, problem, Fitter(0))
    x = np.zeros((problems.USERS, problems.ITEMS))
    x[rows.user, rows.item] = 1
    expected = x @ oracle(x, 5.0, 0.0) + 1e-4 * x.mean(axis=0)
    tables = problem.catalogue.users.batch(), problem.catalogue.items.batch()
    scores = head.interact(head.user(tables[0]), shared(head.item(tables[1]))).numpy()
    np.testing.assert_allclose(scores[:-1, :-1], expected, atol=1e-5)
    # Of whom nothing is known, popularity is the best that can be said.
    np.testing.assert_allclose(scores[-1, :-1], x.mean(axis=0), atol=1e-6)


def test_items_beyond_the_most_popular_are_ranked_by_popularity() -> None:
    rows = problems.interactions()
    problem = problems.problem(rows)
    few = FIXED.model_copy(update={"items": 6})
    head = item_item.fit_preference(few, problem, Fitter(0))
    count = np.bincount(rows.item, minlength=problems.ITEMS)
    popular = np.argsort(-count, kind="stable")[:6]
    x = np.zeros((problems.USERS, problems.ITEMS))
    x[rows.user, rows.item] = 1
    expected = np.tile(1e-4 * count / problems.USERS, (problems.USERS, 1))
    expected[:, popular] += x[:, popular] @ oracle(x[:, popular], 5.0, 0.0)
    tables = problem.catalogue.users.batch(), problem.catalogue.items.batch()
    scores = head.interact(head.user(tables[0]), shared(head.item(tables[1]))).numpy()
    np.testing.assert_allclose(scores[:-1, :-1], expected, atol=1e-5)


def test_users_and_items_out_of_vocabulary_share_rows_that_say_nothing() -> None:
    rows = problems.interactions()
    whole = problems.catalogue()
    sides = {}
    for name, size in (("user", 25), ("item", 15)):
        entities, shape = getattr(whole, f"{name}s"), getattr(whole, f"{name}_shape")
        index = np.minimum(entities.index, size)
        sides[f"{name}s"] = dataclasses.replace(entities, index=index)
        sides[f"{name}_shape"] = dataclasses.replace(shape, ids=size + 1, vocabulary=size)
    problem = problems.problem(rows)
    problem.catalogue = dataclasses.replace(whole, **sides)
    head = item_item.fit_preference(FIXED, problem, Fitter(0))
    tables = problem.catalogue.users.batch(), problem.catalogue.items.batch()
    scores = head.interact(head.user(tables[0]), shared(head.item(tables[1]))).numpy()
    np.testing.assert_array_equal(scores[25:], np.tile(scores[-1], (len(scores) - 25, 1)))
    np.testing.assert_array_equal(scores[:, 15:], np.tile(scores[:, -1:], (1, len(scores[0]) - 15)))
    assert np.ptp(scores[:25, :15], axis=0).all()


def test_what_is_given_is_taken_and_the_rest_is_chosen() -> None:
    problem = problems.split(problems.two_tastes())
    item = problem.catalogue.items.index[:-1]
    x = sparse.csr_array(np.zeros((problems.USERS, problems.ITEMS + 1), np.float32))
    x = x.tolil()
    x[problem.train.user, problem.train.item] = 1
    x = x.tocsr()
    search = ease_search.Search(
        x, item, np.zeros(problems.ITEMS + 1, np.float32), HeldOut(problem, 0), item
    )
    chosen = search.run(ItemToItem(dropout=0.4))
    assert chosen.dropout == 0.4
    assert chosen.regularization in ease_search._PENALTIES
