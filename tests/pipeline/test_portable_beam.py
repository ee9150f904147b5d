"""Statistics, Transform and Evaluator through Beam's portable Job API, as Flink and Dataflow speak.

The job service is Beam's own for one machine; the workers are the nodes' processes (LOOPBACK).
`make test-beam` meets an engine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from tfx_recommender.pipeline import commands
from tfx_recommender.pipeline.settings import config_file

pytestmark = pytest.mark.slow


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    port = tmp_path / "port"
    command = [
        *(sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main"),
        *("--port=0", f"--port_file={port}", f"--staging_dir={tmp_path / 'staging'}"),
    ]
    with subprocess.Popen(command) as service:
        deadline = time.monotonic() + 120
        while not (port.exists() and port.read_text().strip()):
            assert service.poll() is None, "the job service did not start"
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield f"localhost:{port.read_text().strip()}"
        service.terminate()


def run(small: Path, name: str, settings: list[str]) -> dict[str, Any]:
    """A whole run with a root of its own; returns its summary."""
    places = [f"{key}={small / name / key}" for key in ("root", "serving_root")]
    loaded = config_file.load(str(small / "config.yaml"), [*places, *settings])
    commands.run(loaded, False, False)
    return json.loads((small / name / "root" / "summary.json").read_text())


def test_beam_steps_give_the_same_through_the_portable_job_api(small: Path, endpoint: str) -> None:
    in_process = run(small, "in_process", [])
    engine = ["beam.runner=portable", f"beam.job_endpoint={endpoint}"]
    through_the_job_api = run(small, "portable", engine)
    assert through_the_job_api["status"] == in_process["status"] == "pushed"
    assert through_the_job_api["models"] == in_process["models"]
    assert statistics(small / "portable") == statistics(small / "in_process")
    assert finished_jobs(endpoint) == 3


def finished_jobs(endpoint: str) -> int:
    with grpc.insecure_channel(endpoint) as channel:
        stub = beam_job_api_pb2_grpc.JobServiceStub(channel)
        jobs = stub.GetJobs(beam_job_api_pb2.GetJobsRequest(), timeout=30).job_info
    return [job.state for job in jobs].count(beam_job_api_pb2.JobState.DONE)


def statistics(folder: Path) -> dict[str, Any]:
    """Split -> feature -> how many values, missing ones and zeros StatisticsGen counted."""
    import tensorflow_data_validation as tfdv

    counts = {}
    for path in folder.glob("root/artifacts/*/StatisticsGen/statistics/*/Split-*/FeatureStats.pb"):
        (dataset,) = tfdv.load_stats_binary(str(path)).datasets
        counts[path.parent.name] = {
            feature.path.step[0]: (
                dataset.num_examples,
                (feature.num_stats or feature.string_stats).common_stats.num_missing,
                feature.string_stats.unique,
                round(feature.num_stats.mean, 9),
            )
            for feature in dataset.features
        }
    assert list(counts) == ["Split-entities"]
    return counts
