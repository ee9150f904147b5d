"""The section `beam`: what it makes of itself for Beam, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_config
from tfx_recommender.foundation.errors import ConfigError
from tfx_recommender.pipeline.settings import config_file
from tfx_recommender.pipeline.settings.beam import Beam


def load(folder: Path, **beam: Any) -> Beam:
    path = write_config(folder)
    return config_file.load(str(path), [f"beam={json.dumps(beam)}"]).beam


ENGINE = {"runner": "portable", "job_endpoint": "localhost:8073"}


def test_beam_is_in_process_and_offline_unless_told(tmp_path: Path) -> None:
    from apache_beam.options import pipeline_options

    beam = config_file.load(str(write_config(tmp_path))).beam
    options = pipeline_options.PipelineOptions(beam.arguments())
    runner = options.view_as(pipeline_options.StandardOptions).runner
    assert runner == "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


@pytest.mark.parametrize(
    ("beam", "environment"),
    [
        ({}, ("LOOPBACK", None)),
        ({"environment": "loopback"}, ("LOOPBACK", None)),
        (
            {"environment": "external", "worker_pool": "flink-1:50000"},
            ("EXTERNAL", "flink-1:50000"),
        ),
    ],
)
def test_an_engine_is_named_to_beam(
    tmp_path: Path, beam: dict[str, Any], environment: tuple[str, str | None]
) -> None:
    from apache_beam.options import pipeline_options
    from tfx.utils import dependency_utils

    arguments = load(tmp_path, **ENGINE, **beam, options=["--parallelism=4"]).arguments()
    options = pipeline_options.PipelineOptions(arguments)
    portable = options.view_as(pipeline_options.PortableOptions)
    assert options.view_as(pipeline_options.StandardOptions).runner == "PortableRunner"
    assert portable.job_endpoint == "localhost:8073"
    assert (portable.environment_type, portable.environment_config) == environment
    # Prism ends a job that outlasts it.
    assert portable.job_server_timeout > 7 * 24 * 3600
    assert arguments[-1] == "--parallelism=4"
    # TFX would pack itself for workers that have it.
    assert dependency_utils.make_beam_dependency_flags(arguments) == arguments


@pytest.mark.parametrize(
    ("beam", "message"),
    [
        ({"runner": "FlinkRunner"}, r"beam\.runner: FlinkRunner starts a Java job server and down"),
        ({"runner": "flink"}, "start Beam's job server beside Flink"),
        ({"runner": "apache_beam.runners.SparkRunner"}, "start Beam's job server beside Spark"),
        ({"runner": "PrismRunner"}, "start prism by hand"),
        ({"runner": "DirectRunner"}, "runner: in_process needs no download"),
        ({"runner": "DataflowRunner"}, r"kubeflow\.beam_arguments"),
        ({"runner": "dask"}, "'in_process' or 'portable'"),
        ({"runner": "portable"}, r"beam\.job_endpoint: is missing"),
        (ENGINE | {"job_endpoint": "http://localhost:8073"}, r"beam\.job_endpoint"),
        (ENGINE | {"environment": "external"}, r"beam\.worker_pool: is missing"),
        (ENGINE | {"worker_pool": "localhost:1"}, r"beam\.worker_pool: is used by nothing"),
        (ENGINE | {"environment": "docker"}, r"beam\.environment"),
        (ENGINE | {"options": ["--runner=FlinkRunner"]}, r"--runner: the key beam\.runner says"),
        (ENGINE | {"options": ["--environment_type", "x"]}, r"the key beam\.environment says that"),
        (ENGINE | {"options": ["parallelism=4"]}, "write it as --name=value"),
        ({"job_endpoint": "localhost:8073"}, r"beam\.job_endpoint: is for an engine"),
        ({"options": ["--direct_running_mode=multi_processing"]}, r"beam\.options: is for an eng"),
        ({"endpoint": "x"}, r"beam\.endpoint: unknown key"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, beam: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, **beam)
