"""D6, D7 and what makes two models comparable: how rows are assigned to splits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tfx_recommender.components.ratings_example_gen import splitting
from tfx_recommender.components.ratings_example_gen.config import Split
from tfx_recommender.components.ratings_example_gen.ratings_table import EntityColumns, RatingsTable
from tfx_recommender.foundation.errors import BadDataError
from tfx_recommender.transform.features import SPLITS

LEAVE_LAST_OUT = {"strategy": "leave_last_out"}
RANDOM = {"strategy": "random", "seed": 3, "validation": 0.2, "test": 0.2}
TIME = {
    "strategy": "time",
    "validation_from": "1970-01-01T00:05:00",
    "test_from": "1970-01-01T00:08:20",
}


def ratings_of(rows: list[tuple[str, str, int]], rows_in_memory: int = 1000) -> RatingsTable:
    users, items, times = zip(*rows, strict=True)
    user, item = (pa.array(ids).dictionary_encode() for ids in (users, items))
    columns = {"user_id": user.indices.to_numpy(), "item_id": item.indices.to_numpy()}
    columns["timestamp"] = np.array(times)
    entities = EntityColumns(user.dictionary), EntityColumns(item.dictionary)
    return RatingsTable(*entities, columns, np.ones(len(rows), bool), rows_in_memory)


def place_of(
    rows: list[tuple[str, str, int]], split: dict[str, Any], rows_in_memory: int = 1000
) -> dict[Any, str]:
    ratings = ratings_of(rows, rows_in_memory)
    assignment = splitting.assign(ratings, TypeAdapter(Split).validate_python(split))
    return {row[:2]: SPLITS[place] for row, place in zip(rows, assignment.place, strict=True)}


def random_rows(count: int = 600) -> list[tuple[str, str, int]]:
    rng = np.random.default_rng(0)
    pairs = rng.choice(30 * 60, count, replace=False)
    return [(f"u{p // 60}", f"i{p % 60}", int(rng.integers(1000))) for p in pairs]


@pytest.mark.parametrize("split", [LEAVE_LAST_OUT, RANDOM, TIME], ids=lambda s: s["strategy"])
def test_every_row_is_in_one_split_and_none_is_empty(split: dict[str, Any]) -> None:
    rows = random_rows()
    places = place_of(rows, split)
    assert len(places) == len(rows)
    assert set(places.values()) == {"train", "validation", "test"}
    assert place_of(rows, split, rows_in_memory=25) == places


@pytest.mark.parametrize("split", [LEAVE_LAST_OUT, RANDOM, TIME], ids=lambda s: s["strategy"])
def test_later_data_never_move_a_training_row_into_test(split: dict[str, Any]) -> None:
    rows = random_rows()
    before = place_of(rows, split)
    later = [(f"u{n % 40}", f"new{n}", 2000 + n) for n in range(100)]
    after = place_of(rows + later, split)
    trained = [pair for pair, name in before.items() if name == "train"]
    assert not [pair for pair in trained if after[pair] == "test"]


@settings(max_examples=50, deadline=None)
@given(
    st.sets(st.tuples(st.integers(0, 5), st.integers(0, 12)), min_size=8),
    st.randoms(use_true_random=False),
)
def test_leave_last_out_equals_a_plain_implementation(pairs: set[Any], random: Any) -> None:
    rows = [(f"u{user}", f"{item}", random.randrange(4)) for user, item in pairs]
    expected: dict[tuple[str, str], str] = {}
    for user in {row[0] for row in rows}:
        mine = sorted((r for r in rows if r[0] == user), key=lambda r: (r[2], len(r[1]), r[1]))
        names = ["train"] * len(mine)
        if len(mine) > 2:
            names[-2:] = ["validation", "test"]
        expected |= {row[:2]: name for row, name in zip(mine, names, strict=True)}
    if "test" not in expected.values():
        with pytest.raises(BadDataError, match="split is empty"):
            place_of(rows, LEAVE_LAST_OUT)
    else:
        assert place_of(rows, LEAVE_LAST_OUT) == expected


@pytest.mark.parametrize("unit", [1000, 10**6, 10**9])
def test_a_moment_cuts_times_of_any_unit(unit: int) -> None:
    split = {"strategy": "time", "validation_from": "2024-01-01", "test_from": "2024-02-01"}
    start = 1_700_000_000
    rows = [(f"u{n % 7}", f"i{n}", start + n * 100_000) for n in range(100)]
    in_unit = [(user, item, time * unit) for user, item, time in rows]
    assert place_of(in_unit, split) == place_of(rows, split)


def test_zones_may_differ_between_the_moments_of_a_split() -> None:
    split = {
        "strategy": "time",
        "validation_from": "2024-01-01",
        "test_from": "2024-01-01T00:00:01Z",
    }
    rows = [(f"u{n}", f"i{n}", 1704067198 + n) for n in range(6)]
    assert list(place_of(rows, split).values()) == [*["train"] * 2, "validation", *["test"] * 3]


def test_users_with_too_few_ratings_stay_in_train_and_are_counted() -> None:
    rows = [("a", f"i{n}", n) for n in range(3)] + [("b", "i0", 0), ("b", "i1", 9)]
    split = TypeAdapter(Split).validate_python(LEAVE_LAST_OUT)
    assignment = splitting.assign(ratings_of(rows), split)
    assert assignment.users_too_few == 1
    assert assignment.place[3:].tolist() == [SPLITS.index("train")] * 2


def test_random_shares_are_close_and_depend_on_the_seed() -> None:
    rows = [(f"u{n}", f"i{n % 7}", 0) for n in range(20_000)]
    places = place_of(rows, RANDOM)
    test = {pair for pair, name in places.items() if name == "test"}
    assert len(test) / len(rows) == pytest.approx(0.2, abs=0.015)
    other = place_of(rows, RANDOM | {"seed": 4})
    assert test != {pair for pair, name in other.items() if name == "test"}


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        (LEAVE_LAST_OUT, "the validation split is empty"),
        (TIME | {"test_from": "1980-01-01", "validation_from": "1979-01-01"}, "split is empty"),
    ],
)
def test_d7_an_empty_split_is_refused(split: dict[str, Any], expected: str) -> None:
    with pytest.raises(BadDataError, match=expected):
        place_of([("a", "x", 1), ("b", "y", 2)], split)
