"""The search space file is checked as a config is, and its outcome is read back as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import write_config
from tfx_recommender.components.errors import ConfigError
from tfx_recommender.pipeline import config, tuning


def test_the_shipped_search_space_knows_every_architecture() -> None:
    space = config.load_search_space(config.SEARCH_SPACE)
    assert set(space.root) == set(config.ARCHITECTURES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mg: {rating: {}}", "mg: the names are mf, mlp"),
        ("mf: {ranking: {}}", "the heads are rating, preference"),
        ("mf: {rating: {factor: {choice: [1]}}}", "mf.rating.factor: 1: extra inputs"),
        ("mf: {rating: {factors: {choice: [0]}}}", "mf.rating.factors: 0: input should be"),
        ("mf: {rating: {factors: {integer: [4, 2]}}}", "4 is not below 2"),
        ("mlp: {rating: {l2: {log: [0, 1]}}}", "begins above 0"),
        ("mlp: {rating: {l2: {log: [1, 2], choice: [1]}}}", "give one of"),
        ("mlp: {rating: {l2: {between: [1, 2]}}}", "unknown key"),
        ("mlp: ]", "is not YAML"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(f"# what may be tried\n{text}\n")
    with pytest.raises(ConfigError) as told:
        config.load_search_space(str(path))
    assert expected in str(told.value)
    assert "space.yaml:2" in str(told.value)


def test_what_was_found_becomes_a_part_of_the_config(small: Path) -> None:
    found = [
        tuning.Search("mf", "preference", {"l2": 0.0123456, "training.epochs": 3}, 0.2, 5),
        tuning.Search("mf", "rating", {"factors": 7}, 0.9, 5),
    ]
    overlay = str(small / "best.yaml")
    tuning.write(overlay, found)
    loaded = config.load(str(write_config(small)), [f"@{overlay}", "seed=9"])
    assert loaded.models.mf is not None
    assert loaded.models.mf.preference.l2 == 0.0123
    assert loaded.models.mf.preference.training.epochs == 3
    assert loaded.models.mf.preference.training.batch_size == 128  # what was not tried stays
    assert loaded.models.mf.rating.factors == 7
    assert loaded.seed == 9
    with pytest.raises(ConfigError, match=r"nowhere.yaml: cannot be read"):
        config.load(str(small / "config.yaml"), ["@nowhere.yaml"])
