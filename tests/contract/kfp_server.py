"""A stand-in for Kubeflow Pipelines' API server, since none can run here.

It keeps state and speaks as much of the v2beta1 REST API as KFP's client (2.16) asks of it, in the
shapes of backend/api/v2beta1/swagger; the client, HTTP and JSON are the real ones.
"""

from __future__ import annotations

import http.server
import itertools
import json
import re
import threading
import urllib.parse
from typing import Any

import yaml

API = "/apis/v2beta1"
_CRON_FIELD = re.compile(r"[\d*/,\-?]+")


class RefusedError(Exception):
    """An answer that is no success: HTTP status and gRPC code with a message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.body = status, {"error": message, "code": code, "message": message}


class KfpServer:
    """`with KfpServer() as server:` serves `server.url` until the block ends.

    Attributes:
      pipelines, versions, experiments, runs, schedules: what it holds, id -> resource.
      token: the bearer token it asks for; None: none.
      states: what a run's state is at each question, the last one for ever: its own, and the
        display names and states of its nodes, in which names may come more than once.
      error: what a run's `error` says; None: it has none.
      orphaned: a schedule that was taken away -> whether its runs may go on.
    """

    def __init__(self) -> None:
        self.pipelines: dict[str, Any] = {}
        self.versions: dict[str, Any] = {}
        self.experiments: dict[str, Any] = {}
        self.runs: dict[str, Any] = {}
        self.schedules: dict[str, Any] = {}
        self.specs: dict[str, dict[str, Any]] = {}
        self.token: str | None = None
        self.states: list[tuple[str, list[tuple[str, str]]]] = [("SUCCEEDED", [])]
        self.error: str | None = None
        self.orphaned: dict[str, bool] = {}
        self._history: list[str] = []
        self._ids = itertools.count(1)

    def __enter__(self) -> KfpServer:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                try:
                    if outer.token and self.headers.get("authorization") != f"Bearer {outer.token}":
                        raise RefusedError(401, 16, "Request not authenticated")
                    status, answer = 200, outer.answer(self.command, self.path, body)
                except RefusedError as refusal:
                    status, answer = refusal.status, refusal.body
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the library's names

            def log_message(self, *_: Any) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(  # noqa: PLR0911, PLR0912 - one place lists all requests
        self, method: str, path: str, body: bytes
    ) -> dict[str, Any]:
        """One request."""
        url = urllib.parse.urlsplit(path)
        query = {key: values[0] for key, values in urllib.parse.parse_qs(url.query).items()}
        parts = url.path.removeprefix(f"{API}/").split("/")
        match method, parts:
            case "GET", ["healthz"]:
                return {"multi_user": False}
            case "GET", ["experiments"]:
                return {"experiments": self._find(self.experiments, query)}
            case "POST", ["experiments"]:
                return self._add(self.experiments, "experiment_id", json.loads(body))
            case "GET", ["pipelines"]:
                return {"pipelines": self._find(self.pipelines, query)}
            case "POST", ["pipelines", "upload"]:
                self._require_free(self.pipelines, query["name"])
                made = self._add(self.pipelines, "pipeline_id", {"display_name": query["name"]})
                self._add_version(made["pipeline_id"], query["name"], body)
                return made
            case "POST", ["pipelines", "upload_version"]:
                return self._add_version(query["pipelineid"], query["name"], body)
            case "GET", ["pipelines", pipeline, "versions"]:
                found = self._find(self.versions, query)
                return {"pipeline_versions": [v for v in found if v["pipeline_id"] == pipeline]}
            case "POST", ["runs"]:
                run = json.loads(body)
                self._require_parameters(run)
                return self._add(self.runs, "run_id", run | {"state": "PENDING"})
            case "GET", ["runs", run]:
                return self._run(run)
            case "GET", ["recurringruns"]:
                return {"recurringRuns": self._find(self.schedules, query)}
            case "POST", ["recurringruns"]:
                schedule = json.loads(body)
                self._require_cron(schedule["trigger"]["cron_schedule"]["cron"])
                self._require_parameters(schedule)
                status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[schedule["mode"]]
                return self._add(self.schedules, "recurring_run_id", schedule | {"status": status})
            case "DELETE", ["recurringruns", schedule]:
                if self.schedules.pop(schedule, None) is None:
                    raise RefusedError(404, 5, f"Job {schedule} not found.")
                # Kubernetes deletes what a schedule owns, unless it is told to orphan it.
                self.orphaned[schedule] = query.get("propagation_policy") == "ORPHAN"
                return {}
        raise RefusedError(501, 12, f"the stand-in does not know {method} {url.path}")

    def _add(self, kind: dict[str, Any], key: str, resource: dict[str, Any]) -> dict[str, Any]:
        identity = f"{key}-{next(self._ids)}"
        kind[identity] = resource | {key: identity}
        return kind[identity]

    def _find(self, kind: dict[str, Any], query: dict[str, str]) -> list[dict[str, Any]]:
        found = list(kind.values())
        for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
            value = predicate.get("stringValue", predicate.get("string_value"))
            found = [each for each in found if each.get(predicate["key"]) == value]
        if experiment := query.get("experiment_id"):
            found = [each for each in found if each.get("experiment_id") == experiment]
        return found

    def _require_free(self, kind: dict[str, Any], name: str, pipeline: str | None = None) -> None:
        for each in kind.values():
            if each["display_name"] == name and each.get("pipeline_id") in (pipeline, None):
                raise RefusedError(
                    409, 6, f"The name {name} already exist. Please specify a new name."
                )

    def _add_version(self, pipeline: str, name: str, body: bytes) -> dict[str, Any]:
        self._require_free(self.versions, name, pipeline)
        made = self._add(
            self.versions, "pipeline_version_id", {"pipeline_id": pipeline, "display_name": name}
        )
        # The file is one part of a multipart form.
        text = body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        self.specs[made["pipeline_version_id"]] = next(yaml.safe_load_all(text))
        return made

    def _require_parameters(self, resource: dict[str, Any]) -> None:
        version = resource["pipeline_version_reference"]["pipeline_version_id"]
        known = self.specs[version]["root"]["inputDefinitions"]["parameters"]
        for name in resource.get("runtime_config", {}).get("parameters") or {}:
            if name not in known:
                raise RefusedError(400, 3, f"parameter {name} is not in the pipeline")

    def _require_cron(self, cron: str) -> None:
        fields = cron.split()
        if len(fields) != 6 or not all(map(_CRON_FIELD.fullmatch, fields)):
            raise RefusedError(400, 3, f"Schedule cron is not supported: {cron}")

    def _run(self, run: str) -> dict[str, Any]:
        state, tasks = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if self._history[-1:] != [state]:
            self._history.append(state)
        found = self.runs[run] | {
            "state": state,
            "state_history": [{"state": before} for before in self._history],
            "run_details": {
                "task_details": [{"display_name": name, "state": now} for name, now in tasks]
            },
        }
        return found | ({"error": {"code": 13, "message": self.error}} if self.error else {})
