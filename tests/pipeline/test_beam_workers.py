"""The worker pool of `tfx-recommender beam-workers`: it answers, or says why not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from apache_beam.portability.api import (
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    endpoints_pb2,
)

from benchmarks.beam import COMMAND, free_port, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], int]]:
    port = free_port()
    log = tmp_path_factory.mktemp("pool") / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*COMMAND, "beam-workers", f"--port={port}"], stderr=output, text=True
        )
    wait_for(port, process)
    yield process, port
    helpers = psutil.Process(process.pid).children(recursive=True)
    assert helpers
    process.terminate()
    assert process.wait(30) == 0
    _, alive = psutil.wait_procs(helpers, 30)
    assert not alive
    assert log.read_text().endswith("tfx-recommender: beam-workers: stopped\n")


def test_a_pool_listens_on_loopback_unless_told(pool: tuple[subprocess.Popen[str], int]) -> None:
    process, port = pool
    opened = psutil.Process(process.pid).net_connections("tcp")
    listening = [each.laddr for each in opened if each.status == psutil.CONN_LISTEN]
    assert [address.port for address in listening] == [port]
    assert listening[0].ip.removeprefix("::ffff:") == "127.0.0.1"


def test_an_engine_that_cannot_be_reached_is_told_so(
    pool: tuple[subprocess.Popen[str], int],
) -> None:
    _, port = pool
    nowhere = endpoints_pb2.ApiServiceDescriptor(url=f"localhost:{free_port()}")
    request = beam_fn_api_pb2.StartWorkerRequest(
        worker_id="one",
        control_endpoint=nowhere,
        logging_endpoint=nowhere,
        provision_endpoint=nowhere,
    )
    with grpc.insecure_channel(f"localhost:{port}") as channel:
        stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        answer = stub.StartWorker(request, timeout=120)
    assert nowhere.url.removeprefix("localhost") in answer.error


def test_a_port_that_is_taken_is_refused(pool: tuple[subprocess.Popen[str], int]) -> None:
    _, port = pool
    done = subprocess.run(
        [*COMMAND, "beam-workers", f"--port={port}"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


def test_a_pool_whose_workers_could_not_import_what_they_need_does_not_start(
    tmp_path: Path,
) -> None:
    broken = tmp_path / "tensorflow_model_analysis"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('no such thing here')")
    done = subprocess.run(
        [*COMMAND, "beam-workers", f"--port={free_port()}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
    )
    assert done.returncode == 1
    assert "tfx-recommender: a worker cannot start: " in done.stderr
    assert "no such thing here" in done.stderr
    assert "listening" not in done.stderr


def test_loopback_workers_of_a_run_listen_on_loopback_alone() -> None:
    """Beam's own listen on every address of the machine."""
    code = """
import psutil
from apache_beam.runners.worker import worker_pool_main
from tfx_recommender.pipeline.local import beam_engine
pool = worker_pool_main.BeamFnExternalWorkerPoolServicer
before, first = pool.start()
beam_engine._call_back_by_loopback_alone()
after, second = pool.start()
for each in psutil.Process().net_connections("tcp"):
    if each.status == psutil.CONN_LISTEN:
        print(f"localhost:{each.laddr.port}" == after, each.laddr.ip)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    ours = {ip.removeprefix("::ffff:") for of_ours, ip in lines if of_ours == "True"}
    beams = {ip for of_ours, ip in lines if of_ours == "False"}
    assert ours and ours <= {"127.0.0.1", "::1"}
    assert beams == {"::"}  # else Beam has mended it, and ours may go
