"""The search space file is checked as a config is, and its outcome is read back as one."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from tfx import types
from tfx.types import standard_artifacts

from tests.conftest import write_config
from tfx_recommender.components import tuned_config
from tfx_recommender.foundation.errors import ConfigError
from tfx_recommender.pipeline.local import tuning
from tfx_recommender.pipeline.settings import config, config_file


def test_the_shipped_search_space_knows_every_architecture() -> None:
    space = config_file.load_search_space(config_file.SEARCH_SPACE)
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
        config_file.load_search_space(str(path))
    assert expected in str(told.value)
    assert "space.yaml:2" in str(told.value)


def test_what_was_found_becomes_a_part_of_the_config(small: Path) -> None:
    found = {
        "preference": ({"l2": 0.0123456, "training.epochs": 3}, 0.2),
        "rating": ({"factors": 7}, 0.9),
    }
    inputs: dict[str, list[types.Artifact]] = {}
    for head, (values, score) in found.items():
        best, results = standard_artifacts.HyperParameters(), standard_artifacts.TunerResults()
        for artifact, name, content in (
            (best, "best_hyperparameters.txt", {"values": values}),
            (results, "tuner_results.json", [{"score": score}, {"score": 1.0}]),
        ):
            artifact.uri = str(small / head / name.partition(".")[0])
            Path(artifact.uri).mkdir(parents=True)
            (Path(artifact.uri) / name).write_text(json.dumps(content))
        inputs |= {f"best_hyperparameters_mf_{head}": [best], f"tuner_results_mf_{head}": [results]}
    output = standard_artifacts.HyperParameters()
    output.uri = str(small / "found")
    Path(output.uri).mkdir()
    tuned_config.TunedConfigExecutor().Do(inputs, {"overlay": [output]}, {})
    overlay = str(small / "best.yaml")
    tuning.write(output.uri, overlay)
    told = io.StringIO()
    tuning.show(output.uri, Console(file=told, width=100))
    assert "RMSE 0.9000" in told.getvalue()
    assert "l2=0.0123, training.epochs=3" in told.getvalue()
    loaded = config_file.load(str(write_config(small)), [f"@{overlay}", "seed=9"])
    mf = loaded.models.chosen()["mf"]
    assert mf.preference.l2 == 0.0123
    assert mf.preference.training.epochs == 3
    assert mf.preference.training.batch_size == 128  # what was not tried stays
    assert mf.rating is not None
    assert mf.rating.factors == 7
    assert loaded.seed == 9
    with pytest.raises(ConfigError, match=r"nowhere.yaml: cannot be read"):
        config_file.load(str(small / "config.yaml"), ["@nowhere.yaml"])
