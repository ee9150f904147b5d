"""Beam's steps on Prism, an engine behind the portable Job API, give what they give in-process.

`make test-beam` builds Prism and runs this; without Prism it is skipped.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tfx_recommender.kubeflow
from benchmarks import beam
from tests.conftest import write_config, write_small_data
from tfx_recommender.foundation.errors import UserError
from tfx_recommender.pipeline import commands
from tfx_recommender.pipeline.local.part import WHOLE, Part
from tfx_recommender.pipeline.settings import config_file

PRISM = os.environ.get("TFX_RECOMMENDER_PRISM", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PRISM, reason="no Prism to run on; make test-beam builds it"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small data, and what a run in-process has made of them."""
    folder = tmp_path_factory.mktemp("engine")
    write_small_data(folder)
    write_config(folder)
    run(folder, [])
    return folder


@pytest.fixture(scope="module")
def job_server(folder: Path) -> Iterator[list[str]]:
    with beam.engine(PRISM, folder / "prism.log") as settings:
        yield settings


@pytest.fixture(scope="module")
def pool(folder: Path) -> Iterator[list[str]]:
    with beam.workers(folder / "workers.log", image_environment()) as settings:
        yield settings


def image_environment() -> dict[str, str]:
    """The variables that the image gives a container, and no other; its folders are ours."""
    text = (Path(tfx_recommender.kubeflow.__file__).with_name("Dockerfile")).read_text()
    (block,) = re.findall(r"^ENV (PATH=(?:.*\\\n)+.*)$", text, re.M)
    given = dict(word.split("=", 1) for word in block.replace("\\\n", " ").split())
    assert {"HOME", "TF_USE_LEGACY_KERAS", "PYTHONPATH"} <= given.keys()
    del given["PYTHONPATH"]
    return given | {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}


def run(folder: Path, settings: list[str], part: Part = WHOLE) -> dict[str, Any]:
    """Runs the pipeline, or a part; returns its summary."""
    loaded = config_file.load(str(folder / "config.yaml"), settings)
    commands.run(loaded, False, False, part)
    return json.loads((Path(loaded.root) / "summary.json").read_text())


def counted(log: Path) -> int:
    """How many jobs Prism has finished."""
    return log.read_text(encoding="utf-8").count("pipeline done!")


@pytest.mark.parametrize("node", beam.NODES)
def test_a_step_on_prism_with_loopback_workers_gives_what_it_gives_in_process(
    folder: Path, job_server: list[str], node: str
) -> None:
    in_process = beam.results(folder / "root", node)
    jobs = counted(folder / "prism.log")
    run(folder, job_server, Part(only=node))
    assert beam.results(folder / "root", node) == in_process
    assert counted(folder / "prism.log") > jobs


def test_a_whole_run_with_workers_of_the_pool_gives_the_metrics_of_a_run_in_process(
    folder: Path, job_server: list[str], pool: list[str]
) -> None:
    other = [f"root={folder / 'external'}", f"serving_root={folder / 'external-serving'}"]
    jobs = counted(folder / "prism.log")
    on_engine = run(folder, [*job_server, *pool, *other])
    in_process = run(folder, [f"root={folder / 'again'}", f"serving_root={folder / 'again-s'}"])
    assert on_engine["status"] == in_process["status"] == "pushed"
    for key in ("models", "baseline", "dataset"):
        assert on_engine[key] == in_process[key]
    for node in beam.NODES:
        assert beam.results(folder / "external", node) == beam.results(folder / "again", node)
    assert counted(folder / "prism.log") == jobs + len(beam.NODES)
    log = (folder / "workers.log").read_text(encoding="utf-8")
    assert log.count(" works for localhost:") == len(beam.NODES)
    assert "Logging client failed" not in log


def test_another_place_computes_nothing_anew(
    folder: Path, job_server: list[str], pool: list[str]
) -> None:
    jobs = counted(folder / "prism.log")
    run(folder, [])  # its baseline is what the first run has pushed
    summary = run(folder, [*job_server, *pool])
    assert {*beam.NODES} <= {*summary["cached_nodes"]}
    assert counted(folder / "prism.log") == jobs


def test_a_run_tells_that_no_engine_and_no_workers_answer(
    folder: Path, job_server: list[str]
) -> None:
    nowhere = f"localhost:{beam.free_port()}"
    part = Part(only="StatisticsGen")
    with pytest.raises(UserError, match=rf"beam\.job_endpoint: nothing answers at {nowhere}"):
        run(folder, ["beam.runner=portable", f"beam.job_endpoint={nowhere}"], part)
    external = ["beam.environment=external", f"beam.worker_pool={nowhere}"]
    with pytest.raises(UserError, match=rf"beam\.worker_pool: nothing answers at {nowhere}"):
        run(folder, [*job_server, *external], part)
    run(folder, job_server, part)  # Prism is still there


JOB = """
    import os, sys
    from tfx_recommender.pipeline.local import preload
    import apache_beam as beam
    from tfx_recommender.pipeline.settings.beam import Beam

    place = Beam(
        runner="portable", job_endpoint=sys.argv[1], environment="external",
        worker_pool=sys.argv[2],
    )
    with beam.Pipeline(argv=place.arguments()) as pipeline:
        pipeline | beam.Create([1]) | beam.Map(lambda element: os._exit(9))
"""


def test_a_worker_that_dies_fails_the_job_instead_of_hanging_it(
    folder: Path, job_server: list[str], pool: list[str]
) -> None:
    script = folder / "job.py"
    script.write_text(textwrap.dedent(JOB), encoding="utf-8")
    addresses = [settings[1].partition("=")[2] for settings in (job_server, pool)]
    done = subprocess.run(
        [sys.executable, script, *addresses],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "SDK worker disconnected" in done.stderr
    log = (folder / "workers.log").read_text(encoding="utf-8")
    assert "died: its process ended with exit code 9" in log
    run(folder, [*job_server, *pool], Part(only="StatisticsGen"))  # both are still there
