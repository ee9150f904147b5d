"""Executes our code for an engine of Beam (2.77): the other end of `environment: external`.

An engine asks the pool for a worker; the worker connects to the engine and does as it is told.
Beam's own pool starts `python`, whichever that is, and a worker that cannot import what it needs
dies without a word to the engine, which then waits for ever. Ours imports first and listens then,
starts workers as copies of the process that has imported (as nodes of a local run are), and answers
the engine when a worker is connected, or with the reason why it is not.
"""

from __future__ import annotations

import importlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import threading
import traceback
from concurrent import futures
from typing import Any

import click
import grpc
from apache_beam.portability.api import (
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
)

from tfx_recommender.foundation.errors import UserError
from tfx_recommender.pipeline.local import node_process

_PRELOAD = "tfx_recommender.pipeline.local.preload"


def serve(host: str, port: int) -> None:
    """Starts workers for whoever asks, until a signal ends this process.

    Args:
      host: the address to listen on; whoever reaches it executes code here.
      port: 0: any that is free.

    Raises:
      UserError: what workers need cannot be imported, or the address is taken.
    """
    _require_free(host, port)
    pool = _Pool()
    pool.require_imports()
    server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise UserError(f"cannot listen on {host}:{port} ({error})") from None
    server.start()
    _say(f"listening on {host}:{bound}, with {sys.executable}")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stopped.set())
    stopped.wait()
    server.stop(grace=None)
    pool.stop()
    _say("stopped")


def _require_free(host: str, port: int) -> None:
    """Answers before anything is imported, and in words."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host.strip("[]"), port), family=family).close()
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port} ({error}); is another pool there?"
        ) from None


class _Pool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Beam's BeamFnExternalWorkerPool."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([_PRELOAD])
        self._workers: dict[str, _Worker] = {}
        self._lock = threading.Lock()

    def require_imports(self) -> None:
        """Raises UserError with the reason, unless a worker could import what it needs."""
        process, answer = self._start("imports", None)
        if reason := _answer(process, answer):
            raise UserError(f"a worker cannot start: {reason}")
        process.join()

    def StartWorker(  # noqa: N802 - Beam's name
        self, request: beam_fn_api_pb2.StartWorkerRequest, context: Any
    ) -> beam_fn_api_pb2.StartWorkerResponse:
        name = request.worker_id
        process, answer = self._start(name, request.SerializeToString())
        if reason := _answer(process, answer):
            _say(f"worker {name} could not start: {reason}")
            process.kill()
            return beam_fn_api_pb2.StartWorkerResponse(error=reason)
        _say(f"worker {name} works for {request.control_endpoint.url}")
        self._workers[name] = _Worker(name, process)
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(  # noqa: N802 - Beam's name
        self, request: beam_fn_api_pb2.StopWorkerRequest, context: Any
    ) -> beam_fn_api_pb2.StopWorkerResponse:
        if (worker := self._workers.pop(request.worker_id, None)) is not None:
            worker.stop()
        return beam_fn_api_pb2.StopWorkerResponse()

    def stop(self) -> None:
        """Ends all workers."""
        for worker in list(self._workers.values()):
            worker.stop()

    def _start(
        self, name: str, request: bytes | None
    ) -> tuple[multiprocessing.process.BaseProcess, multiprocessing.connection.Connection]:
        answer, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(request, sender), name=name)
        with self._lock, sender, node_process.without_main():
            process.start()
        return process, answer


class _Worker:
    """A worker at work. One thread alone waits for its process (CPython 3.11 tells the exit code to
    one that waits, and 255 to others), and says so if it dies."""

    def __init__(self, name: str, process: multiprocessing.process.BaseProcess) -> None:
        self._name = name
        self._process = process
        self._stopped = False
        self._watch = threading.Thread(target=self._wait, daemon=True)
        self._watch.start()

    def stop(self) -> None:
        """Ends it; it holds nothing that the engine has not been given."""
        self._stopped = True
        self._process.kill()
        self._watch.join()

    def _wait(self) -> None:
        self._process.join()
        code = self._process.exitcode
        # An engine notices at once, and then has it stopped: that must not hide a death.
        if code and not (self._stopped and code == -signal.SIGKILL):
            _say(f"worker {self._name} died: {_death(self._process)}")


def _answer(
    process: multiprocessing.process.BaseProcess, answer: multiprocessing.connection.Connection
) -> str:
    """Why a worker could not start; "" if it could."""
    try:
        return answer.recv()
    except EOFError:
        process.join()
        return _death(process)


def _death(process: multiprocessing.process.BaseProcess) -> str:
    return f"its process ended with exit code {process.exitcode}; the log may tell more"


def _work(request: bytes | None, answer: multiprocessing.connection.Connection) -> None:
    """What a worker's process does; without a request it only imports."""
    threading.Thread(target=node_process.die_with_parent, daemon=True).start()
    status = 1
    try:
        importlib.import_module(_PRELOAD).require()
        harness = None if request is None else _connect(request)
    except BaseException as error:
        traceback.print_exc()
        answer.send(f"{type(error).__name__}: {error}")
    else:
        answer.send("")
        status = 0 if harness is None else _run(harness)
    sys.stderr.flush()
    os._exit(status)


def _connect(serialized: bytes) -> Any:
    """Beam's SdkHarness, connected to the engine, with the pipeline's options."""
    from apache_beam.runners.worker import sdk_worker_main, worker_id_interceptor
    from google.protobuf import json_format

    request = beam_fn_api_pb2.StartWorkerRequest.FromString(serialized)
    # Where it is not given, Beam takes what the variable WORKER_ID was when this was imported.
    worker_id_interceptor.WorkerIdInterceptor._worker_id = request.worker_id
    channel = grpc.insecure_channel(request.provision_endpoint.url)
    provision = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel).GetProvisionInfo(
        beam_provision_api_pb2.GetProvisionInfoRequest(),
        metadata=[("worker_id", request.worker_id)],
        timeout=60,
    )
    made = sdk_worker_main.create_harness(
        {
            "WORKER_ID": request.worker_id,
            "PIPELINE_OPTIONS": json_format.MessageToJson(provision.info.pipeline_options),
            "RUNNER_CAPABILITIES": " ".join(provision.info.runner_capabilities),
            **{
                f"{name}_API_SERVICE_DESCRIPTOR": str(endpoint)
                for name, endpoint in (
                    ("LOGGING", request.logging_endpoint),
                    ("CONTROL", request.control_endpoint),
                )
            },
        }
    )
    assert made is not None
    return made[1]


def _run(harness: Any) -> int:
    try:
        harness.run()
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _say(what: str) -> None:
    click.echo(f"tfx-recommender: beam-workers: {what}", err=True)
