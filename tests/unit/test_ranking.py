"""M6: ranks, negatives and lists against brute force: ties, seen items, small catalogues."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import tfx.components  # noqa: F401 - must be imported before TFMA on older glibc
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_recommender.components.evaluator import ranking
from tfx_recommender.components.evaluator.predictions import NO_ITEM, NO_SCORE, NOT_RANKED
from tfx_recommender.components.evaluator.ranking import NEGATIVES


def brute_force(scores: np.ndarray, user: int, item: int, hidden: set[tuple[int, int]]) -> int:
    """How many items that are not hidden score at least as much as this one, itself aside."""
    return sum(
        scores[user, other] >= scores[user, item]
        for other in range(scores.shape[1])
        if other != item and (user, other) not in hidden
    )


@st.composite
def problems(draw: st.DrawFn) -> Any:
    users, items = draw(st.integers(1, 5)), draw(st.integers(1, 7))
    values = st.sampled_from([-2.0, -0.5, 0.0, 0.5, 3.0])
    scores = np.array(
        draw(st.lists(values, min_size=users * items, max_size=users * items))
    ).reshape(users, items)
    cells = [(u, i) for u in range(users) for i in range(items)]
    seen = draw(st.sets(st.sampled_from(cells), max_size=len(cells) - 1))
    unseen = [cell for cell in cells if cell not in seen]
    held_out = draw(st.lists(st.sampled_from(unseen), min_size=1, unique=True))
    validation = draw(st.sets(st.sampled_from(unseen))) - set(held_out)
    relevant = draw(st.lists(st.booleans(), min_size=len(held_out), max_size=len(held_out)))
    return scores, seen, validation, held_out, relevant


def columns(pairs: Any) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.array(list(pairs), int).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def rank(
    scores: np.ndarray,
    held_out: list[tuple[int, int]],
    seen: set[tuple[int, int]] = frozenset(),  # type: ignore[assignment]
    validation: set[tuple[int, int]] = frozenset(),  # type: ignore[assignment]
    relevant: list[bool] | None = None,
    k: int = 3,
    seed: int = 0,
) -> ranking.Rankings:
    return ranking.rank(
        lambda users: scores[users],
        scores.shape[0],
        scores.shape[1],
        held_out=columns(held_out),
        relevant=np.array([True] * len(held_out) if relevant is None else relevant),
        history=columns(seen),
        known=columns([*seen, *validation, *held_out]),
        k=k,
        seed=seed,
    )


@settings(max_examples=60, deadline=None)
@given(problems(), st.sampled_from([1, 10, 1 << 20]), st.integers(1, 9))
def test_m6_ranks_and_lists_equal_brute_force(problem: Any, pairs_at_once: int, k: int) -> None:
    """However the users are cut into blocks, and for lists that are longer than the catalogue."""
    scores, seen, validation, held_out, relevant = problem
    with mock.patch.object(ranking, "_PAIRS", pairs_at_once):
        found = rank(scores, held_out, seen, validation, relevant, k)
    known = {*seen, *validation, *held_out}
    for row, (user, item) in enumerate(held_out):
        if relevant[row]:
            assert found.rank[row] == brute_force(scores, user, item, seen)
            # With so few items every one that the user never rated is a negative.
            assert found.sampled_rank[row] == brute_force(scores, user, item, known)
        else:
            assert found.rank[row] == found.sampled_rank[row] == NOT_RANKED
    items = scores.shape[1]
    ranked = sorted({user for row, (user, _) in enumerate(held_out) if relevant[row]})
    assert found.user.tolist() == ranked
    assert found.recommended.shape == (len(ranked), min(k, items))
    for user, recommended in zip(ranked, found.recommended.tolist(), strict=True):
        unseen = [item for item in range(items) if (user, item) not in seen]
        first = sorted(unseen, key=lambda item: (-scores[user, item], item))[:k]
        assert recommended == (first + [NO_ITEM] * items)[: len(recommended)]


def test_m6_a_constant_model_ranks_last() -> None:
    found = rank(np.zeros((1, 200)), [(0, 3)])
    assert found.rank.tolist() == [199]
    assert found.sampled_rank.tolist() == [NEGATIVES]


def test_m6_the_sampled_rank_counts_the_rows_own_negatives() -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 20, (6, 300)).astype(float)
    rated = rng.permuted(np.tile(np.arange(300), (6, 1)), axis=1)[:, :40]
    pairs = [(user, int(item)) for user in range(6) for item in rated[user]]
    held_out = [pair for number, pair in enumerate(pairs) if number % 20 == 0]
    seen = set(pairs) - set(held_out)
    found = rank(scores, held_out, seen, seed=5)
    negatives = ranking.sample_negatives(
        np.random.default_rng(5), columns(held_out)[0], columns(sorted(pairs)), 300
    )
    for row, (user, item) in enumerate(held_out):
        assert found.sampled_rank[row] == np.sum(scores[user, negatives[row]] >= scores[user, item])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 160), st.integers(0, 2**32), st.data())
def test_m6_negatives_are_distinct_and_never_rated(items: int, seed: int, data: Any) -> None:
    rated = {
        user: sorted(data.draw(st.sets(st.integers(0, items - 1), max_size=items)))
        for user in range(3)
    }
    user = np.array(data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=6)))
    pairs = columns([(one, item) for one in rated for item in rated[one]])
    found = ranking.sample_negatives(np.random.default_rng(seed), user, pairs, items)
    for row, one in enumerate(user):
        negatives = found[row][found[row] != NO_ITEM].tolist()
        unrated = set(range(items)) - set(rated[one])
        assert len(negatives) == min(len(unrated), NEGATIVES)
        assert set(negatives) <= unrated
        assert len(set(negatives)) == len(negatives)
    generator = np.random.default_rng(seed)
    parts = [
        ranking.sample_negatives(generator, part, pairs, items) for part in (user[:1], user[1:])
    ]
    assert (np.concatenate(parts) == found).all(), "they depend on how rows are cut into calls"


def test_negatives_are_uniform_over_what_was_not_rated() -> None:
    items, rows = 130, 4000
    rated = np.arange(0, items, 13)
    found = ranking.sample_negatives(
        np.random.default_rng(0), np.zeros(rows, int), (np.zeros(len(rated), int), rated), items
    )
    times = np.delete(np.bincount(found.ravel(), minlength=items), rated)
    share = NEGATIVES / len(times)
    deviation = np.sqrt(rows * share * (1 - share))
    assert np.abs(times - rows * share).max() < 4 * deviation


def test_m6_seen_items_do_not_compete() -> None:
    scores = np.array([[3.0, 2.0, 1.0]])
    assert rank(scores, [(0, 2)]).rank.tolist() == [2]
    assert rank(scores, [(0, 2)], seen={(0, 0), (0, 1)}).rank.tolist() == [0]


def test_no_relevant_row_ranks_nobody() -> None:
    found = rank(np.ones((2, 3)), [(0, 1), (1, 2)], relevant=[False, False])
    assert found.rank.tolist() == found.sampled_rank.tolist() == [NOT_RANKED, NOT_RANKED]
    assert len(found.user) == len(found.recommended) == 0


def test_m3_a_nan_score_makes_the_ranks_nan_and_marks_the_list() -> None:
    scores = np.array([[3.0, np.nan, 1.0], [3.0, 2.0, 1.0]])
    found = rank(scores, [(0, 0), (1, 0)])
    assert np.isnan([found.rank[0], found.sampled_rank[0]]).all()
    assert found.recommended[0].tolist() == [NO_SCORE] * 3
    assert found.rank[1] == found.sampled_rank[1] == 0
    assert found.recommended[1].tolist() == [0, 1, 2]
