"""K5: what a schedule runs anew when the world changes, and what KFP takes from its cache.

KFP's backend cannot run here. `Cluster` computes cache keys as it does (driver/cache.go): from
names of input artifacts, input parameters, outputs, image and command. World is the real one.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import write_config, write_small_data
from tfx_recommender.components.serving import served_models
from tfx_recommender.kubeflow import compiler, entrypoint
from tfx_recommender.pipeline.nodes import WORLD
from tfx_recommender.pipeline.settings import config_file

LEARNING = {"Trainer-hybrid", "Trainer-mf"}
EVERY_TIME = {"World", "Pusher"}
COMPARING = EVERY_TIME | {"ServedBaseline", "Evaluator-hybrid", "Evaluator-mf", "ModelSelector"}


class Cluster:
    """Runs a schedule whose parameters were frozen when it was made; no step but World does
    its work, and every executed step's outputs get names of their own."""

    def __init__(self, spec: dict[str, Any], folder: Path) -> None:
        self.spec, self.folder = spec, folder
        defaults = spec["root"]["inputDefinitions"]["parameters"]
        self.frozen = {name: given["defaultValue"] for name, given in defaults.items()}
        self.cache: dict[str, str] = {}
        self.names = itertools.count()

    def run(self) -> set[str]:
        """Runs all tasks once; returns those that were not taken from the cache."""
        tasks = self.spec["root"]["dag"]["tasks"]
        outputs: dict[str, Any] = {}
        executed: set[str] = set()
        while waiting := tasks.keys() - outputs.keys():
            for name in sorted(waiting):
                if set(tasks[name].get("dependentTasks", [])) <= outputs.keys():
                    outputs[name] = self._run_task(name, tasks[name], outputs, executed)
        return executed

    def _run_task(
        self, name: str, task: dict[str, Any], outputs: dict[str, Any], executed: set[str]
    ) -> Any:
        component = self.spec["components"][task["componentRef"]["name"]]
        container = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]
        parameters = {}
        for key, source in task.get("inputs", {}).get("parameters", {}).items():
            if output := source.get("taskOutputParameter"):
                value = outputs[output["producerTask"]][output["outputParameterKey"]]
            elif "componentInputParameter" in source:
                value = self.frozen[source["componentInputParameter"]]
            else:
                value = source["runtimeValue"]["constant"]
            parameters[key] = value
        artifacts = {
            key: outputs[source["taskOutputArtifact"]["producerTask"]]
            for key, source in task.get("inputs", {}).get("artifacts", {}).items()
        }
        identity = json.dumps(
            [artifacts, parameters, component.get("outputDefinitions"), container], sort_keys=True
        )
        cached = task["cachingOptions"].get("enableCache", False)
        if cached and identity in self.cache:
            return self.cache[identity]
        executed.add(name)
        if name == WORLD:
            return self._world(parameters, container["container"]["args"])
        self.cache[identity] = f"{name} {next(self.names)}"
        return self.cache[identity]

    def _world(self, parameters: dict[str, Any], args: list[str]) -> dict[str, str]:
        path = self.folder / "world.json"
        given = {"inputs": {"parameterValues": parameters}, "outputs": {"outputFile": str(path)}}
        assert entrypoint.main([*args[:-1], json.dumps(given)]) == 0
        return json.loads(path.read_text())["parameterValues"]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("schedule")
    section = {"image": f"registry.example/image@sha256:{'0' * 64}"}
    path = write_config(folder, models={"mf": {}, "hybrid": {}}, kubeflow=section)
    return next(yaml.safe_load_all(compiler.compile_pipeline(config_file.load(str(path))))), folder


@pytest.fixture
def schedule(spec: tuple[dict[str, Any], Path]) -> Cluster:
    write_small_data(spec[1])
    cluster = Cluster(*spec)
    everything = set(cluster.spec["root"]["dag"]["tasks"])
    assert cluster.run() == everything
    return cluster


def test_k5_of_an_identical_second_run_world_and_pusher_alone_are_executed(
    schedule: Cluster,
) -> None:
    assert schedule.run() == EVERY_TIME


def test_k5_a_changed_file_gives_new_training_under_the_same_schedule(schedule: Cluster) -> None:
    path = schedule.folder / "ratings.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",5,", ",4,", 1), encoding="utf-8")
    executed = schedule.run()
    assert executed >= LEARNING | {"RatingsExampleGen", "Transform"}
    assert executed == set(schedule.spec["root"]["dag"]["tasks"])
    assert schedule.run() == EVERY_TIME


def test_k5_a_push_gives_new_comparison_and_no_new_training(schedule: Cluster) -> None:
    (schedule.folder / "model").mkdir()
    (schedule.folder / "model" / "saved_model.pb").write_text("model")
    directory = schedule.frozen["serving_directory"]
    served_models.push(str(schedule.folder / "model"), directory, {})
    assert schedule.run() == COMPARING
    assert schedule.run() == EVERY_TIME
    schedule.frozen["mf_preference_epochs"] = 3  # another schedule: only what it concerns
    concerned = {"Trainer-mf", "Evaluator-mf", "ModelSelector"}
    assert schedule.run() == EVERY_TIME | concerned
