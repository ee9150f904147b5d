"""The operator's guide: its commands exist, its configs are taken, its versions were recorded."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

import tfx_recommender.kubeflow
from tfx_recommender.foundation.errors import ConfigError
from tfx_recommender.kubeflow import cli as kubeflow_cli  # noqa: F401 - adds its commands
from tfx_recommender.kubeflow import compiler, entrypoint
from tfx_recommender.pipeline import cli
from tfx_recommender.pipeline.settings import config_file

FOLDER = Path(__file__).with_name("kubeflow")
GUIDE = Path(tfx_recommender.kubeflow.__file__).with_name("README.md").read_text(encoding="utf-8")
MANIFESTS = Path(tfx_recommender.kubeflow.__file__).with_name("manifests")
COMMANDS = re.findall(
    r"^ {4,}(?:BASE=\S+ )?tfx-recommender (kubeflow .*)$", GUIDE.replace("\\\n", ""), re.M
)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_guide_exists_with_these_options(line: str) -> None:
    words = shlex.split(line.partition("|")[0], comments=True)
    command: click.Command = cli.cli
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known
    assert len(COMMANDS) >= 7


def block(begin: str) -> Any:
    """The YAML of the guide that begins so."""
    (text,) = re.findall(rf"^((?: {{4,}}){re.escape(begin)}.*\n(?: {{5,}}.*\n)+)", GUIDE, re.M)
    return yaml.safe_load(text)


def test_the_recipe_for_flink_is_taken_and_reaches_beams_steps_alone() -> None:
    override = f"beam={json.dumps(block('beam:')['beam'])}"
    config = config_file.load(str(FOLDER / "config.yaml"), [override])
    compiled = compiler.compile_pipeline(config)
    executors = next(yaml.safe_load_all(compiled))["deploymentSpec"]["executors"]
    given = {
        label.removeprefix("exec-"): json.loads(executor["container"]["args"][3])["beam"]
        for label, executor in executors.items()
    }
    assert {node for node, beam in given.items() if beam} == {
        "StatisticsGen", "Transform", "Evaluator-mf", "Evaluator-hybrid",
    }  # fmt: skip
    assert given["Transform"] == config.beam.arguments()
    assert "--environment_type=EXTERNAL" in given["Transform"]


def test_the_recipe_for_flink_fits_its_own_manifests() -> None:
    section = block("beam:")["beam"]
    (workers,) = block("- name: beam-workers")
    (rule,) = block("- to:")
    # The command is ours, and takes these options.
    python, flag, module, name, *options = workers["command"]
    assert (python, flag, module) == ("python", "-m", cli.__name__)
    command = cli.cli.commands[name]
    given = command.make_context(name, list(options)).params
    # In one pod, so loopback is shared.
    assert given["host"] == "127.0.0.1"
    assert section["worker_pool"] == f"localhost:{given['port']}"
    host, port = section["job_endpoint"].split(":")
    service, namespace = host.split(".")
    (to,) = rule["to"]
    assert to["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": namespace}
    assert to["podSelector"]["matchLabels"] == {"app": service}
    assert int(port) in [each["port"] for each in rule["ports"]]
    policy = yaml.safe_load((MANIFESTS / "network_policy.yaml").read_text(encoding="utf-8"))
    policy["spec"]["egress"].append(rule)
    kubernetes_validate.validate(policy, "1.37", strict=True)
    pod = {"containers": [{"name": "taskmanager", "image": "flink"}, workers]}
    pod["volumes"] = [{"name": workers["volumeMounts"][0]["name"], "emptyDir": {}}]
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}
    kubernetes_validate.validate(manifest, "1.37", strict=True)
    # KFP's launcher puts artifacts there.
    assert entrypoint.local_path("minio://mlpipeline/v2/x").startswith(
        workers["volumeMounts"][0]["mountPath"] + "/"
    )
    assert "**No engine on a cluster was run here**" in " ".join(GUIDE.split())


def test_an_engine_that_calls_back_into_a_step_is_refused() -> None:
    beam = {"runner": "portable", "job_endpoint": "beam-job-server.flink:8099"}
    config = config_file.load(str(FOLDER / "config.yaml"), [f"beam={json.dumps(beam)}"])
    with pytest.raises(ConfigError, match=r"beam\.environment: loopback is out of reach"):
        compiler.compile_pipeline(config)


def test_the_clusters_own_beam_arguments_come_first() -> None:
    beam = {"runner": "portable", "job_endpoint": "localhost:8073"}
    own = ["--runner=DataflowRunner", "--project=x"]
    config = config_file.load(
        str(FOLDER / "config.yaml"),
        [f"beam={json.dumps(beam)}", f"kubeflow.beam_arguments={json.dumps(own)}"],
    )
    compiled = next(yaml.safe_load_all(compiler.compile_pipeline(config)))
    args = compiled["deploymentSpec"]["executors"]["exec-Transform"]["container"]["args"]
    assert json.loads(args[3])["beam"] == own


def test_the_guide_names_the_versions_that_were_recorded() -> None:
    recorded = (FOLDER / "recorded" / "README.md").read_text(encoding="utf-8")
    for named in re.findall(r"commit ([0-9a-f]{7})|on (\d{4}-\d\d-\d\d)", recorded):
        assert "".join(named) in GUIDE
    assert "KFP, 2.16 or later" in GUIDE  # securityContext in the platform spec is read from there
    assert all(version in GUIDE for version in ("Argo Workflows\n4.0.8", "Kubernetes 1.36.3"))


@pytest.mark.parametrize(
    "fact",
    [
        "Remove these four lines, and failed steps are repeated as the config says",
        "`retryPolicy: Always` there instead: it would repeat Pusher and DataGate",
        "Kubernetes and Argo show 1 for all of these",
        "In the pod's own log that line is not the last",
        "`unschedule` takes the schedule away and lets a run in progress finish",
        "Cron expressions are read in UTC, unless `CRON_SCHEDULE_TIMEZONE`",
        "Argo makes it again if it was deleted by force, without counting an attempt",
        "fails with `two tasks have the same task name`",
        "Without keys for `s3://`, a step does all its work and then fails at the upload",
    ],
)
def test_the_guide_says_what_no_code_of_ours_can_mend(fact: str) -> None:
    assert fact in " ".join(GUIDE.split())
