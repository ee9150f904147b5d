"""A Kubeflow Pipelines service: versions, runs and schedules of our pipeline, by KFP's client."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from tfx_recommender.foundation.errors import ConfigError, UserError

# What KFP's client (2.16) does not know as an end: it would wait for a cancelled run for ever.
_FINISHED = {"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"}
# In the order in which a line tells them.
_TOLD = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
_DRIVER = "-driver"


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A recurring run: its name, its cron expression, whether it is enabled, its id."""

    name: str
    cron: str
    enabled: bool
    id: str


class Service:
    """One pipeline on one service. All errors are one clear line (`UserError`)."""

    def __init__(self, host: str, token: str | None, namespace: str | None) -> None:
        """Connects.

        Args:
          host: URL of the KFP API or UI.
          token: bearer token; None: none is sent.
          namespace: of the user, where KFP serves many.
        """
        import kfp

        class Client(kfp.Client):
            """KFP's own (2.16) asks five times, 5 s apart, also when it is refused."""

            def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
                return self._healthz_api.healthz_service_get_healthz()

        self._host = host.rstrip("/")
        self._namespace = namespace
        with self._explained():
            self._client = Client(
                host=self._host, existing_token=token, namespace=namespace or "kubeflow"
            )

    def upload(self, name: str, spec: str, version: str | None) -> tuple[str, str]:
        """Uploads a version; one that is there already, byte for byte, is used again.

        Args:
          name: of the pipeline; it is made if need be.
          spec: the compiled pipeline.
          version: of the version; None: named after the bytes, so the same spec is uploaded once.

        Returns:
          Ids of pipeline and version.

        Raises:
          UserError: the given version name is taken.
        """
        named = version or hashlib.sha256(spec.encode()).hexdigest()[:12]
        with self._explained(), tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "pipeline.yaml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(spec)
            pipeline = self._client.get_pipeline_id(name)
            if pipeline is None:
                # The pipeline's first version is named like the pipeline, so it stays unused.
                pipeline = self._client.upload_pipeline(path, pipeline_name=name).pipeline_id
            existing = self._client.list_pipeline_versions(pipeline, filter=_named(named))
            if existing.pipeline_versions:
                if version is not None:
                    raise ConfigError(
                        f"--version {version}: is taken at {self._host}; choose another name, or"
                        " none to have one made of the pipeline's content"
                    )
                return pipeline, existing.pipeline_versions[0].pipeline_version_id
            uploaded = self._client.upload_pipeline_version(path, named, pipeline_id=pipeline)
            return pipeline, uploaded.pipeline_version_id

    def submit(
        self,
        name: str,
        version: tuple[str, str],
        parameters: dict[str, Any],
        service_account: str | None,
        pipeline_root: str | None,
    ) -> str:
        """Starts a run in the experiment of the pipeline's name.

        Args:
          name: of the pipeline.
          version: ids of pipeline and version.
          parameters: pipeline parameter -> value.
          service_account: of the run's pods; None: the cluster's default.
          pipeline_root: where artifacts go; None: the cluster's default. KFP ignores the one that
            the compiled file names.

        Returns:
          The run's id.
        """
        with self._explained():
            run = self._client.run_pipeline(
                experiment_id=self._experiment(name),
                job_name=f"{name} {time.strftime('%Y-%m-%d %H:%M:%S')}",
                params=parameters,
                pipeline_id=version[0],
                version_id=version[1],
                service_account=service_account,
                pipeline_root=pipeline_root,
            )
        return run.run_id

    def follow(
        self,
        run: str,
        steps: Collection[str],
        tell: Callable[[str], None],
        pause: float = 10.0,
    ) -> None:
        """Waits for a run; tells which steps have ended, a line for all that did since it asked.

        Args:
          run: the run's id.
          steps: names of the pipeline's tasks. KFP lists all nodes of Argo's workflow: also each
            step's driver, its `executor`, the root, and a twin `X(0)` for each attempt.
          tell: is given the lines.
          pause: seconds between two questions.

        Raises:
          UserError: the run did not succeed; says where the cause is to be found.
        """
        known: Mapping[str, str] = {}
        while True:
            with self._explained():
                now = self._client.get_run(run)
            details = (now.run_details.task_details if now.run_details else None) or []
            states = _states(details, steps)
            for state in _TOLD:
                ended = [n for n, s in states.items() if s == state and known.get(n) != state]
                if ended:
                    tell(f"{', '.join(sorted(ended))}: {state.lower()}")
            known = states
            if now.state in _FINISHED:
                break
            time.sleep(pause)
        if now.state != "SUCCEEDED":
            raise UserError(self._why(now, details, steps))

    def _why(self, run: Any, details: Collection[Any], steps: Collection[str]) -> str:
        """Why a run that has ended did not succeed, as far as KFP tells."""
        where = f"{self._host}/#/runs/details/{run.run_id}"
        history = {status.state for status in run.state_history or []}
        # KFP 2.17 lets a run that was terminated end as FAILED.
        if run.state == "CANCELED" or "CANCELING" in history:
            return f"run {run.run_id} was cancelled: {where}"
        failed = sorted(n for n, state in _states(details, steps).items() if state == "FAILED")
        if failed:
            return (
                f"run {run.run_id} failed in {', '.join(failed)}; in that step's artifact"
                f" executor-logs the line 'tfx-recommender: {failed[0]}: …' says why (without such"
                f" a line: its pod's events): {where}"
            )
        drivers = [f"{step}{_DRIVER}" for step in ("root", *steps)]
        failed = sorted(n for n, state in _states(details, drivers).items() if state == "FAILED")
        if failed:
            return (
                f"run {run.run_id} failed in {', '.join(failed)}, before the step itself; the log"
                f" of that pod says why: {where}"
            )
        said = f" ({' '.join(run.error.message.split())})" if run.error else ""
        return f"run {run.run_id} {run.state.lower()}{said}, and no step did: {where}"

    def schedule(
        self,
        name: str,
        version: tuple[str, str],
        cron: str,
        parameters: dict[str, Any],
        max_concurrency: int,
        catchup: bool,
        service_account: str | None,
        pipeline_root: str | None,
    ) -> str:
        """Makes a schedule of the pipeline's name; returns its id.

        `cron` is in UTC (unless KFP's own CRON_SCHEDULE_TIMEZONE says otherwise), the rest is as
        for `submit`.

        Raises:
          ConfigError: there is one already, or the service refuses the cron expression.
        """
        if any(found.name == name for found in self.schedules(name)):
            raise ConfigError(
                f"schedule {name}: there is one at {self._host} already; take it away first:"
                " tfx-recommender kubeflow unschedule"
            )
        with self._explained(refused=f"--cron {cron!r}"):
            made = self._client.create_recurring_run(
                experiment_id=self._experiment(name),
                job_name=name,
                cron_expression=cron,
                max_concurrency=max_concurrency,
                no_catchup=not catchup,
                params=parameters,
                pipeline_id=version[0],
                version_id=version[1],
                service_account=service_account,
                pipeline_root=pipeline_root,
            )
        return made.recurring_run_id

    def schedules(self, name: str) -> list[Schedule]:
        """The schedules in the experiment of the pipeline's name."""
        with self._explained():
            found = self._client.list_recurring_runs(
                experiment_id=self._experiment(name), page_size=100
            )
        return [
            Schedule(
                made.display_name,
                made.trigger.cron_schedule.cron if made.trigger.cron_schedule else "",
                made.status == "ENABLED",
                made.recurring_run_id,
            )
            for made in found.recurring_runs or []
        ]

    def unschedule(self, name: str) -> int:
        """Removes all schedules of the pipeline's name; returns how many there were.

        Runs in progress go on.

        Raises:
          ConfigError: there is none.
        """
        found = [made for made in self.schedules(name) if made.name == name]
        if not found:
            raise ConfigError(f"schedule {name}: there is none at {self._host}")
        for made in found:
            with self._explained():
                # A schedule owns its workflows: without ORPHAN Kubernetes would delete them with
                # it, and KFP would call their runs RUNNING for ever. KFP's client (2.16) does not
                # pass the policy on.
                self._client._recurring_run_api.recurring_run_service_delete_recurring_run(
                    recurring_run_id=made.id, propagation_policy="ORPHAN"
                )
        return len(found)

    def _experiment(self, name: str) -> str:
        return self._client.create_experiment(name, namespace=self._namespace).experiment_id

    @contextlib.contextmanager
    def _explained(self, refused: str = "the request") -> Iterator[None]:
        """Turns the client's errors into one line; keeps its links off our standard output."""
        import kfp_server_api
        import urllib3

        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except kfp_server_api.ApiException as error:
            said = _message(error.body) or error.reason
            if error.status in (401, 403):
                raise UserError(
                    f"{self._host}: access is denied ({error.status} {error.reason}); give a valid"
                    " token by --token or KFP_TOKEN, and your --namespace"
                ) from None
            if error.status in (400, 409):
                raise ConfigError(f"{refused}: {self._host} refuses it: {said}") from None
            raise UserError(f"{self._host}: answers {error.status}: {said}") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise UserError(
                f"{self._host}: cannot be reached ({type(reason).__name__}); check --host, or"
                " forward the port: kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80"
            ) from None


def _states(details: Collection[Any], names: Collection[str]) -> Mapping[str, str]:
    """Name -> state of its node; of the node itself, or of its last attempt if that is all."""
    found: dict[str, tuple[int, str]] = {}
    for task in details:
        name, attempt = _attempt(task.display_name)
        rank = len(details) if attempt is None else attempt
        if name in names and task.state and found.get(name, (-1, ""))[0] <= rank:
            found[name] = (rank, task.state)
    return {name: state for name, (_, state) in found.items()}


def _attempt(display_name: str) -> tuple[str, int | None]:
    """`World(1)` is attempt 1 at `World`; `World` is no attempt."""
    match = re.fullmatch(r"(.*)\((\d+)\)", display_name)
    return (match[1], int(match[2])) if match else (display_name, None)


def _named(name: str) -> str:
    """KFP's filter for a display name."""
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    return json.dumps({"predicates": [predicate]})


def _message(body: Any) -> str:
    """What KFP's error body says, without the stack of its own sources."""
    try:
        said = json.loads(body)
        return str(said.get("message") or said.get("error_message") or said.get("error"))
    except (TypeError, ValueError):
        return ""
