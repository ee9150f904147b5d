"""The operator's guide: its commands exist, its configs are taken, its versions were recorded."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

import tfx_recommender.kubeflow
from tfx_recommender.kubeflow import cli as kubeflow_cli  # noqa: F401 - adds its commands
from tfx_recommender.kubeflow import compiler
from tfx_recommender.pipeline import cli
from tfx_recommender.pipeline.settings import config_file

FOLDER = Path(__file__).with_name("kubeflow")
GUIDE = Path(tfx_recommender.kubeflow.__file__).with_name("README.md").read_text(encoding="utf-8")
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


def recipe() -> list[str]:
    """The guide's options for Beam on an engine."""
    (block,) = re.findall(r"^( +kubeflow:\n +beam_arguments:\n(?: +- .*\n)+)", GUIDE, re.M)
    return yaml.safe_load(block)["kubeflow"]["beam_arguments"]


def test_the_recipe_for_flink_is_taken_and_reaches_beams_steps_alone() -> None:
    override = f"kubeflow.beam_arguments={json.dumps(recipe())}"
    compiled = compiler.compile_pipeline(config_file.load(str(FOLDER / "config.yaml"), [override]))
    executors = next(yaml.safe_load_all(compiled))["deploymentSpec"]["executors"]
    given = {
        label.removeprefix("exec-"): json.loads(executor["container"]["args"][3])["beam"]
        for label, executor in executors.items()
    }
    assert {node for node, beam in given.items() if beam} == {
        "StatisticsGen", "Transform", "Evaluator-mf", "Evaluator-hybrid",
    }  # fmt: skip
    assert given["Transform"] == recipe()


def test_the_recipe_for_flink_fits_beams_own_options_and_the_worker_pool() -> None:
    from apache_beam.options import pipeline_options

    options = pipeline_options.PipelineOptions(recipe())
    portable = options.view_as(pipeline_options.PortableOptions)
    assert options.view_as(pipeline_options.StandardOptions).runner == "PortableRunner"
    assert portable.environment_type == "EXTERNAL"  # LOOPBACK's workers are out of reach
    (port,) = re.findall(r"worker_pool_main --service_port=(\d+)", GUIDE)
    assert portable.environment_config == f"localhost:{port}"
    _, endpoint = portable.job_endpoint.split(":")
    assert re.search(rf"job server's ports \(\d+ to {endpoint}\)", GUIDE)
    assert "**No engine on a cluster was run here**" in GUIDE


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
