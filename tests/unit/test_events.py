"""Implicit feedback: from rows that say who clicked what to one interaction of each pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from tests.conftest import table_of
from tests.unit.test_splitting import LEAVE_LAST_OUT, RANDOM, TIME
from tfx_recommender.components.ratings_example_gen import dataset, ratings_table, schema
from tfx_recommender.components.ratings_example_gen.config import Data, Split
from tfx_recommender.foundation.errors import BadDataError
from tfx_recommender.transform.features import SPLITS, WEIGHTS

HEADER = "user_id,item_id,clicks,timestamp\n"

Row = tuple[str, str, float, int]  # user, item, strength, time


def data_of(folder: Path, text: str, rows_in_memory: int = 1000, **settings: Any) -> Data:
    (folder / "events.csv").write_text(text)
    form = {
        "paths": [str(folder / "events.csv")],
        "columns": ["user_id", "item_id", "clicks", "timestamp"],
        "strength": "clicks",
        "timestamp": "timestamp",
    }
    return Data.model_validate({"events": form | settings, "rows_in_memory": rows_in_memory})


def text_of(rows: list[Row]) -> str:
    return HEADER + "".join(f"{user},{item},{clicks},{time}\n" for user, item, clicks, time in rows)


def read(data: Data) -> list[dict[str, Any]]:
    """The interactions, in file order."""
    events = ratings_table.read(data)
    return table_of(events, events.kept).to_pylist()


def random_rows(count: int, first: int = 0) -> list[Row]:
    """Few pairs, so that most come several times; times beyond `first`, some of them equal."""
    rng = np.random.default_rng(first)
    return [
        (f"u{rng.integers(12)}", f"i{rng.integers(40)}", int(rng.integers(1, 99)) / 8, int(time))
        for time in first + rng.integers(0, 1000, count)
    ]


@pytest.mark.parametrize("rows_in_memory", [1, 100, 1000])
@pytest.mark.parametrize("timestamp", ["timestamp", None])
def test_d6_a_pairs_strengths_add_up_and_its_first_time_counts(
    tmp_path: Path, timestamp: str | None, rows_in_memory: int
) -> None:
    rows = random_rows(900)
    expected: dict[tuple[str, str], dict[str, Any]] = {}
    for user, item, strength, time in rows:
        known = expected.setdefault((user, item), {"strength": 0.0, "timestamp": time})
        known["strength"] += strength
        known["timestamp"] = min(known["timestamp"], time)
    assert len(expected) < 450
    data = data_of(tmp_path, text_of(rows), rows_in_memory, timestamp=timestamp)
    found = {(row.pop("user_id"), row.pop("item_id")): row for row in read(data)}
    if timestamp is None:
        for row in expected.values():
            del row["timestamp"]
    assert found == expected


def test_without_a_column_of_strengths_each_event_says_1(tmp_path: Path) -> None:
    rows = "a,x,9,3\na,x,9,2\nb,x,9,5\n"
    found = read(data_of(tmp_path, HEADER + rows, strength=None))
    assert [(row["strength"], row["timestamp"]) for row in found] == [(2.0, 2), (1.0, 5)]


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "", "many", "1e-60", "1e60"])
def test_d1_d3_a_strength_that_is_no_finite_number_above_0_is_named_by_its_line(
    tmp_path: Path, value: str
) -> None:
    with pytest.raises(BadDataError, match=rf"events\.csv:4: clicks '{value}' is "):
        read(data_of(tmp_path, f"{HEADER}a,x,1,3\nb,y,0.5,4\na,z,{value},5\n"))


def test_d3_strengths_that_add_up_to_infinity_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="add up to more than a number of 32 bits holds"):
        read(data_of(tmp_path, f"{HEADER}a,x,3e38,3\nb,y,1,4\na,x,3e38,5\n"))


@pytest.mark.parametrize("split", [LEAVE_LAST_OUT, RANDOM, TIME], ids=lambda s: s["strategy"])
def test_d6_a_pair_is_in_one_split_and_later_events_never_move_it_from_train_to_test(
    tmp_path: Path, split: dict[str, Any]
) -> None:
    """Not even later events of the same pair, of which there are many."""

    def splits_of(rows: list[Row]) -> dict[tuple[str, str], str]:
        how = TypeAdapter(Split).validate_python(split)
        found = dataset.read(data_of(tmp_path, text_of(rows)), how, 0.0)
        events, place = found.ratings, found.assignment.place
        assert found.counts()["interactions"] == (place < len(SPLITS)).sum()
        table = table_of(events, events.kept).to_pylist()
        return {
            (row["user_id"], row["item_id"]): SPLITS[at]
            for row, at in zip(table, place[events.kept], strict=True)
        }

    rows = random_rows(300)
    before, after = splits_of(rows), splits_of([*rows, *random_rows(300, first=2000)])
    assert set(before.values()) == set(after.values()) == set(SPLITS)
    assert len(after) > len(before)
    trained = [pair for pair, name in before.items() if name == "train"]
    assert not [pair for pair in trained if after[pair] == "test"]


def test_the_schema_asks_for_a_finite_strength_and_knows_no_rating(tmp_path: Path) -> None:
    written = schema.schema_of(data_of(tmp_path, "").columns())
    features = {feature.name: feature for feature in written.feature}
    assert set(features) == {"user_id", "item_id", "strength", "timestamp", *WEIGHTS}
    domain = features["strength"].float_domain
    assert (domain.min, domain.disallow_nan, domain.disallow_inf) == (0, True, True)
