"""Every message that KFP's own driver and launcher handed to a step, read by our entry point.

`kubeflow/recorded/README.md` says where the messages come from.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tfx.components  # noqa: F401 - so that the entry point leaves the real package in place

from tests.conftest import write_small_data
from tfx_recommender.kubeflow import entrypoint, ui_artifacts
from tfx_recommender.pipeline.nodes import NODE_KINDS, WORLD, kind_of

FOLDER = Path(__file__).with_name("kubeflow") / "recorded"
PATCH = ".pod-spec-patch.json"
STEPS = sorted(path.stem for path in FOLDER.glob("*.json") if not path.name.endswith(PATCH))
LOGS = "executor-logs"


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    handler, arguments = signal.getsignal(signal.SIGTERM), sys.argv
    yield
    signal.signal(signal.SIGTERM, handler)
    sys.argv = arguments


def recorded(step: str, root: Path) -> dict[str, Any]:
    """A step's messages, the container's folders below `root`; the launcher has opened its log."""
    text = (FOLDER / f"{step}.json").read_text(encoding="utf-8")
    for folder in ("data", "serving", "minio"):
        text = text.replace(f"/{folder}/", f"{root}/{folder}/")
    found = json.loads(text.replace(f"minio:/{root}/minio/", "minio://"))
    (log,) = found["executor_input"]["outputs"]["artifacts"][LOGS]["artifacts"]
    path = Path(entrypoint.local_path(log["uri"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return found


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The container's root: the launcher's folders lie there, where a test must not write."""
    folders = {name: f"{tmp_path}{folder}" for name, folder in entrypoint._FOLDERS.items()}
    monkeypatch.setattr(entrypoint, "_FOLDERS", folders)
    return tmp_path


def arguments(step: str, message: dict[str, Any]) -> list[str]:
    contract, given = json.dumps(message["contract"]), json.dumps(message["executor_input"])
    return ["--node", step, "--contract", contract, "--input", given]


def test_all_kinds_of_nodes_of_a_pipeline_were_recorded() -> None:
    trains = {row.name for row in NODE_KINDS.values() if row.trains}
    assert {kind_of(step).name for step in STEPS} == trains


@pytest.mark.parametrize("step", [step for step in STEPS if step != WORLD])
def test_a_recorded_step_runs_and_answers_as_recorded(
    step: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfx.dsl.components.base import base_executor

    message = recorded(step, root)
    given: dict[str, Any] = {}

    class Executor(base_executor.BaseExecutor):
        def Do(  # noqa: N802 - TFX's name
            self, input_dict: Any, output_dict: Any, exec_properties: dict[str, Any]
        ) -> None:
            given.update(inputs=input_dict, outputs=output_dict, properties=exec_properties)

    monkeypatch.setattr(entrypoint, "_import_executor", lambda path: Executor)
    assert entrypoint.main(arguments(step, message)) == 0
    for direction in ("inputs", "outputs"):
        titles = message["contract"]["artifacts"][direction]
        sent = message["executor_input"].get(direction, {}).get("artifacts", {})
        assert sent.keys() == (titles.keys() | {LOGS} if direction == "outputs" else titles.keys())
        # TFX's own types again, though KFP sent none (inputs) or its own (outputs).
        types = {key: f"tfx.{one.type_name}" for key, (one,) in given[direction].items()}
        assert types == titles
        for key, (artifact,) in given[direction].items():
            uri = sent[key]["artifacts"][0]["uri"]
            assert artifact.uri == entrypoint.local_path(uri)
            assert uri.startswith("minio://") and artifact.uri.startswith(f"{root}/minio/")
            assert direction == "inputs" or Path(artifact.uri).is_dir()
    overrides = message["contract"]["overrides"].keys()
    assert given["properties"].keys() == message["contract"]["parameters"].keys() - overrides
    answer = json.loads(Path(message["executor_input"]["outputs"]["outputFile"]).read_text())
    assert places(answer) == places(message["output_metadata"])


def places(answer: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Key of an output -> its name and URI."""
    lists = {key: made["artifacts"] for key, made in answer["artifacts"].items()}
    return {key: (artifact["name"], artifact["uri"]) for key, (artifact,) in lists.items()}


def test_recorded_metadata_reach_an_executor_as_the_step_before_wrote_them(root: Path) -> None:
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils

    def read(step: str, key: str) -> Any:
        message = recorded(step, root)
        titles = message["contract"]["artifacts"]["inputs"]
        typed = entrypoint._typed(message["executor_input"]["inputs"], titles, {})
        (artifact,) = kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict(typed)[key]
        return artifact

    examples = read("Trainer-mf", "examples")
    made = recorded("RatingsExampleGen", root)["output_metadata"]["artifacts"]["examples"]
    metadata = made["artifacts"][0]["metadata"]
    assert examples.split_names == metadata["split_names"]
    assert examples.get_string_custom_property("dataset") == metadata["dataset"]
    # Written as a dict, it came back as {"struct": {"entities": 1}}.
    made = recorded("ExampleValidator", root)["output_metadata"]["artifacts"]["anomalies"]
    written = made["artifacts"][0]["metadata"]["blessed"]
    anomalies = read("DataGate", "anomalies")
    assert anomalies.get_json_value_custom_property("blessed") == written == {"entities": 1}
    assert anomalies.span == 0
    # A number was written as 1.0, came back as 1, and is read as an integer.
    assert read("Pusher", "blessing").get_int_custom_property("blessed") == 1
    assert read("Pusher", "model").get_string_custom_property("name") == "mf"


def test_the_recorded_world_is_observed_and_its_log_is_left_alone(root: Path) -> None:
    (root / "data").mkdir()
    write_small_data(root / "data")
    message = recorded("World", root)
    (log,) = message["executor_input"]["outputs"]["artifacts"][LOGS]["artifacts"]
    path = Path(entrypoint.local_path(log["uri"]))
    path.write_text("what the launcher copies\n")
    assert entrypoint.main(arguments("World", message)) == 0
    assert path.read_text() == "what the launcher copies\n"
    outputs = message["executor_input"]["outputs"]
    answer = json.loads(Path(outputs["outputFile"]).read_text())
    # KFP reads /tmp/kfp/outputs/PARAMETER only for parameters that this file does not hold.
    # World has told more since then.
    assert answer["parameterValues"].keys() >= outputs["parameters"].keys()
    found, before = answer["parameterValues"], message["output_metadata"]["parameterValues"]
    for name in ("served_digest", "withdrawn"):
        assert found[name] == before[name]


def test_an_evaluator_gives_the_ui_its_metrics_as_plain_numbers(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfx.dsl.components.base import base_executor

    message = recorded("Evaluator-mf", root)
    artifacts = message["executor_input"]["outputs"]["artifacts"]
    uri = artifacts["blessing"]["artifacts"][0]["uri"].replace("/blessing", "/metrics")
    kind = {"schemaTitle": "system.Metrics", "schemaVersion": "0.0.1"}
    artifacts["metrics"] = {"artifacts": [{"name": "metrics", "type": kind, "uri": uri}]}

    class Executor(base_executor.BaseExecutor):
        def Do(  # noqa: N802 - TFX's name
            self, input_dict: Any, output_dict: Any, exec_properties: dict[str, Any]
        ) -> None:
            candidate = {"rmse": 0.91, "mae": 0.7, "hit_rate_at_5": 0.25, "ndcg_at_5": None,
                         "hit_rate_at_5_lower_bound": 0.2, "sampled_ndcg_at_5": 0.6}  # fmt: skip
            baseline = {"rmse": 0.95, "hit_rate_at_5": 0.125, "ndcg_at_5": 0.0625}
            found = {
                "reasons": ["it is a test"],
                "candidate": [{"slice": [], "metrics": candidate}],
                "baseline": [{"slice": [], "metrics": baseline}],
            }
            (evaluation,), (blessing,) = output_dict["evaluation"], output_dict["blessing"]
            (Path(evaluation.uri) / "verdict.json").write_text(json.dumps(found))
            blessing.set_int_custom_property("blessed", 0)

    monkeypatch.setattr(entrypoint, "_import_executor", lambda path: Executor)
    assert entrypoint.main(arguments("Evaluator-mf", message)) == 0
    answer = json.loads(Path(message["executor_input"]["outputs"]["outputFile"]).read_text())
    assert answer["artifacts"]["metrics"] == {
        "artifacts": [
            {
                "name": "metrics",
                "uri": uri,
                "metadata": {
                    "blessed": 0.0,
                    "rmse": 0.91, "hit_rate_at_5": 0.25,
                    "baseline_rmse": 0.95, "baseline_hit_rate_at_5": 0.125,
                    "baseline_ndcg_at_5": 0.0625,
                },
            }
        ]
    }  # fmt: skip
    assert not Path(entrypoint.local_path(uri)).exists()


def test_what_the_ui_shows_has_a_type_that_it_draws() -> None:
    shown = [one.type for row in ui_artifacts.OF_KIND.values() for one in row.values()]
    assert set(shown) <= {"system.Metrics", "system.HTML", "system.Markdown"}
    assert ui_artifacts.OF_KIND.keys() <= NODE_KINDS.keys()
