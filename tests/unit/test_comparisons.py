"""M10: how often nights were compared with what is served."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_config
from tfx_recommender.components.serving.served_models import ServedModel
from tfx_recommender.foundation.errors import UserError
from tfx_recommender.pipeline import comparisons
from tfx_recommender.pipeline.settings import config_file


def served(digest: str = "a", **record: Any) -> ServedModel:
    return ServedModel(7, "", digest, record)


def number(folder: Path, model: ServedModel | None, *overrides: str, data: str = "x") -> int:
    loaded = config_file.load(str(write_config(folder)), overrides)
    return comparisons.number(str(folder), loaded, model, data)


def test_another_seed_or_other_data_is_another_comparison_and_a_repeated_run_is_none(
    tmp_path: Path,
) -> None:
    assert number(tmp_path, served()) == 1
    assert number(tmp_path, served(), "seed=9") == 2
    assert number(tmp_path, served()) == 1
    assert number(tmp_path, served(), data="y") == 3
    assert number(tmp_path, served(), "evaluation.gates.rmse.policy=not_worse") == 4
    assert number(tmp_path, served(), "seed=9") == 2
    assert number(tmp_path, served(), "parallel_nodes=1") == 1


def test_another_served_model_begins_anew_and_the_first_push_counts_too(tmp_path: Path) -> None:
    assert number(tmp_path, None) == 1
    assert number(tmp_path, None, "seed=9") == 2
    assert number(tmp_path, served("a")) == 1
    assert number(tmp_path, served("b")) == 1


def test_a_version_that_proved_nothing_new_carries_the_count_on(tmp_path: Path) -> None:
    assert number(tmp_path, served(comparisons=5)) == 6
    assert number(tmp_path, served(comparisons=5), "seed=9") == 7


def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / comparisons.FILE
    for text in ("{", "[]", '{"a": 3}'):
        path.write_text(text)
        with pytest.raises(UserError, match=r"comparisons\.json: .*remove it"):
            number(tmp_path, served())


def test_where_no_root_remembers_a_day_is_a_comparison() -> None:
    now = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)
    assert comparisons.number_by_date(None, now) == 1
    assert comparisons.number_by_date(served(), now) == 1
    for pushed, expected in (("24T11", 1), ("23T13", 1), ("23T11", 2), ("14T12", 11), ("25T12", 1)):
        model = served(pushed_at=f"2026-11-{pushed}:00:00Z")
        assert comparisons.number_by_date(model, now) == expected
    assert comparisons.number_by_date(served(comparisons=4), now) == 5
