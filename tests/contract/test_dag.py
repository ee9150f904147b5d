"""The DAG: what waits for what, and that TFX compiles it for Kubeflow too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import SMALL_CONFIG, write_config
from tfx_recommender.pipeline import config, dag


@pytest.fixture(scope="module")
def three_models(tmp_path_factory: pytest.TempPathFactory) -> config.Config:
    folder = tmp_path_factory.mktemp("dag")
    models = {"mf": {}, "mlp": {}, "hybrid": {}}
    return config.load(str(write_config(folder, models=models)))


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


def test_it_compiles_for_kubeflow_with_the_same_nodes(
    three_models: config.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

    monkeypatch.chdir(tmp_path)
    pipeline = dag.create_pipeline(three_models, pipeline_root="/tmp/root")
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        config=kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image="image", use_pipeline_spec_2_1=True
        ),
        output_dir=str(tmp_path),
        output_filename="pipeline.yaml",
    )
    runner.run(pipeline)
    spec = yaml.safe_load((tmp_path / "pipeline.yaml").read_text())
    assert spec["schemaVersion"] == "2.1.0"
    tasks = spec["root"]["dag"]["tasks"]
    assert set(tasks) == set(upstream(pipeline))
    for name, waits_for in upstream(pipeline).items():
        assert waits_for == set(tasks[name].get("dependentTasks", []))
    assert not any("resolver" in e for e in spec["deploymentSpec"]["executors"].values())
