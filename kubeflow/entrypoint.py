"""What each step's container runs, between KFP's launcher and a TFX executor.

    python -m tfx_recommender.kubeflow.entrypoint --node NODE --contract JSON --input JSON

KFP hands over artifacts of its own types (or none) and URIs of a bucket whose files its launcher
has put into local folders. TFX executors want TFX's types and local paths. The exit code is that
of `foundation/errors.py` (KFP's launcher, which runs us, makes 1 of any failure), and our last line
on standard error says what is wrong (in a pod's log the launcher's own lines follow it).
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import os
import signal
import sys
import tempfile
import time
import traceback
import types
from typing import Any, NoReturn

from tfx_recommender.foundation.errors import UserError
from tfx_recommender.pipeline import nodes

# Where KFP's launcher puts the files of a URI (backend/src/v2/component/launcher_v2.go).
_FOLDERS = {"minio://": "/minio/", "s3://": "/s3/", "gs://": "/gcs/"}
_CASTS = {"NUMBER_INTEGER": int, "NUMBER_DOUBLE": float}
# KFP's metadata store hands dict-valued metadata back as {"struct": {...}}.
_STRUCT = "struct"


def main(arguments: list[str] | None = None) -> int:
    """Runs one step; returns the exit code: 0, 2 bad config, 3 bad data, 143 stopped, else 1."""
    start = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--node", required=True, help="the node's id in the DAG")
    parser.add_argument("--contract", required=True, type=json.loads, help="see compiler.py")
    parser.add_argument("--input", required=True, type=json.loads, help="KFP's ExecutorInput")
    step = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    # Beam and absl read the command line too, and would take our arguments for theirs.
    sys.argv = sys.argv[:1]
    _limit_threads(step.contract)
    try:
        properties = exec_properties(step.input, step.contract)
        if step.node == nodes.WORLD:
            output = {"parameterValues": observe_world(properties)}
        else:
            output = _execute(step.node, step.contract, step.input, properties, start)
        _write(step.input["outputs"]["outputFile"], output)
    except UserError as error:
        return _fail(step.node, str(error), error.exit_code)
    except SystemExit as stopped:
        return _fail(step.node, "stopped by SIGTERM", int(stopped.code or 1))
    except BaseException as error:
        traceback.print_exc()
        return _fail(step.node, f"{type(error).__name__}: {error}", 1)
    _say(step.node, f"done after {time.monotonic() - start:.1f} s")
    return 0


def local_path(uri: str) -> str:
    """Where the launcher puts the files of a URI; other URIs are paths already."""
    for scheme, folder in _FOLDERS.items():
        if uri.startswith(scheme):
            return folder + uri.removeprefix(scheme)
    return uri


def exec_properties(executor_input: dict[str, Any], contract: dict[str, Any]) -> dict[str, Any]:
    """A step's execution properties, pipeline parameters set in.

    Args:
      executor_input: KFP's ExecutorInput as JSON.
      contract: see `compiler._contract`.

    Raises:
      KeyError: the contract overrides a property that is not there.
    """
    values = {}
    for name, value in executor_input.get("inputs", {}).get("parameterValues", {}).items():
        cast = _CASTS.get(contract["parameters"][name])
        values[name] = cast(value) if cast else value
    for name, (key, path) in contract["overrides"].items():
        content = json.loads(values[key])
        *parents, last = path.split(".")
        target = content
        for parent in parents:
            target = target[parent]
        target[last] = values.pop(name)
        values[key] = json.dumps(content)
    return values


def observe_world(properties: dict[str, Any]) -> dict[str, str]:
    """The World step: each field of `pipeline.world.World` as an output parameter.

    Raises:
      BadDataError: a data file cannot be read.
      ConfigError: the served model was trained with another split, or other feedback.
      UserError: the serving place is in a bucket that does not answer or refuses.
    """
    from pydantic import TypeAdapter

    from tfx_recommender.components.ratings_example_gen.config import Data, Split
    from tfx_recommender.components.serving import served_models
    from tfx_recommender.pipeline import comparisons, world

    now = datetime.datetime.now(datetime.UTC)
    directory, rebase = properties["serving_directory"], properties["rebase_baseline"]
    served = served_models.served(directory)
    data = Data.from_json(properties["data"])
    if served is not None and not rebase:
        split = TypeAdapter(Split).validate_json(properties["split"])
        world.require_comparable(data, split, served)
    found = world.observe(data, directory, served, rebase)
    return {
        "data_fingerprint": found.data_fingerprint,
        "served_digest": found.served_digest,
        "withdrawn": json.dumps(sorted(found.withdrawn)),
        "destination_state": found.destination_state,
        "destination_digest": found.destination_digest,
        "comparison": str(comparisons.number_by_date(None if rebase else served, now)),
    }


def _limit_threads(contract: dict[str, Any]) -> None:
    """TensorFlow takes every core it sees, and a pod sees all of its node's, not its limit.

    What it computes depends on the number of threads, so that number is a part of the contract,
    and by it of the cache key. Nothing may have imported TensorFlow before.
    """
    if threads := contract.get("threads"):  # not in files that earlier versions compiled
        for kind in ("INTRAOP", "INTEROP"):
            os.environ[f"TF_NUM_{kind}_THREADS"] = str(threads)


def _execute(
    node: str,
    contract: dict[str, Any],
    executor_input: dict[str, Any],
    properties: dict[str, Any],
    start: float,
) -> dict[str, Any]:
    """Runs the node's TFX executor; returns KFP's ExecutorOutput as JSON."""
    nodes.require_known_code(node, properties)
    executor_class = _import_executor(node)
    from google.protobuf import json_format
    from tfx.dsl.components.base import base_beam_executor, base_executor
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as tfx_utils

    from tfx_recommender.pipeline.local import beam_engine

    names: dict[int, str] = {}
    uris: dict[str, str] = {}
    artifacts = {
        direction: tfx_utils.parse_raw_artifact_dict(
            _typed(executor_input.get(direction, {}), contract["artifacts"][direction], uris), names
        )
        for direction in ("inputs", "outputs")
    }
    with tempfile.TemporaryDirectory() as folder:
        if issubclass(executor_class, base_beam_executor.BaseBeamExecutor):
            context = base_beam_executor.BaseBeamExecutor.Context(
                beam_pipeline_args=contract["beam"], tmp_dir=folder, unique_id=node
            )
        else:
            context = base_executor.BaseExecutor.Context(tmp_dir=folder, unique_id=node)
        _say(node, f"ready after {time.monotonic() - start:.1f} s")
        with beam_engine.prepared(contract["beam"]):
            executor_class(context).Do(artifacts["inputs"], artifacts["outputs"], properties)
    output = {}
    for key, produced in tfx_utils.translate_executor_output(artifacts["outputs"], names).items():
        for artifact in produced.artifacts:
            artifact.uri = uris[artifact.uri]
        output[key] = json_format.MessageToDict(produced)
    return {"artifacts": output | _for_the_ui(node, executor_input, artifacts["outputs"])}


def _for_the_ui(
    node: str, executor_input: dict[str, Any], outputs: dict[str, Any]
) -> dict[str, Any]:
    """The outputs that KFP's UI shows, as in ExecutorOutput."""
    from tfx_recommender.kubeflow import ui_artifacts

    filled = {}
    asked = executor_input["outputs"].get("artifacts", {})
    for key, shown in ui_artifacts.OF_KIND.get(nodes.kind_of(node).name, {}).items():
        if key in asked:  # not in files that earlier versions compiled
            (given,) = asked[key]["artifacts"]
            metadata = shown.fill(outputs, local_path(given["uri"]))
            filled[key] = {
                "artifacts": [{"name": given["name"], "uri": given["uri"], "metadata": metadata}]
            }
    return filled


def _import_executor(node: str) -> type:
    """Imports a node's executor without the rest of TFX: half of a step's start-up."""
    import importlib

    from tfx_recommender.pipeline.local import slim_imports

    slim_imports.components_one_by_one()
    path = nodes.kind_of(node).executor
    assert path is not None, f"{node} has no executor"
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _typed(side: dict[str, Any], titles: dict[str, str], uris: dict[str, str]) -> dict[str, Any]:
    """KFP's artifact lists as TFX reads them: with TFX's types and local paths, folders made.

    Artifacts that `titles` does not name are not the executor's: KFP adds
    `executor-logs` to every step's outputs (from 2.5), whose file its launcher has opened already,
    and our compiler adds what the UI shows.

    Fills `uris`: local path -> the URI that KFP knows it by.
    """
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    lists = {}
    for key, given in side.get("artifacts", {}).items():
        if key not in titles:
            continue
        produced = json_format.ParseDict(
            given, pipeline_spec_pb2.ArtifactList(), ignore_unknown_fields=True
        )
        for artifact in produced.artifacts:
            # Open-source KFP sends no type, or its own (kubeflow/pipelines issue 13476).
            artifact.type.schema_title = titles[key]
            for value in artifact.metadata.fields.values():
                if value.struct_value.fields.keys() == {_STRUCT}:
                    value.CopyFrom(copy.deepcopy(value.struct_value.fields[_STRUCT]))
            path = local_path(artifact.uri)
            uris[path], artifact.uri = artifact.uri, path
            if "outputFile" in side:
                os.makedirs(path, exist_ok=True)
        lists[key] = produced
    return lists


def _write(path: str, output: dict[str, Any]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(output, file)


def _stop(number: int, frame: types.FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _say(node: str, what: str) -> None:
    print(f"tfx-recommender: {node}: {what}", file=sys.stderr, flush=True)


def _fail(node: str, message: str, code: int) -> int:
    _say(node, " ".join(message.split()))
    return code


if __name__ == "__main__":
    # Beam's and TensorFlow's threads must not keep a finished step alive, nor speak after its
    # last line.
    status = main()
    sys.stdout.flush()
    os._exit(status)
