"""What was rated before a moment, against a plain reading of its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_recommender.trainer.fitting.histories import Grouped, Histories
from tfx_recommender.trainer.fitting.interactions import Interactions

USERS, LENGTH = 3, 4


@st.composite
def interactions(draw: st.DrawFn) -> Interactions:
    row = st.tuples(st.integers(0, USERS - 1), st.integers(0, 9), st.integers(0, 5))
    rows = draw(st.lists(row, min_size=1, max_size=25, unique_by=lambda r: r[:2]))
    user, item, time = np.array(rows).T
    return Interactions(user, item, np.zeros(len(rows), np.float32), time)


def seen(histories: Histories, moments: Any, length: int = LENGTH) -> list[list[tuple[int, float]]]:
    item, age = (part.numpy() for part in histories.latest(moments, length))
    return [
        [(int(i), float(a)) for i, a in zip(*row, strict=True) if i >= 0]
        for row in zip(item, age, strict=True)
    ]


def before(rows: Interactions, user: int, until: float, own: int | None) -> list[tuple[int, int]]:
    """(item, age) of a user's ratings up to a time; ratings of one time are equals."""
    assert rows.time is not None
    others = [
        (int(rows.time[n]), int(rows.item[n]))
        for n in range(len(rows))
        if rows.user[n] == user and n != own and rows.time[n] <= until
    ]
    return [(item, sum(later > time for later, _ in others)) for time, item in others]


@settings(max_examples=150, deadline=None)
@given(interactions())
def test_a_rating_sees_the_latest_ratings_of_its_user_that_are_not_later(
    rows: Interactions,
) -> None:
    assert rows.time is not None
    histories = Histories(rows, USERS, seed=0)
    for n, found in enumerate(seen(histories, histories.of_train)):
        expected = before(rows, rows.user[n], rows.time[n], own=n)
        assert set(found) <= set(expected)
        # One place of the window may be taken by the rating itself.
        assert min(len(expected), LENGTH - 1) <= len(found) <= min(len(expected), LENGTH)
        left_out = set(expected) - set(found)
        assert all(age >= max(a for _, a in found) for _, age in left_out)


@settings(max_examples=50, deadline=None)
@given(interactions())
def test_in_the_end_a_user_has_seen_the_latest_of_all(rows: Interactions) -> None:
    histories = Histories(rows, USERS, seed=0)
    found = seen(histories, histories.after(np.arange(USERS + 1)))
    assert found[USERS] == []  # the unknown user
    for user in range(USERS):
        expected = before(rows, user, np.inf, own=None)
        assert sorted(age for _, age in found[user]) == sorted(age for _, age in expected)[:LENGTH]
        assert set(found[user]) <= set(expected)


def test_without_times_all_ratings_are_equals() -> None:
    rows = Interactions(np.zeros(6, int), np.arange(6), np.zeros(6, np.float32))
    histories = Histories(rows, 1, seed=0)
    for n, found in enumerate(seen(histories, histories.of_train, 9)):
        assert {item for item, _ in found} == set(range(6)) - {n}
        assert {age for _, age in found} == {np.inf}


def test_all_ratings_of_some_users_are_looked_up() -> None:
    rows = Interactions(np.array([1, 0, 1]), np.array([5, 6, 7]), np.zeros(3, np.float32))
    pairs = Grouped(rows.user, rows.item, 2).of(np.array([1, 0, 2]))
    assert {tuple(pair) for pair in pairs.numpy()} == {(0, 5), (0, 7), (1, 6)}
