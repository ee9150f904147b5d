"""Refuses what open-source Kubeflow Pipelines does not implement.

KFP's API server takes more than its backend runs: some of it fails only in the middle of a run,
and some of it is passed over in silence. The rules name the place in KFP's sources
(backend/src/v2) that makes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tfx_recommender.foundation.errors import UserError

# Argo's field names; KFP appends "-driver" to a task's.
_ARGO_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]{0,119}")
_PIPELINE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
# What Linux takes for one argument, its end included. Argo puts a longer one into a file; KFP's
# driver reads such a file for a component, but for a task it does not.
_ARGUMENT = 128 * 1024


def require_supported(text: str) -> None:
    """Checks a compiled pipeline.

    Args:
      text: YAML, a pipeline spec and perhaps a platform spec.

    Raises:
      UserError: names the first problem, and how many more there are.
    """
    found = problems(text)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise UserError(f"open-source Kubeflow Pipelines cannot run this: {found[0]}{more}")


def problems(text: str) -> list[str]:
    """What is wrong, each with where it is; empty if nothing is."""
    spec, *platforms = yaml.load_all(text, Loader=yaml.CSafeLoader)  # ten times the speed
    found = list(_schema_problems(spec))
    if found:
        return found  # what cannot be parsed cannot be walked either
    tasks = spec["root"]["dag"]["tasks"]
    found += _name_problems(spec, tasks)
    for label, executor in sorted(spec["deploymentSpec"]["executors"].items()):
        found += _executor_problems(label, executor)
    for name, component in sorted(spec["components"].items()):
        found += _component_problems(name, component, spec)
    root_parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, task in sorted(tasks.items()):
        found += _task_problems(name, task, tasks, spec["components"], root_parameters)
    for platform in platforms:
        found += _platform_problems(platform, spec["deploymentSpec"]["executors"])
    return found


def _schema_problems(spec: dict[str, Any]) -> Iterator[str]:
    """compiler/visitor.go: unknown fields are refused; template: schema 2.1.0 alone is run."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    if spec.get("schemaVersion") != "2.1.0":
        yield f"schemaVersion: {spec.get('schemaVersion')!r} is not 2.1.0"
    try:
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(spec["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    except json_format.ParseError as error:
        yield f"the spec does not parse: {error}"


def _name_problems(spec: dict[str, Any], tasks: dict[str, Any]) -> Iterator[str]:
    name = spec["pipelineInfo"]["name"]
    if not _PIPELINE_NAME.fullmatch(name):
        yield f"pipelineInfo.name: {name!r} is not of {_PIPELINE_NAME.pattern}"
    for kind, names in (("task", tasks), ("component", spec["components"])):
        for name in sorted(names):
            if not _ARGO_NAME.fullmatch(name):
                yield f"{kind} {name}: Argo takes letters, digits and hyphens, at most 120"
    for name in sorted(spec["components"]):
        if not name.startswith("comp-"):
            yield f"component {name}: kfp.local cuts five characters (comp-) off the name"


def _executor_problems(label: str, executor: dict[str, Any]) -> Iterator[str]:
    """compiler/visitor.go runs containers and importers."""
    kinds = sorted(executor.keys() - {"container", "importer"})
    if kinds:
        yield f"executor {label}: {', '.join(kinds)} is not implemented"
    if "lifecycle" in executor.get("container", {}):
        yield f"executor {label}: lifecycle (a driver hook) is passed over in silence"
    if executor.get("container", {}).get("image") == "":
        yield f"executor {label}: has no image"


def _component_problems(
    name: str, component: dict[str, Any], spec: dict[str, Any]
) -> Iterator[str]:
    label = component.get("executorLabel")
    if "dag" not in component and label not in spec["deploymentSpec"]["executors"]:
        yield f"component {name}: no executor {label!r}"
    for side in ("inputDefinitions", "outputDefinitions"):
        definitions = component.get(side, {})
        for key, artifact in sorted(definitions.get("artifacts", {}).items()):
            title = artifact["artifactType"].get("schemaTitle", "")
            if not title.startswith("system."):
                yield (
                    f"component {name}: artifact {key} has a type that KFP does not keep"
                    " (metadata/client.go); use system.*"
                )
        for key, parameter in sorted(definitions.get("parameters", {}).items()):
            if "parameterType" not in parameter:
                yield f"component {name}: parameter {key} is typed as in schema 2.0"


def _task_problems(
    name: str,
    task: dict[str, Any],
    tasks: dict[str, Any],
    components: dict[str, Any],
    root_parameters: dict[str, Any],
) -> Iterator[str]:
    """driver/resolve.go: where a task's inputs may come from."""
    yield from _size_problems(name, task)
    waits_for = task.get("dependentTasks", [])
    for other in waits_for:
        if other not in tasks:
            yield f"task {name}: waits for {other}, which is no task"
    reference = task["componentRef"]["name"]
    if reference not in components:
        yield f"task {name}: no component {reference!r}"
        return
    definitions = components[reference].get("inputDefinitions", {})
    for kind in ("artifacts", "parameters"):
        given = task.get("inputs", {}).get(kind, {})
        for key, source in sorted(given.items()):
            where = f"task {name}: input {key}"
            if key not in definitions.get(kind, {}):
                yield f"{where}: {reference} has no such input"
            if output := source.get("taskOutputArtifact") or source.get("taskOutputParameter"):
                yield from _output_problems(where, output, kind, waits_for, tasks, components)
            elif "componentInputParameter" in source:
                if source["componentInputParameter"] not in root_parameters:
                    yield f"{where}: there is no such pipeline parameter"
            elif "constant" not in source.get("runtimeValue", {}):
                yield f"{where}: is given in a way that schema 2.1 does not know"
        for key, definition in sorted(definitions.get(kind, {}).items()):
            if key not in given and not definition.keys() & {"defaultValue", "isOptional"}:
                yield f"task {name}: nothing sets its input {key}"


def _size_problems(name: str, task: dict[str, Any]) -> Iterator[str]:
    """cmd/driver/main.go: a task comes as an argument."""
    size = len(json.dumps(task, ensure_ascii=False).encode())
    if size >= _ARGUMENT:
        inputs = task.get("inputs", {}).get("parameters", {})
        largest = max(inputs, key=lambda key: len(json.dumps(inputs[key])), default="")
        yield (
            f"task {name}: its spec has {size:,} bytes, most of them in the input {largest}; KFP's"
            f" driver takes it as one argument of less than {_ARGUMENT:,} ('failed to unmarshal"
            " task spec'); list fewer `values` or slices in the config"
        )


def _output_problems(
    where: str,
    output: dict[str, str],
    kind: str,
    waits_for: list[str],
    tasks: dict[str, Any],
    components: dict[str, Any],
) -> Iterator[str]:
    producer = output["producerTask"]
    if producer not in tasks:
        yield f"{where}: {producer} is no task"
        return
    if producer not in waits_for:
        yield f"{where}: the task does not wait for {producer}, which makes it"
    key = output.get("outputArtifactKey") or output["outputParameterKey"]
    made = components.get(tasks[producer]["componentRef"]["name"], {}).get("outputDefinitions", {})
    if key not in made.get(kind, {}):
        yield f"{where}: {producer} has no output {key}"


def _platform_problems(platform: dict[str, Any], executors: dict[str, Any]) -> Iterator[str]:
    """The API server knows one platform, and drops executors it cannot match without a word."""
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2

    for name in sorted(platform.get("platforms", {}).keys() - {"kubernetes"}):
        yield f"platform {name}: only kubernetes is implemented"
    given = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {})
    for label, settings in sorted(given.get("executors", {}).items()):
        if label not in executors:
            yield f"platform kubernetes: no executor {label}"
        try:
            json_format.ParseDict(
                settings, kubernetes_executor_config_pb2.KubernetesExecutorConfig()
            )
        except json_format.ParseError as error:
            yield f"platform kubernetes: {label} does not parse: {error}"
