"""submit, schedule, schedules, unschedule: KFP's own client against a stand-in server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.contract.kfp_server import KfpServer
from tfx_recommender.foundation.errors import ConfigError, UserError
from tfx_recommender.kubeflow import cli as kubeflow_cli  # noqa: F401 - adds its commands
from tfx_recommender.kubeflow import compiler
from tfx_recommender.kubeflow.service import Service
from tfx_recommender.pipeline import cli

FOLDER = Path(__file__).with_name("kubeflow")
CONFIG = str(FOLDER / "config.yaml")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    # Compiling has tests of its own, and takes TFX's import.
    golden = (FOLDER / "pipeline.yaml").read_text(encoding="utf-8")
    monkeypatch.setattr(compiler, "compile_pipeline", lambda config, search: golden)
    with KfpServer() as running:
        yield running


def invoke(server: KfpServer, command: str, *arguments: str) -> Result:
    return CliRunner().invoke(
        cli.cli, ["kubeflow", command, CONFIG, "--host", server.url, *arguments]
    )


def error(result: Result) -> tuple[type, str]:
    assert isinstance(result.exception, UserError), result.output
    message = str(result.exception)
    assert "\n" not in message
    return type(result.exception), message


def only(kind: dict[str, Any]) -> dict[str, Any]:
    (resource,) = kind.values()
    return resource


def test_submit_uploads_a_version_and_starts_it_with_its_parameters(server: KfpServer) -> None:
    result = invoke(
        server, "submit", "--parameter", "mf_preference_epochs=3",
        "--parameter", "ratings_paths=[/data/b.csv]",
        "--service-account", "runner",
    )  # fmt: skip
    assert result.exit_code == 0, result.exception
    run = only(server.runs)
    assert result.stdout.strip() == run["run_id"]
    assert run["runtime_config"]["parameters"] == {
        "mf_preference_epochs": 3, "ratings_paths": ["/data/b.csv"],
    }  # fmt: skip
    assert run["service_account"] == "runner"
    # KFP ignores the compiled file's defaultPipelineRoot.
    assert run["runtime_config"]["pipeline_root"] == "minio://mlpipeline/v2/artifacts"
    assert run["experiment_id"] == only(server.experiments)["experiment_id"]
    assert only(server.experiments)["display_name"] == "small"
    assert only(server.pipelines)["display_name"] == "small"
    version = run["pipeline_version_reference"]["pipeline_version_id"]
    assert server.specs[version]["pipelineInfo"]["name"] == "small"


def test_the_same_pipeline_is_uploaded_once(server: KfpServer) -> None:
    for _ in range(2):
        assert invoke(server, "submit").exit_code == 0
    assert len(server.runs) == 2
    assert len(server.pipelines) == len(server.experiments) == 1
    assert len({str(run["pipeline_version_reference"]) for run in server.runs.values()}) == 1


def test_a_taken_version_name_is_refused(server: KfpServer) -> None:
    assert invoke(server, "submit", "--version", "v1").exit_code == 0
    kind, message = error(invoke(server, "submit", "--version", "v1"))
    assert kind is ConfigError
    assert message.startswith("--version v1: is taken at http://127.0.0.1")
    assert len(server.runs) == 1


def nodes(states: dict[str, str], twins: bool) -> list[tuple[str, str]]:
    """The nodes of a workflow as KFP lists them for these steps: step -> its state.

    Each step's own node has the driver's and the executor's beside it, the latter with no name of
    its own; with KFP's stock settings of Argo, every node has a twin for its first attempt.
    """
    failed = "FAILED" in states.values()
    over = "FAILED" if failed else "RUNNING"
    found = [("small-jd52z", over), ("root", over), ("root-driver", "SUCCEEDED")]
    for step, state in states.items():
        found += [(f"{step}-driver", "SUCCEEDED"), (step, state), ("executor", state)]
        if state == "SUCCEEDED":
            found.append(("executor", "SKIPPED"))
        found.append(("executor(0)", "FAILED" if state == "RUNNING" else state))
    if twins:
        # Of what still runs, the first attempt has failed.
        found += [
            (f"{name}(0)", "FAILED" if state == "RUNNING" else state)
            for name, state in found
            if not name.endswith(")")
        ]
    return found


STEPS = frozenset({"World", "Transform", "Trainer-mf", "DataGate"})


@pytest.mark.parametrize("twins", [False, True])
def test_wait_tells_each_steps_end_once_and_nothing_of_argos_other_nodes(
    server: KfpServer, twins: bool
) -> None:
    succeeded = dict.fromkeys(["World", "Transform", "DataGate"], "SUCCEEDED")
    server.states = [
        ("PENDING", []),
        ("RUNNING", nodes({"World": "PENDING"}, twins)),
        ("RUNNING", nodes({"World": "RUNNING"}, twins)),
        ("RUNNING", nodes({"World": "SUCCEEDED", "Transform": "RUNNING"}, twins)),
        ("RUNNING", nodes({**succeeded, "Trainer-mf": "RUNNING"}, twins)),
        ("RUNNING", nodes({**succeeded, "Trainer-mf": "RUNNING"}, twins)[::-1]),
        ("SUCCEEDED", nodes({**succeeded, "Trainer-mf": "SUCCEEDED"}, twins)),
    ]
    told: list[str] = []
    service, run = started(server)
    service.follow(run, STEPS, told.append, pause=0)
    assert told == [
        "World: succeeded", "DataGate, Transform: succeeded", "Trainer-mf: succeeded",
    ]  # fmt: skip


@pytest.mark.parametrize("twins", [False, True])
def test_a_run_that_fails_names_the_step_and_where_its_reason_is(
    server: KfpServer, twins: bool
) -> None:
    server.states = [("FAILED", nodes({"World": "SUCCEEDED", "DataGate": "FAILED"}, twins))]
    result = invoke(server, "submit", "--wait")
    _, message = error(result)
    assert " failed in DataGate; in that step's artifact executor-logs the line" in message
    assert "'tfx-recommender: DataGate: …' says why" in message
    assert f"{server.url}/#/runs/details/{only(server.runs)['run_id']}" in message
    assert result.stderr.splitlines()[:2] == ["World: succeeded", "DataGate: failed"]


def test_a_run_whose_driver_fails_says_so(server: KfpServer) -> None:
    failed = [("small-x", "FAILED"), ("root", "FAILED"), ("World-driver", "FAILED"),
              ("World-driver(0)", "FAILED"), ("root-driver", "SUCCEEDED")]  # fmt: skip
    server.states = [("FAILED", failed)]
    _, message = error(invoke(server, "submit", "--wait"))
    assert (
        " failed in World-driver, before the step itself; the log of that pod says why" in message
    )


def test_a_run_that_fails_before_any_node_says_what_kfp_says(server: KfpServer) -> None:
    server.states, server.error = [("FAILED", [])], "the workflow is\ntoo large"
    _, message = error(invoke(server, "submit", "--wait"))
    assert " failed (the workflow is too large), and no step did: http" in message


def test_a_run_that_was_terminated_is_called_cancelled_though_kfp_ends_it_as_failed(
    server: KfpServer,
) -> None:
    at_work = nodes({"World": "SUCCEEDED", "Transform": "FAILED"}, True)
    server.states = [("PENDING", []), ("RUNNING", []), ("CANCELING", at_work), ("FAILED", at_work)]
    service, run = started(server)
    with pytest.raises(UserError, match=f"^run {run} was cancelled: http"):
        service.follow(run, STEPS, lambda line: None, pause=0)
    server.states = [("CANCELED", [])]
    with pytest.raises(UserError, match=f"^run {run} was cancelled: http"):
        service.follow(run, STEPS, lambda line: None, pause=0)


def started(server: KfpServer) -> tuple[Service, str]:
    service = Service(server.url, None, None)
    spec = (FOLDER / "pipeline.yaml").read_text(encoding="utf-8")
    return service, service.submit("small", service.upload("small", spec, None), {}, None, None)


def test_a_schedule_is_made_listed_and_taken_away(server: KfpServer) -> None:
    result = invoke(server, "schedule", "--cron", "0 0 3 * * *", "--parameter", "seed=7")
    assert result.exit_code == 0, result.exception
    made = only(server.schedules)
    assert result.stdout.strip() == made["recurring_run_id"]
    assert made["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert made["max_concurrency"] == 1
    assert made["no_catchup"] is True
    assert made["mode"] == "ENABLE"
    assert made["runtime_config"]["parameters"] == {"seed": 7}
    assert made["runtime_config"]["pipeline_root"] == "minio://mlpipeline/v2/artifacts"
    listed = invoke(server, "schedules").stdout.split("  ")
    assert listed == ["small", "0 0 3 * * *", "enabled", f"{made['recurring_run_id']}\n"]
    assert invoke(server, "unschedule").exit_code == 0
    assert server.schedules == {}
    # Otherwise Kubernetes would delete the run that is under way with the schedule.
    assert server.orphaned == {made["recurring_run_id"]: True}
    assert "there is none" in error(invoke(server, "unschedule"))[1]


def test_a_second_schedule_of_the_name_is_refused(server: KfpServer) -> None:
    assert invoke(server, "schedule", "--cron", "0 0 3 * * *").exit_code == 0
    kind, message = error(invoke(server, "schedule", "--cron", "0 0 4 * * *"))
    assert kind is ConfigError
    assert message.startswith("schedule small: there is one at")
    assert len(server.schedules) == 1


@pytest.mark.parametrize(
    ("cron", "reason"),
    [
        ("0 3 * * *", "has 5 fields; KFP takes six"),
        ("0 0 x * * *", "Schedule cron is not supported"),
    ],
)
def test_a_bad_cron_is_refused(server: KfpServer, cron: str, reason: str) -> None:
    kind, message = error(invoke(server, "schedule", "--cron", cron))
    assert kind is ConfigError
    assert message.startswith(f"--cron '{cron}': ")
    assert reason in message
    assert server.schedules == {}


def test_the_help_says_in_which_time_zone_a_schedule_is() -> None:
    shown = CliRunner().invoke(cli.cli, ["kubeflow", "schedule", "--help"]).stdout
    assert "in UTC" in " ".join(shown.split())


def test_an_unreachable_host_is_one_clear_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UserError, match=rf"^{url}: cannot be reached \(.*\); check --host"):
        Service(url, None, None).schedules("small")


def test_without_a_valid_token_access_is_denied(server: KfpServer) -> None:
    server.token = "secret"
    for arguments in ([], ["--token", "wrong"]):
        kind, message = error(invoke(server, "schedules", *arguments))
        assert kind is UserError
        assert "access is denied (401 Unauthorized); give a valid token" in message
        assert "wrong" not in message
    assert invoke(server, "schedules", "--token", "secret").exit_code == 0


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("epochs=3", "the names are hybrid_preference_epochs, hybrid_preference_learning_rate"),
        ("mf_preference_epochs=many", "must be of type int"),
        ("mf_preference_epochs", "write NAME=VALUE"),
    ],
)
def test_a_parameter_that_the_pipeline_has_not_is_refused(
    server: KfpServer, parameter: str, message: str
) -> None:
    kind, line = error(invoke(server, "submit", "--parameter", parameter))
    assert kind is ConfigError
    assert message in line
    assert server.runs == {}
