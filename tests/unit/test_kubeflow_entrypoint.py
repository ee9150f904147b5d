"""The containers' entry point: URIs, types, parameters, exit codes, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tfx.components  # noqa: F401 - so that the entry point leaves the real package in place
import yaml

from tests.conftest import write_config
from tfx_recommender.components.serving import served_models
from tfx_recommender.kubeflow import entrypoint
from tfx_recommender.pipeline.settings import config_file

MODULE = "tfx_recommender.kubeflow.entrypoint"


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    handler, arguments = signal.getsignal(signal.SIGTERM), sys.argv
    yield
    signal.signal(signal.SIGTERM, handler)
    sys.argv = arguments


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("minio://mlpipeline/v2/artifacts/x", "/minio/mlpipeline/v2/artifacts/x"),
        ("s3://bucket/x", "/s3/bucket/x"),
        ("gs://bucket/x", "/gcs/bucket/x"),
        ("/runs/small/x", "/runs/small/x"),
    ],
)
def test_a_uri_is_found_where_the_launcher_puts_its_files(uri: str, path: str) -> None:
    assert entrypoint.local_path(uri) == path


def test_parameters_are_set_into_the_properties_json_and_typed() -> None:
    kinds = {"lower": "NUMBER_INTEGER", "low": "NUMBER_DOUBLE", "epochs": "NUMBER_INTEGER"}
    contract = {
        "parameters": kinds | {"custom_config": "STRING"},
        "overrides": {"epochs": ["custom_config", "training.epochs"]},
    }
    before = {"training": {"epochs": 60, "patience": 3}, "seed": 1}
    given = {"lower": 1.0, "low": 1, "epochs": 3.0, "custom_config": json.dumps(before)}
    found = entrypoint.exec_properties({"inputs": {"parameterValues": given}}, contract)
    assert found.keys() == {"lower", "low", "custom_config"}
    assert (found["lower"], type(found["lower"])) == (1, int)
    assert (found["low"], type(found["low"])) == (1.0, float)
    assert json.loads(found["custom_config"]) == {
        "training": {"epochs": 3, "patience": 3}, "seed": 1,
    }  # fmt: skip


def arguments(node: str, contract: dict[str, Any], executor_input: dict[str, Any]) -> list[str]:
    filled = {"artifacts": {"inputs": {}, "outputs": {}}, "parameters": {}, "overrides": {},
              "beam": []} | contract  # fmt: skip
    return ["--node", node, "--contract", json.dumps(filled), "--input", json.dumps(executor_input)]


def ingestion(small: Path, uri: str, **changes: Any) -> list[str]:
    """The arguments of RatingsExampleGen, its types as the backend sends them: empty."""
    loaded = config_file.load(str(small / "config.yaml"))
    parameters = {
        "data": loaded.data.model_dump_json(),
        "split": loaded.split.model_dump_json(),
        "relevance_threshold": 1,
        "fingerprint": "",
    } | changes
    kinds = dict.fromkeys(parameters, "STRING") | {"relevance_threshold": "NUMBER_DOUBLE"}
    types = {"examples": "tfx.Examples", "schema_artifact": "tfx.Schema"}
    outputs = {
        key: {"artifacts": [{"name": key, "uri": f"{uri}/{key}", "type": {"instanceSchema": ""}}]}
        for key in types
    }
    return arguments(
        "RatingsExampleGen",
        {"artifacts": {"inputs": {}, "outputs": types}, "parameters": kinds},
        {
            "inputs": {"parameterValues": parameters},
            "outputs": {"artifacts": outputs, "outputFile": str(small / "out" / "output.json")},
        },
    )


@pytest.mark.parametrize("scheme", ["minio://", "s3://", "gs://"])
def test_outputs_lie_where_the_launcher_looks_and_keep_their_uri(
    small: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The launcher's folders are at the root of the container, where a test must not write.
    folders = {name: f"{small}{folder}" for name, folder in entrypoint._FOLDERS.items()}
    monkeypatch.setattr(entrypoint, "_FOLDERS", folders)
    assert entrypoint.main(ingestion(small, f"{scheme}bucket/run")) == 0
    output = json.loads((small / "out" / "output.json").read_text())["artifacts"]
    (examples,) = output["examples"]["artifacts"]
    assert examples["uri"] == f"{scheme}bucket/run/examples"
    names = ["train", "validation", "test", "train_entities", "entities"]
    assert json.loads(examples["metadata"]["split_names"]) == names
    written = Path(folders[scheme]) / "bucket" / "run"
    assert any((written / "examples" / "Split-train").iterdir())
    assert (written / "schema_artifact" / "schema.pbtxt").exists()


def test_inputs_without_a_type_are_given_tfxs_back(small: Path) -> None:
    """What a step hands to the next through KFP: metadata as JSON, the type empty."""
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils

    given = {"uri": "s3://bucket/x", "type": {"instanceSchema": ""},
             "metadata": {"blessed": 1.0, "verdicts": "{}"}}  # fmt: skip
    typed = entrypoint._typed(
        {"artifacts": {"blessing": {"artifacts": [given]}}}, {"blessing": "tfx.ModelBlessing"}, {}
    )
    (blessing,) = kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict(typed)["blessing"]
    assert blessing.type_name == "ModelBlessing"
    assert blessing.uri == "/s3/bucket/x"
    assert blessing.get_int_custom_property("blessed") == 1


def test_bad_data_ends_with_3_and_names_the_line(
    small: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with open(small / "ratings.csv", "a", encoding="utf-8") as file:
        file.write("u1,ï1,9,5\n")
    assert entrypoint.main(ingestion(small, str(small / "artifacts"))) == 3
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"tfx-recommender: RatingsExampleGen: {small}/ratings.csv:")
    assert not (small / "out" / "output.json").exists()


def test_d9_data_that_changed_after_they_were_fingerprinted_end_the_step_with_3(
    small: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fingerprint = observed(small)["data_fingerprint"]
    path = small / "ratings.csv"
    content = path.read_bytes()
    path.write_bytes(content[:-2] + b"7\n")
    given = ingestion(small, str(small / "artifacts"), fingerprint=fingerprint)
    assert entrypoint.main(given) == 3
    assert "changed after the run began" in capfd.readouterr().err.strip().splitlines()[-1]
    path.write_bytes(content)
    assert entrypoint.main(given) == 0


def test_any_other_error_ends_with_1_and_says_what_was_raised_last(
    small: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert entrypoint.main(ingestion(small, str(small / "artifacts"), split="{}")) == 1
    lines = capfd.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("tfx-recommender: RatingsExampleGen: ValidationError: ")
    assert any(line.startswith("Traceback") for line in lines)


def world(folder: Path, **changes: Any) -> list[str]:
    loaded = config_file.load(str(folder / "config.yaml"))
    parameters = {
        "data": loaded.data.model_dump_json(),
        "split": loaded.split.model_dump_json(),
        "serving_directory": loaded.serving_directory,
        "rebase_baseline": False,
    } | changes
    return arguments(
        "World",
        {"parameters": dict.fromkeys(parameters, "STRING")},
        {
            "inputs": {"parameterValues": parameters},
            "outputs": {"outputFile": str(folder / "world.json")},
        },
    )


def observed(folder: Path, **changes: Any) -> dict[str, str]:
    assert entrypoint.main(world(folder, **changes)) == 0
    return json.loads((folder / "world.json").read_text())["parameterValues"]


def serve(folder: Path, split: Any) -> served_models.ServedModel:
    (folder / "model").mkdir()
    (folder / "model" / "saved_model.pb").write_text("model")
    loaded = config_file.load(str(folder / "config.yaml"))
    record = {"split": split, "withdrawn": ["b", "a"]}
    return served_models.push(str(folder / "model"), loaded.serving_directory, record)


def test_k5_a_changed_digit_changes_the_fingerprint_and_nothing_else_does(small: Path) -> None:
    before = observed(small)
    assert observed(small)["data_fingerprint"] == before["data_fingerprint"]
    path = small / "ratings.csv"
    times, text = path.stat(), path.read_text(encoding="utf-8")
    changed = text.replace(",5,", ",4,", 1)
    assert changed != text
    path.write_text(changed, encoding="utf-8")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert observed(small)["data_fingerprint"] != before["data_fingerprint"]


def test_world_tells_what_is_served_and_forgets_it_on_request(small: Path) -> None:
    assert observed(small)["served_digest"] == ""
    split = config_file.load(str(small / "config.yaml")).split.model_dump(mode="json")
    served = serve(small, split)
    found = observed(small)
    assert found["served_digest"] == served.digest
    assert json.loads(found["withdrawn"]) == ["a", "b"]
    assert found["destination_state"].startswith(str(served.version))
    assert observed(small, rebase_baseline=True)["served_digest"] == ""


def test_world_refuses_another_split_than_the_served_models(
    small: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    serve(small, {"strategy": "leave_last_out", "validation": 1, "test": 1})
    assert entrypoint.main(world(small)) == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("tfx-recommender: World: split: the served model (version ")
    assert observed(small, rebase_baseline=True)["served_digest"] == ""


@pytest.mark.slow
def test_sigterm_ends_a_step_at_once_with_a_word(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    with open(loaded["data"]["ratings"]["paths"][0], "wb") as file:
        file.truncate(2**42)  # a hole that takes an hour to read
    command = [sys.executable, "-m", MODULE, *world(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as step:
        with pytest.raises(subprocess.TimeoutExpired):
            step.wait(6)
        step.terminate()
        assert step.wait(10) == 143
        assert step.stderr is not None
        assert step.stderr.read().strip() == "tfx-recommender: World: stopped by SIGTERM"


def test_k5_tensorflow_gets_the_contracts_threads_whatever_the_pod_sees(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("INTRAOP", "INTEROP"):
        monkeypatch.setenv(f"TF_NUM_{kind}_THREADS", "64")
    command = world(small)
    contract = json.loads(command[3]) | {"threads": 3}
    assert entrypoint.main([*command[:3], json.dumps(contract), *command[4:]]) == 0
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == os.environ["TF_NUM_INTEROP_THREADS"] == "3"
    # A file that an earlier version compiled says nothing of threads.
    assert entrypoint.main(command) == 0
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == "3"


@pytest.mark.slow
def test_tensorflow_takes_the_number_of_threads_from_there() -> None:
    code = (
        "from tfx_recommender.kubeflow import entrypoint;"
        "entrypoint._limit_threads({'threads': 1}); import os, tensorflow as tf;"
        "before = len(os.listdir('/proc/self/task'));"
        "tf.linalg.matmul(tf.ones([64, 64]), tf.ones([64, 64]));"
        "print(len(os.listdir('/proc/self/task')) - before)"
    )
    started = []
    for threads in ("1", "9"):
        command = [sys.executable, "-c", code.replace("'threads': 1", f"'threads': {threads}")]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        started.append(int(done.stdout.split()[-1]))
    assert started[1] - started[0] >= 8


def imported(statement: str, *modules: str) -> list[bool]:
    """Which of the modules a fresh process that runs the statement imports."""
    code = f"import sys; from {MODULE.rpartition('.')[0]} import entrypoint; {statement}"
    code += f"; print([name in sys.modules for name in {modules!r}])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return json.loads(done.stdout.splitlines()[-1].lower())


@pytest.mark.slow
def test_a_step_imports_its_own_executor_alone(small: Path) -> None:
    assert imported(f"entrypoint.main({world(small)!r})", "tensorflow", "tfx") == [False, False]
    statistics = "entrypoint._import_executor('StatisticsGen')"
    parts = ("tfx.components.statistics_gen", "tfx.components.transform")
    assert imported(statistics, *parts) == [True, False]
