"""What is served is a baseline only if it learnt the same task and held out the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import EVENTS, write_config
from tfx_recommender.components.serving.served_models import ServedModel
from tfx_recommender.foundation.errors import ConfigError
from tfx_recommender.pipeline import world
from tfx_recommender.pipeline.settings import config, config_file


@pytest.fixture
def loaded(tmp_path: Path) -> dict[str, config.Config]:
    changes: dict[str, Any] = {"explicit": {}, "implicit": EVENTS}
    return {
        name: config_file.load(str(write_config(tmp_path, **of))) for name, of in changes.items()
    }


@pytest.mark.parametrize("served_kind", ["explicit", "implicit"])
@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_a_model_of_the_other_feedback_is_refused(
    loaded: dict[str, config.Config], kind: str, served_kind: str
) -> None:
    before, now = loaded[served_kind], loaded[kind]
    record = world.push_record(before.data, before.split)
    served = ServedModel(7, "", "", record)
    if kind == served_kind:
        world.require_comparable(now.data, now.split, served)
        return
    with pytest.raises(ConfigError) as error:
        world.require_comparable(now.data, now.split, served)
    assert f"version 7) was trained with {served_kind} feedback" in str(error.value)
    assert "--rebase-baseline" in str(error.value)


@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_a_model_of_another_split_is_refused(loaded: dict[str, config.Config], kind: str) -> None:
    now = loaded[kind]
    record = world.push_record(now.data, now.split) | {"split": {"strategy": "time"}}
    with pytest.raises(ConfigError, match=r"^split: .*--rebase-baseline"):
        world.require_comparable(now.data, now.split, ServedModel(7, "", "", record))


@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_what_was_pushed_without_a_record_is_compared(
    loaded: dict[str, config.Config], kind: str
) -> None:
    now = loaded[kind]
    world.require_comparable(now.data, now.split, ServedModel(7, "", "", {}))
