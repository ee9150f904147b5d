"""The compiled pipeline, step by step through our entry point, to a pushed model.

The messages have the form of those that KFP's driver and launcher sent (`kubeflow/recorded/`): no
types of inputs, an artifact `executor-logs` whose file lies there already, dicts in metadata
wrapped, whole numbers without a point. The executors are the real ones, all in this process.
"""

from __future__ import annotations

import itertools
import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tfx.components  # noqa: F401 - so that the entry point leaves the real package in place
import yaml

from tests.conftest import write_config, write_small_data
from tfx_recommender.components.evaluator import verdict
from tfx_recommender.components.evaluator.predictions import BASELINE, CANDIDATE
from tfx_recommender.components.serving import served_models
from tfx_recommender.kubeflow import compiler, entrypoint
from tfx_recommender.pipeline.settings import config_file

pytestmark = pytest.mark.slow


class Backend:
    """Runs a compiled pipeline; KFP's cache knows what was executed.

    Attributes:
      artifacts: (task, output's key) -> the artifact as KFP's metadata store has it.
    """

    def __init__(self, spec: dict[str, Any], folder: Path) -> None:
        self.spec, self.folder = spec, folder
        self.artifacts: dict[tuple[str, str], dict[str, Any]] = {}
        self._cache: dict[str, dict[str, Any]] = {}
        self._ids = itertools.count(1)

    def run(self) -> tuple[set[str], str]:
        """Runs all tasks until one fails; returns which were executed, and the one that failed."""
        run = self.folder / f"run-{next(self._ids)}"
        tasks = self.spec["root"]["dag"]["tasks"]
        done: dict[str, dict[str, Any]] = {}
        executed: set[str] = set()
        while waiting := sorted(tasks.keys() - done.keys()):
            ready = [n for n in waiting if set(tasks[n].get("dependentTasks", [])) <= done.keys()]
            for name in ready:
                made = self._step(name, tasks[name], done, run, executed)
                if made is None:
                    return executed, name
                done[name] = made
        return executed, ""

    def _step(
        self, name: str, task: dict[str, Any], done: Any, run: Path, executed: set[str]
    ) -> dict[str, Any] | None:
        component = self.spec["components"][task["componentRef"]["name"]]
        executor = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]
        defaults = self.spec["root"]["inputDefinitions"]["parameters"]
        parameters, inputs = {}, {}
        for key, source in task.get("inputs", {}).get("parameters", {}).items():
            if output := source.get("taskOutputParameter"):
                made = done[output["producerTask"]]["parameterValues"]
                parameters[key] = made[output["outputParameterKey"]]
            elif "componentInputParameter" in source:
                parameters[key] = defaults[source["componentInputParameter"]]["defaultValue"]
            else:
                parameters[key] = source["runtimeValue"]["constant"]
        for key, source in task.get("inputs", {}).get("artifacts", {}).items():
            output = source["taskOutputArtifact"]
            inputs[key] = done[output["producerTask"]]["artifacts"][output["outputArtifactKey"]]
        ids = {key: artifact["name"] for key, artifact in inputs.items()}
        identity = json.dumps([parameters, ids, component, executor], sort_keys=True)
        if task["cachingOptions"].get("enableCache") and identity in self._cache:
            return self._cache[identity]
        executed.add(name)
        outputs = component.get("outputDefinitions", {})
        home = run / name
        home.mkdir(parents=True)
        (home / "executor-logs-0").touch()
        types = {key: one["artifactType"] for key, one in outputs.get("artifacts", {}).items()}
        places = {key: {"name": key, "type": t, "uri": f"{home / key}"} for key, t in types.items()}
        log = {"name": "executor-logs", "uri": f"{home / 'executor-logs-0'}"}
        places["executor-logs"] = {**log, "type": {"schemaTitle": "system.Artifact"}}
        message = {
            "inputs": {"parameterValues": parameters, "artifacts": listed(inputs)},
            "outputs": {
                "parameters": {
                    key: {"outputFile": f"/tmp/kfp/outputs/{key}"}
                    for key in outputs.get("parameters", {})
                },
                "artifacts": listed(places),
                "outputFile": str(home / "output_metadata.json"),
            },
        }
        args = [*executor["container"]["args"][:-1], json.dumps(message)]
        if entrypoint.main(args):
            return None
        answer = json.loads((home / "output_metadata.json").read_text())
        assert answer.get("artifacts", {}).keys() == types.keys()
        answer["artifacts"] = {
            key: self._kept(made["artifacts"][0])
            for key, made in answer.get("artifacts", {}).items()
        }
        self.artifacts |= {(name, key): made for key, made in answer["artifacts"].items()}
        self._cache[identity] = answer
        return answer

    def _kept(self, artifact: dict[str, Any]) -> dict[str, Any]:
        """An artifact as KFP's metadata store hands it on."""

        def changed(value: Any) -> Any:
            if isinstance(value, dict):
                return {"struct": value}
            whole = isinstance(value, float) and value.is_integer()
            return int(value) if whole else value

        metadata = {key: changed(value) for key, value in artifact["metadata"].items()}
        return {
            "name": str(next(self._ids)),
            "type": {"instanceSchema": ""},
            "uri": artifact["uri"],
            "metadata": metadata | {"display_name": artifact["name"], "store_session_info": "{}"},
        }


def listed(artifacts: dict[str, Any]) -> dict[str, Any]:
    return {key: {"artifacts": [artifact]} for key, artifact in artifacts.items()}


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    handler, arguments = signal.getsignal(signal.SIGTERM), sys.argv
    yield
    signal.signal(signal.SIGTERM, handler)
    sys.argv = arguments


def test_from_ratings_to_a_pushed_model_and_again_from_the_cache(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_small_data(tmp_path)
    section = {"image": f"registry.example/image@sha256:{'0' * 64}"}
    loaded = config_file.load(str(write_config(tmp_path, kubeflow=section)))
    backend = Backend(next(yaml.safe_load_all(compiler.compile_pipeline(loaded))), tmp_path)
    everything = set(backend.spec["root"]["dag"]["tasks"])

    assert backend.run() == (everything, "")
    served = served_models.served(loaded.serving_directory)
    assert served is not None
    assert backend.artifacts["Pusher", "pushed"]["metadata"]["pushed_version"] == served.version
    # What KFP's UI shows is what the Evaluator found.
    shown = backend.artifacts["Evaluator-mf", "metrics"]["metadata"]
    evaluation = backend.artifacts["Evaluator-mf", "evaluation"]["uri"]
    for prefix, model in (("", CANDIDATE), ("baseline_", BASELINE)):
        found = verdict.metrics_of(evaluation, model)
        for name in ("rmse", "hit_rate_at_5", "ndcg_at_5"):
            assert shown[prefix + name] == found[name]
    assert shown["blessed"] == 1

    # The served model is another now, so what compares with it is executed; then nothing is new.
    comparing = {"ServedBaseline", "Evaluator-mf", "ModelSelector"}
    assert backend.run() == ({"World", "Pusher"} | comparing, "")
    assert backend.run() == ({"World", "Pusher"}, "")
    after = served_models.served(loaded.serving_directory)
    assert after is not None
    assert after.version == served.version

    # Nobody has an age: DataGate stops the run, and nothing comes after it.
    users = (tmp_path / "users.csv").read_text(encoding="utf-8")
    broken = re.sub(r"^([^,\n]*),\d+,", r"\1,,", users, flags=re.M)
    assert broken != users
    (tmp_path / "users.csv").write_text(broken, encoding="utf-8")
    capfd.readouterr()
    executed, failed = backend.run()
    assert failed == "DataGate"
    assert not executed & {"Transform", "Trainer-mf", "ServedBaseline", "Pusher"}
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("tfx-recommender: DataGate: the data do not fit the config: age: ")
