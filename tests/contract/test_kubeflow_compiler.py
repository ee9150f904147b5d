"""K1-K3, K5-K7, K9: what is compiled for Kubeflow, node by node."""

import copy
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from tfx.dsl.component.experimental.annotations import OutputDict, Parameter
from tfx.dsl.component.experimental.decorators import component

from tfx_recommender.foundation.errors import ConfigError, UserError
from tfx_recommender.kubeflow import cli as kubeflow_cli  # noqa: F401 - adds its commands
from tfx_recommender.kubeflow import compiler, spec_check
from tfx_recommender.pipeline import cli, dag
from tfx_recommender.pipeline.nodes import WORLD
from tfx_recommender.pipeline.settings import config, config_file
from tfx_recommender.pipeline.world import World


@component
def Maker() -> OutputDict(value=str):  # type: ignore[valid-type]  # noqa: N802 - TFX's style
    """Makes a value."""
    return {"value": ""}


@component
def Taker(value: Parameter[str]) -> None:  # noqa: N802 - TFX's style
    """Takes a value as an execution property."""


FOLDER = Path(__file__).with_name("kubeflow")


@pytest.fixture(scope="module")
def golden() -> config.Config:
    return config_file.load(str(FOLDER / "config.yaml"))


@pytest.fixture(scope="module")
def text(golden: config.Config) -> str:
    return compiler.compile_pipeline(golden)


@pytest.fixture(scope="module")
def spec(text: str) -> dict[str, Any]:
    return next(yaml.load_all(text, Loader=yaml.CSafeLoader))


@pytest.fixture(scope="module")
def tasks(spec: dict[str, Any]) -> dict[str, Any]:
    return spec["root"]["dag"]["tasks"]


def test_k1_compiling_gives_the_golden_bytes_each_time(golden: config.Config, text: str) -> None:
    assert text == (FOLDER / "pipeline.yaml").read_text(encoding="utf-8")
    assert text == compiler.compile_pipeline(golden)


def test_the_command_writes_the_golden_file_or_says_why_not(tmp_path: Path) -> None:
    def compile_to(path: Path) -> Result:
        arguments = ["kubeflow", "compile", str(FOLDER / "config.yaml"), "-o", str(path)]
        return CliRunner().invoke(cli.cli, arguments)

    assert compile_to(tmp_path / "pipeline.yaml").exit_code == 0
    assert (tmp_path / "pipeline.yaml").read_bytes() == (FOLDER / "pipeline.yaml").read_bytes()
    error = compile_to(tmp_path / "no" / "pipeline.yaml").exception
    assert isinstance(error, ConfigError)
    assert str(error).endswith("pipeline.yaml: cannot be written (No such file or directory)")


def test_k7_nodes_and_edges_are_the_local_dags_and_world(
    golden: config.Config, tasks: dict[str, Any]
) -> None:
    local = {
        node.id: {other.id for other in node.upstream_nodes}
        for node in dag.create_pipeline(golden).components
    }
    waits_for = {name: set(task.get("dependentTasks", [])) for name, task in tasks.items()}
    assert waits_for.pop(WORLD) == set()
    assert {name: others - {WORLD} for name, others in waits_for.items()} == local
    asking = {name for name, others in waits_for.items() if WORLD in others}
    evaluators = {name for name in tasks if name.startswith("Evaluator-")}
    assert asking == {"RatingsExampleGen", "ServedBaseline", "ModelSelector", "Pusher"} | evaluators


def test_trainers_are_parallel(tasks: dict[str, Any]) -> None:
    for trainer in ("Trainer-mf", "Trainer-hybrid"):
        assert tasks[trainer]["dependentTasks"] == ["RatingsExampleGen", "Transform"]


def test_k5_all_that_lies_outside_is_computed_in_the_run(
    text: str, tasks: dict[str, Any], spec: dict[str, Any]
) -> None:
    assert not tasks[WORLD].get("cachingOptions")
    read: dict[str, set[str]] = {}
    for name, task in tasks.items():
        for key, source in task.get("inputs", {}).get("parameters", {}).items():
            if output := source.get("taskOutputParameter"):
                assert output["producerTask"] == WORLD
                read.setdefault(output["outputParameterKey"], set()).add(f"{name}.{key}")
    assert read == {
        "data_fingerprint": {"RatingsExampleGen.fingerprint"},
        "served_digest": {"ServedBaseline.served_digest", "ModelSelector.served_digest"},
        "withdrawn": {"ModelSelector.withdrawn", "Pusher.withdrawn"},
        "destination_state": {"Pusher.destination_state"},
        "destination_digest": {"Pusher.destination_digest"},
        "comparison": {
            "Evaluator-mf.comparison",
            "Evaluator-hybrid.comparison",
            "Pusher.comparison",
        },
    }
    assert set(read) == {field.name for field in dataclasses.fields(World)}
    outputs = spec["components"]["comp-World"]["outputDefinitions"]["parameters"]
    assert set(outputs) == set(read)
    assert "<data_fingerprint>" not in text


def test_k5_world_and_push_are_never_cached_and_the_rest_is(tasks: dict[str, Any]) -> None:
    uncached = {name for name, task in tasks.items() if not task["cachingOptions"]}
    assert uncached == {"World", "Pusher"}
    # What ServedBaseline reads lies outside, but a digest of it is an input.
    given = tasks["ServedBaseline"]["inputs"]["parameters"]["served_digest"]
    assert given["taskOutputParameter"]["producerTask"] == "World"


def test_k6_the_time_for_all_attempts_is_that_of_each_and_the_pauses_between(
    golden: config.Config, tasks: dict[str, Any]
) -> None:
    """Argo repeats nothing, and kills what runs, that long after the first start."""
    assert golden.kubeflow is not None
    policy = tasks["Trainer-hybrid"]["retryPolicy"]
    assert policy["maxRetryCount"] == 2
    assert policy["backoffMaxDuration"] == f"{3 * 600 * 60 + 60 + 120}s"
    for name, task in tasks.items():
        if "retryPolicy" in task:
            step, policy = golden.kubeflow.step(name), task["retryPolicy"]
            seconds = int(policy["backoffMaxDuration"].removesuffix("s"))
            assert seconds > (policy["maxRetryCount"] + 1) * step.timeout_minutes * 60, name


def contract(compiled: str, node: str) -> dict[str, Any]:
    document = next(yaml.load_all(compiled, Loader=yaml.CSafeLoader))
    args = document["deploymentSpec"]["executors"][f"exec-{node}"]["container"]["args"]
    return json.loads(args[args.index("--contract") + 1])


@pytest.mark.parametrize(("limit", "threads"), [("8", 8), ("500m", 1), ("1.5", 2), ("1001m", 2)])
def test_k5_a_steps_threads_are_its_cpus_and_a_part_of_its_cache_key(
    text: str, limit: str, threads: int
) -> None:
    changed = config_file.load(
        str(FOLDER / "config.yaml"), [f"kubeflow.nodes.Trainer-hybrid.cpu_limit='{limit}'"]
    )
    compiled = compiler.compile_pipeline(changed)
    assert contract(compiled, "Trainer-hybrid")["threads"] == threads
    assert contract(compiled, "Trainer-mf") == contract(text, "Trainer-mf")


def test_k5_artifacts_in_another_store_are_not_taken_from_the_cache(text: str) -> None:
    """KFP reads an input with the region and keys of this run's root, wherever the input lies."""

    def of_root(root: str) -> dict[str, Any]:
        override = f"kubeflow.pipeline_root={root}"
        compiled = compiler.compile_pipeline(
            config_file.load(str(FOLDER / "config.yaml"), [override])
        )
        return contract(compiled, "Transform")

    here = contract(text, "Transform")
    assert of_root("minio://mlpipeline/another/folder?region=x") == here
    others = [of_root(root) for root in ("s3://mlpipeline/v2", "minio://other/v2", "null")]
    assert [other.pop("store") for other in others] == ["s3://mlpipeline", "minio://other", ""]
    assert all(other == {k: v for k, v in here.items() if k != "store"} for other in others)


def test_every_evaluator_has_metrics_for_kfps_ui_and_tfx_knows_nothing_of_them(
    spec: dict[str, Any], text: str
) -> None:
    types = {
        (name, key): output["artifactType"]["schemaTitle"]
        for name, component in spec["components"].items()
        for key, output in component.get("outputDefinitions", {}).get("artifacts", {}).items()
    }
    shown = {name for (name, _), title in types.items() if title == "system.Metrics"}
    assert shown == {"comp-Evaluator-mf", "comp-Evaluator-hybrid"}
    assert types["comp-Evaluator-mf", "metrics"] == "system.Metrics"
    assert set(contract(text, "Evaluator-mf")["artifacts"]["outputs"]) == {"blessing", "evaluation"}


def test_every_steps_pod_carries_our_label(text: str) -> None:
    labels = {
        label.removeprefix("exec-"): settings["podMetadata"]["labels"]
        for label, settings in kubernetes(text).items()
    }
    assert labels == {node: {"tfx-recommender/node": node} for node in labels}
    # KFP makes one template for as many labels as a pod has, so all must have as many.
    assert all(re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?", n) for n in labels)


# Plain in PyYAML's eyes; numbers and truths to readers of YAML 1.2, or to Go's.
READ_OTHERWISE = ["1e3", "12e03", "1E+5", ".5e1", "0o17", "0b11", "0x1F", "1_000", "+1", "-.5",
                  "7.", "y", "N"]  # fmt: skip


@pytest.mark.parametrize("value", READ_OTHERWISE)
def test_k1_a_string_that_other_readers_take_for_a_number_is_quoted(value: str) -> None:
    override = json.dumps({"pool": value})
    loaded = config_file.load(
        str(FOLDER / "config.yaml"), [f"kubeflow.nodes.Trainer-hybrid.node_selector={override}"]
    )
    compiled = compiler.compile_pipeline(loaded)
    (line,) = re.findall(r"^ +pool: (.*)$", compiled, re.M)
    assert line == f"'{value}'"
    labels = kubernetes(compiled)["exec-Trainer-hybrid"]["nodeSelector"]["labels"]
    assert labels == {"pool": value}


def test_k6_only_what_may_be_repeated_is_and_every_step_has_a_time_limit(
    text: str, tasks: dict[str, Any]
) -> None:
    assert {n for n, task in tasks.items() if "retryPolicy" not in task} == {"Pusher", "DataGate"}
    executors = kubernetes(text)
    assert set(executors) == {f"exec-{name}" for name in tasks}
    assert executors["exec-Trainer-hybrid"]["activeDeadlineSeconds"] == 36000
    assert all(settings["activeDeadlineSeconds"] > 0 for settings in executors.values())


def test_k4_each_step_mounts_what_it_needs_and_the_push_alone_can_write(text: str) -> None:
    mounts = {
        label.removeprefix("exec-"): {
            mount["pvcNameParameter"]["runtimeValue"]["constant"] for mount in settings["pvcMount"]
        }
        for label, settings in kubernetes(text).items()
        if "pvcMount" in settings
    }
    assert mounts == {
        "World": {"ratings", "serving-read"},
        "RatingsExampleGen": {"ratings"},
        "ServedBaseline": {"serving-read"},
        "Pusher": {"serving"},
    }
    assert all(s["securityContext"] == {"runAsNonRoot": True} for s in kubernetes(text).values())


def test_resources_and_places_come_from_the_config(spec: dict[str, Any], text: str) -> None:
    executors = spec["deploymentSpec"]["executors"]
    assert executors["exec-Trainer-hybrid"]["container"]["resources"] == {
        "resourceCpuRequest": "500m",
        "resourceCpuLimit": "8",
        "resourceMemoryRequest": "2Gi",
        "resourceMemoryLimit": "16Gi",
    }
    assert executors["exec-Trainer-mf"]["container"]["resources"]["resourceCpuLimit"] == "2"
    hybrid = kubernetes(text)["exec-Trainer-hybrid"]
    assert hybrid["nodeSelector"] == {"labels": {"pool": "training"}}
    assert hybrid["tolerations"] == [
        {"key": "training", "operator": "Exists", "effect": "NoSchedule"}
    ]
    with_secrets = {n for n, settings in kubernetes(text).items() if "secretAsEnv" in settings}
    assert with_secrets == {"exec-Pusher"}


def test_parameters_keep_their_defaults_and_reach_the_steps(
    spec: dict[str, Any], tasks: dict[str, Any]
) -> None:
    given = spec["root"]["inputDefinitions"]["parameters"]
    defaults = {name: parameter["defaultValue"] for name, parameter in given.items()}
    assert defaults == {
        "ratings_paths": ["/data/ratings.csv"],
        "users_path": "/data/users.csv",
        "serving_directory": "/serving/small",
        "rebase_baseline": False,
        "seed": 42,
        "mf_preference_epochs": 60,
        "mf_preference_learning_rate": 0.003,
        "hybrid_rating_epochs": 60,
        "hybrid_rating_learning_rate": 0.003,
        "hybrid_preference_epochs": 4,
        "hybrid_preference_learning_rate": 0.01,
    }
    assert all(reads(tasks, name) for name in given)
    assert reads(tasks, "ratings_paths") == {"World", "RatingsExampleGen"}
    assert reads(tasks, "serving_directory") == {"World", "ServedBaseline", "Pusher"}
    assert reads(tasks, "mf_preference_epochs") == {"Trainer-mf"}


def test_k2_it_holds_only_what_open_source_kfp_implements(text: str) -> None:
    assert spec_check.problems(text) == []


def test_a_search_compiles_into_the_nodes_of_its_own_dag(golden: config.Config) -> None:
    space = config_file.load_search_space(config_file.SEARCH_SPACE)
    text = compiler.compile_pipeline(golden, (space, 3))
    assert spec_check.problems(text) == []
    tasks = next(yaml.safe_load_all(text))["root"]["dag"]["tasks"]
    local = dag.create_tuning(golden, space, 3, World(), "root")
    assert set(tasks) == {node.id for node in local.components} | {WORLD}
    learns = next(node for node in tasks if node.startswith("Tuner-"))
    given = tasks[learns]["inputs"]["parameters"]
    assert json.loads(given["custom_config"]["runtimeValue"]["constant"])["trials"] == 3
    assert given["seed"] == {"componentInputParameter": "seed"}


def test_a_search_is_asked_for_by_its_trials(tmp_path: Path) -> None:
    def compiled(*more: str) -> Result:
        arguments = ["kubeflow", "compile", str(FOLDER / "config.yaml"), *more]
        return CliRunner().invoke(cli.cli, [*arguments, "-o", str(tmp_path / "pipeline.yaml")])

    assert compiled("--trials", "2").exit_code == 0
    assert "exec-TunedConfig" in (tmp_path / "pipeline.yaml").read_text()
    error = compiled("--search-space", config_file.SEARCH_SPACE).exception
    assert str(error) == "--search-space: give --trials too, to search instead of training"


def test_k2_a_stock_compilation_is_refused(golden: config.Config) -> None:
    found = spec_check.problems(yaml.safe_dump(stock(dag.create_pipeline(golden, None, "/root"))))
    assert any("artifact examples has a type that KFP does not keep" in line for line in found)
    with pytest.raises(UserError, match=r"cannot run this: .* \(and \d+ more\)"):
        spec_check.require_supported(
            yaml.safe_dump(stock(dag.create_pipeline(golden, None, "/root")))
        )


def test_k2_drivers_and_resolvers_of_stock_tfx_are_refused() -> None:
    from tfx.components import CsvExampleGen
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
    from tfx.orchestration.pipeline import Pipeline
    from tfx.types import Channel, standard_artifacts

    model = Resolver(
        strategy_class=LatestArtifactStrategy, model=Channel(type=standard_artifacts.Model)
    ).with_id("Latest")
    components = [CsvExampleGen(input_base="/data"), model]
    found = spec_check.problems(
        yaml.safe_dump(stock(Pipeline("stock", "/root", components=components)))
    )
    assert "executor Latest_executor: resolver is not implemented" in found
    assert any("lifecycle (a driver hook) is passed over in silence" in line for line in found)


def test_k2_an_exec_property_from_an_upstream_value_is_refused() -> None:
    """TFX's compiler (1.21) names the producer `<id>_task`, which no task is called."""
    from tfx.orchestration.pipeline import Pipeline

    maker = Maker()
    taker = Taker(value=maker.outputs["value"].future()[0].value)
    found = spec_check.problems(
        yaml.safe_dump(stock(Pipeline("stock", "/root", components=[maker, taker])))
    )
    assert "task Taker: input value: Maker_task is no task" in found


BREAKAGES = {
    "schemaVersion: '2.0.0' is not 2.1.0": ("schemaVersion", "2.0.0"),
    "the spec does not parse": ("root.dag.tasks.World.rettryPolicy", {}),
    "task World: input split: is given in a way": (
        "root.dag.tasks.World.inputs.parameters.split",
        {"runtimeValue": {"runtimeParameter": "split"}},
    ),
    "task Pusher: waits for Judge, which is no task": (
        "root.dag.tasks.Pusher.dependentTasks",
        ["Judge", "ModelSelector", "World"],
    ),
    "does not wait for World, which makes it": (
        "root.dag.tasks.Pusher.dependentTasks",
        ["ModelSelector"],
    ),
    "task Pusher: nothing sets its input record": ("root.dag.tasks.Pusher.inputs.parameters", {}),
    "there is no such pipeline parameter": ("root.inputDefinitions.parameters", {}),
    "pipelineInfo.name": ("pipelineInfo.name", "Not_Legal"),
}


@pytest.mark.parametrize("problem", BREAKAGES)
def test_k2_each_rule_stops_something(spec: dict[str, Any], problem: str) -> None:
    path, value = BREAKAGES[problem]
    broken = copy.deepcopy(spec)
    *parents, last = path.split(".")
    target = broken
    for parent in parents:
        target = target[parent]
    target[last] = value
    assert any(
        problem in line for line in spec_check.problems(yaml.dump(broken, Dumper=yaml.CSafeDumper))
    )


def test_k2_a_platform_setting_that_kfp_would_drop_is_refused(text: str) -> None:
    document, platform = yaml.safe_load_all(text)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    executors["exec-Wrold"] = executors["exec-World"] | {"activeDeadLine": 3}
    found = spec_check.problems(yaml.safe_dump_all([document, platform]))
    assert "platform kubernetes: no executor exec-Wrold" in found
    assert any("exec-Wrold does not parse" in line for line in found)


@pytest.mark.parametrize(("values", "fits"), [(7_000, True), (12_000, False)])
def test_k2_a_task_that_no_driver_could_be_given_is_refused_by_name(
    tmp_path: Path, values: int, fits: bool
) -> None:
    """A column of 7,000 values ran on the real backend; one of 12,000 did not."""
    changed = yaml.safe_load((FOLDER / "config.yaml").read_text())
    gender = changed["data"]["users"]["features"]["gender"]
    gender["values"] = [f"v{n:06}" for n in range(values)]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(changed))
    found = spec_check.problems(
        compiler.compile_pipeline(config_file.load(str(tmp_path / "config.yaml")))
    )
    if fits:
        assert found == []
        return
    assert any(
        re.match(
            r"task World: its spec has 1\d\d,\d{3} bytes, most of them in the input data;", line
        )
        for line in found
    )


def test_k2_a_task_is_measured_in_bytes_and_with_its_end(spec: dict[str, Any]) -> None:
    def with_split(text: str) -> list[str]:
        changed = copy.deepcopy(spec)
        inputs = changed["root"]["dag"]["tasks"]["World"]["inputs"]["parameters"]
        inputs["split"] = {"runtimeValue": {"constant": text}}
        return [p for p in spec_check.problems(yaml.safe_dump(changed)) if "bytes" in p]

    world = copy.deepcopy(spec["root"]["dag"]["tasks"]["World"])
    world["inputs"]["parameters"]["split"] = {"runtimeValue": {"constant": ""}}
    room = 128 * 1024 - 1 - len(json.dumps(world))
    assert with_split("x" * room) == []
    assert len(with_split("x" * (room + 1))) == 1
    assert len(with_split("é" * (room // 2 + 1))) == 1


def test_k3_the_image_is_named_by_digest(spec: dict[str, Any], tmp_path: Path) -> None:
    images = {e["container"]["image"] for e in spec["deploymentSpec"]["executors"].values()}
    assert len(images) == 1
    assert "@sha256:" in images.pop()
    with pytest.raises(ConfigError, match=r"kubeflow\.image: .*not 'registry/image:latest'"):
        config_file.load(str(FOLDER / "config.yaml"), ["kubeflow.image=registry/image:latest"])


def test_k9_no_executor_is_named_by_the_compiled_file(spec: dict[str, Any]) -> None:
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor["container"]
        assert container["command"] == ["python", "-m", "tfx_recommender.kubeflow.entrypoint"]
        assert container["args"][0::2] == ["--node", "--contract", "--input"]
        assert set(json.loads(container["args"][3])) == {
            "artifacts", "parameters", "overrides", "beam", "threads", "store",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("kubeflow.nodes={Trainer-mlp: {}}", "kubeflow.nodes: no node 'Trainer-mlp'"),
        ("kubeflow=null", "kubeflow: the config has no such section"),
        ("serving_root=/elsewhere", "/elsewhere/small is not below /serving"),
        ("data.ratings.paths=[/mnt/r.csv]", "/mnt/r.csv is not below /data"),
        # KFP names a claim's volume after the claim.
        ("kubeflow.data_claim.name=my.ratings", r"kubeflow\.data_claim\.name"),
        (f"kubeflow.data_claim.name={'r' * 64}", r"kubeflow\.data_claim\.name"),
        ("kubeflow.data_claim.name=scratch", "'scratch' is the name of a volume"),
        ("kubeflow.serving_claim.name=kfp-launcher", "'kfp-launcher' is the name of a volume"),
        ("kubeflow.data_claim.name=gcs-scratch", "'gcs-scratch' is the name of a volume"),
        ("kubeflow.data_claim.name=var-run-argo", "'var-run-argo' is the name of a volume"),
        ("kubeflow.data_claim.name=tmp-dir-argo", "'tmp-dir-argo' is the name of a volume"),
        (
            "kubeflow.beam_arguments=['--runner=FlinkRunner']",
            "FlinkRunner starts a Java job server",
        ),
        ("kubeflow.beam_arguments=['--runner', FlinkRunner]", "FlinkRunner starts a Java job"),
        ("kubeflow.data_claim.name=serving-read", "World mounts the claim 'serving-read' for the"),
    ],
)
def test_what_cannot_run_on_a_cluster_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compiler.compile_pipeline(config_file.load(str(FOLDER / "config.yaml"), [override]))


def test_a_pipeline_of_events_compiles_and_knows_nothing_of_ratings(tmp_path: Path) -> None:
    values = yaml.safe_load((FOLDER / "config.yaml").read_text())
    del values["data"]["ratings"], values["evaluation"]["gates"]["rmse"]
    values["data"]["events"] = {
        "paths": ["/data/events.csv"],
        "columns": ["user_id", "item_id", "clicks", "timestamp"],
        "strength": "clicks",
        "timestamp": "timestamp",
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    compiled = compiler.compile_pipeline(config_file.load(str(tmp_path / "config.yaml")))
    assert spec_check.problems(compiled) == []
    document, _ = yaml.safe_load_all(compiled)
    assert {p for p in document["root"]["inputDefinitions"]["parameters"] if "_" in p} == {
        "events_paths", "users_path", "serving_directory", "rebase_baseline",
        "mf_preference_epochs", "mf_preference_learning_rate",
        "hybrid_preference_epochs", "hybrid_preference_learning_rate",
    }  # fmt: skip
    (_, _, _, contract, *_) = document["deploymentSpec"]["executors"]["exec-RatingsExampleGen"][
        "container"
    ]["args"]
    assert json.loads(contract)["overrides"]["events_paths"] == ["data", "events.paths"]
    tasks = document["root"]["dag"]["tasks"]
    assert "rating_min" not in tasks["ServedBaseline"]["inputs"]["parameters"]
    assert "rmse" not in compiled.lower()


def test_a_claim_may_have_a_name_of_63_letters() -> None:
    name = f"kubeflow.data_claim.name={'r' * 63}"
    assert config_file.load(str(FOLDER / "config.yaml"), [name]).kubeflow is not None


def kubernetes(text: str) -> dict[str, Any]:
    _, platform = yaml.safe_load_all(text)
    return platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def reads(tasks: dict[str, Any], parameter: str) -> set[str]:
    def sources() -> Iterator[tuple[str, dict[str, Any]]]:
        for name, task in tasks.items():
            for source in task.get("inputs", {}).get("parameters", {}).values():
                yield name, source

    return {n for n, source in sources() if source.get("componentInputParameter") == parameter}


def stock(pipeline: Any) -> dict[str, Any]:
    """What TFX alone compiles."""
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image="image", use_pipeline_spec_2_1=True
        )
    )
    return runner.run(pipeline, write_out=False)["pipelineSpec"]
