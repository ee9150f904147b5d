"""A Kubeflow Pipelines service: versions, runs and schedules of our pipeline, by KFP's client."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from tfx_recommender.foundation.errors import ConfigError, UserError

# What KFP's client (2.16) does not know as an end: it would wait for a cancelled run for ever.
_FINISHED = {"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"}


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
    ) -> str:
        """Starts a run in the experiment of the pipeline's name; returns the run's id."""
        with self._explained():
            run = self._client.run_pipeline(
                experiment_id=self._experiment(name),
                job_name=f"{name} {time.strftime('%Y-%m-%d %H:%M:%S')}",
                params=parameters,
                pipeline_id=version[0],
                version_id=version[1],
                service_account=service_account,
            )
        return run.run_id

    def follow(self, run: str, tell: Callable[[str], None], pause: float = 10.0) -> None:
        """Waits for a run and tells each change of its tasks' states.

        Raises:
          UserError: the run did not succeed; names the tasks that failed.
        """
        known: dict[str, str] = {}
        while True:
            with self._explained():
                now = self._client.get_run(run)
            details = now.run_details.task_details if now.run_details else None
            for task in details or []:
                name, state = task.display_name, task.state
                if state and known.get(name) != state:
                    known[name] = state
                    tell(f"{name}: {state.lower()}")
            if now.state in _FINISHED:
                break
            time.sleep(pause)
        if now.state != "SUCCEEDED":
            failed = sorted(name for name, state in known.items() if state == "FAILED")
            where = f" in {', '.join(failed)}" if failed else ""
            raise UserError(
                f"run {run} {now.state.lower()}{where}; the log's last line there says why:"
                f" {self._host}/#/runs/details/{run}"
            )

    def schedule(
        self,
        name: str,
        version: tuple[str, str],
        cron: str,
        parameters: dict[str, Any],
        max_concurrency: int,
        catchup: bool,
        service_account: str | None,
    ) -> str:
        """Makes a schedule of the pipeline's name; returns its id.

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
        """Takes away all schedules of the pipeline's name; returns how many there were.

        Raises:
          ConfigError: there is none.
        """
        found = [made for made in self.schedules(name) if made.name == name]
        if not found:
            raise ConfigError(f"schedule {name}: there is none at {self._host}")
        for made in found:
            with self._explained():
                self._client.delete_recurring_run(made.id)
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
