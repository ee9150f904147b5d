"""From the DAG to a file that open-source Kubeflow Pipelines runs.

TFX's KubeflowV2DagRunner compiles the same `create_pipeline` that local runs use. What it writes
is meant for another backend, so it is rewritten (ARCHITECTURE.md says why, point by point):

- components `comp-<node>`, executors `exec-<node>`, tasks under their node's id;
- artifact types of KFP's own (`system.*`); TFX's travel as an argument of our entry point;
- our entry point as the container's command, no driver hook (`lifecycle`);
- one more task, `World`: it computes inside the run what `pipeline/world.py` says, and its
  outputs take the place of the constants in other tasks' inputs;
- one more output of each Evaluator, for KFP's UI (`ui_artifacts.py`);
- pipeline parameters with defaults; caching, retries, limits; a second document for Kubernetes.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import yaml

from tfx_recommender.components.serving import served_models
from tfx_recommender.foundation.errors import ConfigError
from tfx_recommender.kubeflow import ui_artifacts
from tfx_recommender.pipeline.nodes import NODE_KINDS, WORLD, kind_of
from tfx_recommender.pipeline.settings.beam import Beam
from tfx_recommender.pipeline.settings.config import Config, node_id, tuner_id
from tfx_recommender.pipeline.settings.kubeflow import Claim, Kubeflow, Step
from tfx_recommender.pipeline.world import World
from tfx_recommender.trainer.search_space import SearchSpace

# The label that every step's pod carries, its value the node's id: policies select by it.
NODE_LABEL = "tfx-recommender/node"
# Seconds before a step's first repetition; each further pause is twice the one before.
_FIRST_PAUSE = 60
# Values that no config contains; `_link_to_world` finds them where a World's fields would be.
_MARKS = World(
    "<data_fingerprint>",
    "<served_digest>",
    ("<withdrawn>",),
    "<destination_state>",
    "<destination_digest>",
    "<comparison>",
)
_SYSTEM_TYPES = {
    "tfx.Examples": "system.Dataset",
    "tfx.Model": "system.Model",
    "tfx.PushedModel": "system.Model",
}


class _Writer(yaml.Dumper):
    """PyYAML writes YAML 1.1: some of its plain strings are numbers or truths to KFP's reader."""


# 1e3, 0o17, 0b11 and 1_000 are numbers in YAML 1.2 or to Go's readers, y and n truths.
_READ_OTHERWISE = re.compile(
    r"[-+]?(0[xob][0-9a-fA-F_]+|(\.[0-9]|[0-9])[0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?)|[yYnN]"
)


def _write_string(writer: yaml.Dumper, value: str) -> yaml.ScalarNode:
    style = "'" if _READ_OTHERWISE.fullmatch(value) else None
    return writer.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Writer.add_representer(str, _write_string)


@dataclasses.dataclass(frozen=True)
class Parameter:
    """What an operator may change from run to run without compiling anew.

    Attributes:
      name: of the pipeline parameter.
      type: KFP's name of its type.
      default: the config's value.
      targets: (node, execution property, key.path inside the property's JSON or "") it sets.
    """

    name: str
    type: str
    default: Any
    targets: tuple[tuple[str, str, str], ...]


Search = tuple[SearchSpace, int]
"""What a search for hyperparameters may try, and how many trials each head gets."""


def compile_pipeline(config: Config, search: Search | None = None) -> str:
    """Compiles the pipeline.

    Args:
      config: with a `kubeflow` section.
      search: compiles the search for hyperparameters instead.

    Returns:
      YAML, the same bytes for the same config: the pipeline spec, and the Kubernetes platform
      spec as a second document.

    Raises:
      ConfigError: the section is missing, or names a node that the DAG has not, or a path lies
        on no mounted volume, or a serving claim stands beside a bucket.
    """
    settings = _settings(config)
    spec = _tfx_spec(config, search)
    tasks = spec["root"]["dag"]["tasks"]
    # The section is that of both pipelines.
    in_other = {
        row.name for row in NODE_KINDS.values() if not (row.searches if search else row.trains)
    }
    nodes = {node for node in settings.nodes if node.partition("-")[0] not in in_other}
    if unknown := sorted(nodes - tasks.keys() - {WORLD}):
        known = ", ".join(sorted([*tasks, WORLD]))
        raise ConfigError(f"kubeflow.nodes: no node {unknown[0]!r}; there are {known}")

    components = spec["components"]
    for task in tasks.values():
        _link_to_world(task)
    tasks[WORLD], components[WORLD] = _world(config)
    beam = _beam_arguments(config.beam, settings)
    contracts = {node: _contract(settings, beam, node, components[node]) for node in tasks}
    for node in tasks:
        _add_ui_artifacts(node, components[node])
    for parameter in run_parameters(config, search):
        _add_parameter(parameter, spec["root"], tasks, components, contracts)
    for node, task in tasks.items():
        _schedule(settings.step(node), node, task)
        task["componentRef"] = {"name": f"comp-{node}"}
        components[node]["executorLabel"] = f"exec-{node}"

    spec["components"] = {f"comp-{node}": components[node] for node in tasks}
    spec["deploymentSpec"]["executors"] = {
        f"exec-{node}": {"container": _container(settings, node, contracts[node])} for node in tasks
    }
    if settings.pipeline_root:
        spec["defaultPipelineRoot"] = settings.pipeline_root
    platform = {
        "platforms": {
            "kubernetes": {
                "deploymentSpec": {
                    "executors": {f"exec-{node}": _kubernetes(settings, node) for node in tasks}
                }
            }
        }
    }
    return yaml.dump_all([spec, platform], Dumper=_Writer, sort_keys=True, allow_unicode=True)


def run_parameters(config: Config, search: Search | None = None) -> tuple[Parameter, ...]:
    """The pipeline's parameters; the defaults are the config's values."""
    if search is None:
        learners = [node_id("Trainer", name) for name in config.models.chosen()]
    else:
        learners = [tuner_id(name, head) for name, head in config.tuned_heads(search[0])]
    kinds = [row for row in NODE_KINDS.values() if (row.searches if search else row.trains)]
    serving = [row.name for row in kinds if row.reads_serving or row.writes_serving]
    readers = [(row.name, "data") for row in kinds if row.reads_data]
    rows = "events" if config.data.ratings is None else "ratings"
    parameters = [
        Parameter(
            f"{rows}_paths",
            "LIST",
            list(config.data.interactions.paths),
            tuple((*reader, f"{rows}.paths") for reader in readers),
        ),
        Parameter(
            "serving_directory",
            "STRING",
            config.serving_directory,
            tuple((node, "serving_directory", "") for node in serving),
        ),
        Parameter("rebase_baseline", "BOOLEAN", False, ((WORLD, "rebase_baseline", ""),)),
        Parameter(
            "seed",
            "NUMBER_INTEGER",
            config.seed,
            tuple((learner, "custom_config", "seed") for learner in learners),
        ),
    ]
    for side, file in (("users", config.data.users), ("items", config.data.items)):
        if file is not None:
            targets = tuple((*reader, f"{side}.path") for reader in readers)
            parameters.append(Parameter(f"{side}_path", "STRING", file.path, targets))
    trained_models = config.models.chosen() if search is None else {}
    for name, model in trained_models.items():
        for head in ("rating", "preference"):
            trained = getattr(getattr(model, head), "training", None)
            if trained is None:  # sampled, not trained
                continue
            for knob, kind in (("epochs", "NUMBER_INTEGER"), ("learning_rate", "NUMBER_DOUBLE")):
                target = (node_id("Trainer", name), "custom_config", f"{head}.training.{knob}")
                default = getattr(trained, knob)
                parameters.append(Parameter(f"{name}_{head}_{knob}", kind, default, (target,)))
    return tuple(parameters)


def _settings(config: Config) -> Kubeflow:
    """The section, checked against the rest of the config."""
    if config.kubeflow is None:
        raise ConfigError("kubeflow: the config has no such section; see kubeflow/README.md")
    settings = config.kubeflow
    files = [file.path for file in (config.data.users, config.data.items) if file is not None]
    for path in [*config.data.interactions.paths, *files]:
        _require_on("data", path, settings.data_claim, "data_claim")
    for name in ("serving_claim", "serving_read_claim"):
        if getattr(settings, name) is not None and served_models.in_bucket(config.serving_root):
            raise ConfigError(
                f"kubeflow.{name}: serving_root is in a bucket, which no step mounts; remove it"
            )
        _require_on("serving_root", config.serving_directory, getattr(settings, name), name)
    return settings


def _require_on(key: str, path: str, claim: Claim | None, name: str) -> None:
    if claim is not None and not path.startswith(f"{claim.mount_path.rstrip('/')}/"):
        raise ConfigError(
            f"{key}: {path} is not below {claim.mount_path}, where kubeflow.{name} is mounted;"
            " give the path as the containers see it"
        )


def _tfx_spec(config: Config, search: Search | None) -> dict[str, Any]:
    """What TFX compiles, as a dictionary."""
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

    from tfx_recommender.pipeline import dag

    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image="unused", use_pipeline_spec_2_1=True
        )
    )
    # The pipeline root is the cluster's, not the config's.
    if search is None:
        pipeline = dag.create_pipeline(config, _MARKS, "unused")
    else:
        pipeline = dag.create_tuning(config, *search, _MARKS, "unused")
    return runner.run(pipeline, write_out=False)["pipelineSpec"]


def _link_to_world(task: dict[str, Any]) -> None:
    """Where the DAG put a mark, the task reads World's output instead."""
    outputs = {
        json.dumps([*value]) if isinstance(value, tuple) else value: field
        for field, value in dataclasses.asdict(_MARKS).items()
    }
    linked = False
    for name, source in task.get("inputs", {}).get("parameters", {}).items():
        value = source["runtimeValue"]["constant"]
        if isinstance(value, str) and value in outputs:
            task["inputs"]["parameters"][name] = {
                "taskOutputParameter": {
                    "producerTask": WORLD,
                    "outputParameterKey": outputs[value],
                }
            }
            linked = True
    if linked:
        task["dependentTasks"] = sorted([*task.get("dependentTasks", []), WORLD])


def _world(config: Config) -> tuple[dict[str, Any], dict[str, Any]]:
    """The task and the component of World."""
    constants: dict[str, tuple[str, Any]] = {
        "data": ("STRING", config.data.to_json()),
        "split": ("STRING", config.split.model_dump_json()),
        "serving_directory": ("STRING", config.serving_directory),
        "rebase_baseline": ("BOOLEAN", False),
    }
    task = {
        "taskInfo": {"name": WORLD},
        "inputs": {
            "parameters": {
                name: {"runtimeValue": {"constant": value}}
                for name, (_, value) in constants.items()
            }
        },
    }
    component = {
        "inputDefinitions": {
            "parameters": {name: {"parameterType": kind} for name, (kind, _) in constants.items()}
        },
        "outputDefinitions": {
            "parameters": {
                field.name: {"parameterType": "STRING"} for field in dataclasses.fields(World)
            }
        },
    }
    return task, component


def _contract(
    settings: Kubeflow, beam: list[str], node: str, component: dict[str, Any]
) -> dict[str, Any]:
    """What our entry point is told of a step: what the rewritten component no longer says.

    `artifacts`: TFX's types of inputs and outputs, which move here from the component;
    `parameters`: KFP's types (JSON knows no integers); `overrides`: input -> execution property
    and key.path in it; `beam`: Beam's pipeline options; `threads`: TensorFlow's; `store`: the
    scheme and bucket of artifacts, "" if they are the cluster's.

    All of it is a part of the step's command, and so of KFP's cache key. `store` is there for that
    alone: an artifact in another store is read with this store's region and keys, which fails.
    """
    types: dict[str, dict[str, str]] = {"inputs": {}, "outputs": {}}
    for direction, definitions in (
        ("inputs", component.get("inputDefinitions", {})),
        ("outputs", component.get("outputDefinitions", {})),
    ):
        for key, definition in definitions.get("artifacts", {}).items():
            title = yaml.safe_load(definition["artifactType"]["instanceSchema"])["title"]
            types[direction][key] = title
            definition["artifactType"] = {
                "schemaTitle": _SYSTEM_TYPES.get(title, "system.Artifact"),
                "schemaVersion": "0.0.1",
            }
    parameters = component.get("inputDefinitions", {}).get("parameters", {})
    return {
        "artifacts": types,
        "parameters": {name: kind["parameterType"] for name, kind in parameters.items()},
        "overrides": {},
        "beam": beam if kind_of(node).uses_beam else [],
        "threads": settings.step(node).threads,
        "store": _store(settings.pipeline_root),
    }


def _store(pipeline_root: str | None) -> str:
    """`minio://bucket/folder?region=x` -> `minio://bucket`."""
    found = re.match(r"[a-z0-9]+://[^/?]+", pipeline_root or "")
    return found[0] if found else ""


def _add_ui_artifacts(node: str, component: dict[str, Any]) -> None:
    for key, shown in ui_artifacts.OF_KIND.get(kind_of(node).name, {}).items():
        component["outputDefinitions"]["artifacts"][key] = {
            "artifactType": {"schemaTitle": shown.type, "schemaVersion": "0.0.1"}
        }


def _beam_arguments(beam: Beam, settings: Kubeflow) -> list[str]:
    if settings.beam_arguments:
        return list(settings.beam_arguments)
    if beam.is_loopback:
        raise ConfigError(
            "beam.environment: loopback is out of reach for an engine outside the step's pod; set"
            " external and worker_pool, or kubeflow.beam_arguments for the cluster"
        )
    return beam.arguments()


def _container(settings: Kubeflow, node: str, contract: dict[str, Any]) -> dict[str, Any]:
    """The container of a step."""
    step = settings.step(node)
    return {
        "image": settings.image,
        "command": ["python", "-m", "tfx_recommender.kubeflow.entrypoint"],
        "args": [
            *("--node", node),
            *("--contract", json.dumps(contract, sort_keys=True)),
            *("--input", "{{$}}"),
        ],
        "resources": {
            "resourceCpuRequest": step.cpu_request,
            "resourceCpuLimit": step.cpu_limit,
            "resourceMemoryRequest": step.memory_request,
            "resourceMemoryLimit": step.memory_limit,
        },
    }


def _add_parameter(
    parameter: Parameter,
    root: dict[str, Any],
    tasks: dict[str, Any],
    components: dict[str, Any],
    contracts: dict[str, Any],
) -> None:
    """A pipeline parameter is an input of each step it concerns, so a part of its cache key."""
    definitions = root.setdefault("inputDefinitions", {}).setdefault("parameters", {})
    definitions[parameter.name] = {
        "parameterType": parameter.type,
        "defaultValue": parameter.default,
        "isOptional": True,
    }
    for node, key, path in parameter.targets:
        # A whole property is replaced in the spec; a part of one by our entry point.
        name = parameter.name if path else key
        tasks[node]["inputs"]["parameters"][name] = {"componentInputParameter": parameter.name}
        components[node]["inputDefinitions"]["parameters"][name] = {"parameterType": parameter.type}
        contracts[node]["parameters"][name] = parameter.type
        if path:
            contracts[node]["overrides"][name] = [key, path]


def _schedule(step: Step, node: str, task: dict[str, Any]) -> None:
    """Caching and retries."""
    task["cachingOptions"] = {"enableCache": True} if kind_of(node).is_cached else {}
    if step.retries and kind_of(node).is_retried:
        # KFP hands this to Argo as `maxDuration`, which is no longest pause: that long after the
        # first start a step that runs is killed, and one that failed is not repeated.
        pauses = sum(_FIRST_PAUSE * 2**n for n in range(step.retries))
        longest = (step.retries + 1) * step.timeout_minutes * 60 + pauses
        task["retryPolicy"] = {
            "maxRetryCount": step.retries,
            "backoffDuration": f"{_FIRST_PAUSE}s",
            "backoffFactor": 2,
            "backoffMaxDuration": f"{longest}s",
        }


def _kubernetes(settings: Kubeflow, node: str) -> dict[str, Any]:
    """What KFP's Kubernetes platform spec says of a step."""
    step = settings.step(node)
    result: dict[str, Any] = {
        "activeDeadlineSeconds": step.timeout_minutes * 60,
        "securityContext": {"runAsNonRoot": True},  # KFP reads it from 2.16 on
        "podMetadata": {"labels": {NODE_LABEL: node}},
        # All that a step writes outside its artifacts; the root may be read-only.
        "emptyDirMounts": [{"volumeName": "scratch", "mountPath": "/tmp"}],
    }
    if claims := _claims(settings, node):
        result["pvcMount"] = [
            {
                "mountPath": claim.mount_path,
                "pvcNameParameter": {"runtimeValue": {"constant": claim.name}},
            }
            for claim in claims
        ]
    if step.node_selector:
        result["nodeSelector"] = {"labels": step.node_selector}
    if step.tolerations:
        result["tolerations"] = [
            toleration.model_dump(exclude_none=True) for toleration in step.tolerations
        ]
    if step.secrets:
        result["secretAsEnv"] = [
            {
                "secretNameParameter": {"runtimeValue": {"constant": secret.secret}},
                "keyToEnv": [{"secretKey": secret.key, "envVar": secret.variable}],
            }
            for secret in step.secrets
        ]
    if settings.image_pull_secret:
        name = {"runtimeValue": {"constant": settings.image_pull_secret}}
        result["imagePullSecret"] = [{"secretNameParameter": name}]
    return result


def _claims(settings: Kubeflow, node: str) -> list[Claim]:
    """The volumes a step may see."""
    claims, kind = [], kind_of(node)
    if kind.reads_data:
        claims.append(settings.data_claim)
    if kind.reads_serving:
        claims.append(settings.serving_read_claim or settings.serving_claim)
    if kind.writes_serving:
        claims.append(settings.serving_claim)
    return [claim for claim in claims if claim is not None]
