"""The DAG: what waits for what, and that TFX compiles it for Kubeflow too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import SMALL_CONFIG, write_config
from tfx_recommender.pipeline import dag
from tfx_recommender.pipeline.settings import config, config_file
from tfx_recommender.pipeline.world import World


@pytest.fixture(scope="module")
def three_models(tmp_path_factory: pytest.TempPathFactory) -> config.Config:
    folder = tmp_path_factory.mktemp("dag")
    models: dict[str, dict[str, object]] = {"mf": {}, "mlp": {}, "hybrid": {}}
    return config_file.load(str(write_config(folder, models=models)))


def upstream(pipeline: Any) -> dict[str, set[str]]:
    return {node.id: {other.id for other in node.upstream_nodes} for node in pipeline.components}


def test_nothing_that_learns_starts_before_the_data_gate(three_models: config.Config) -> None:
    edges = upstream(dag.create_pipeline(three_models))

    def waits_for(node: str) -> set[str]:
        return edges[node].union(*(waits_for(other) for other in edges[node]))

    learning = {n for n in edges if n.startswith(("Serv", "Transform", "Trainer", "Eval", "Push"))}
    assert len(learning) == 9
    for node in learning:
        assert "DataGate" in waits_for(node)


def test_each_architecture_is_a_trainer_and_an_evaluator(three_models: config.Config) -> None:
    nodes = set(upstream(dag.create_pipeline(three_models)))
    for name in SMALL_CONFIG["models"] | {"mlp": {}, "hybrid": {}}:
        assert {f"Trainer-{name}", f"Evaluator-{name}"} <= nodes


def test_tuning_learns_from_train_is_judged_on_validation_and_never_sees_test(
    three_models: config.Config,
) -> None:
    space = config_file.load_search_space(config_file.SEARCH_SPACE)
    pipeline = dag.create_tuning(three_models, space, 3, World(), "root")
    edges = upstream(pipeline)
    tuners = [node for node in pipeline.components if node.id.startswith("Tuner-")]
    assert {node.id for node in tuners} == {
        "Tuner-mf-rating", "Tuner-mf-preference", "Tuner-mlp-rating", "Tuner-mlp-preference",
        "Tuner-hybrid-preference",
    }  # fmt: skip
    for node in tuners:
        assert edges[node.id] == {"RatingsExampleGen", "Transform"}
        splits = [
            json.loads(node.exec_properties[f"{part}_args"])["splits"] for part in ("train", "eval")
        ]
        assert splits == [["train"], ["validation", "train_entities"]]
    assert edges["TunedConfig"] == {node.id for node in tuners}
