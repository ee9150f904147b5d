"""Beam's steps in their own process and on Prism, on the same made-up ratings: time, and results.

    tests/beam/prism.sh build/beam
    .venv/bin/python -m benchmarks.beam --prism build/beam/prism --rows 1000000

The pipeline runs once; then each step of Beam's is computed again alone (`run --only`): in-process,
on Prism with the step's own process as its worker (loopback), and on Prism with the worker pool in
a process of its own (external). What is measured is the step's wall time as `summary.json` tells
it, with the start of its process, and the processor time of the step, of Prism and of the workers.
Writes benchmarks/beam.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
# The last first: after a part of a run, `--only` finds the inputs of what comes before it alone.
NODES = ("Evaluator-mf", "Transform", "StatisticsGen")
COMMAND = [str(Path(sys.executable).with_name("tfx-recommender"))]
# Two heads that are fitted in little time; what Beam's steps do does not depend on them.
_MODELS = (
    'models={"mf": {"rating": {"embedding_size": 4, "factors": 4, "sweeps": 4, "burn_in": 1,'
    ' "samples": 2}, "preference": {"embedding_size": 8, "training": {"epochs": 1,'
    ' "batch_size": 65536, "negatives": 256}}}}'
)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen[Any], seconds: float = 120) -> None:
    """Waits until somebody listens there.

    Raises:
      RuntimeError: the process ended, or time is up.
    """
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"nobody listens on {port}: {process.args!r}")
        time.sleep(0.2)


@contextlib.contextmanager
def engine(prism: str, log: Path) -> Iterator[list[str]]:
    """Prism on loopback; yields the settings that name it."""
    port = free_port()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [prism, f"-job_port={port}", "-serve_http=false"], stdout=output, stderr=output
        )
    try:
        wait_for(port, process)
        yield ["beam.runner=portable", f"beam.job_endpoint=localhost:{port}"]
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def workers(log: Path, environment: dict[str, str] | None = None) -> Iterator[list[str]]:
    """The worker pool in a process of its own, in this environment or the caller's; yields the
    settings that name it."""
    port = free_port()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tfx_recommender.pipeline.cli",
                "beam-workers",
                f"--port={port}",
            ],
            stdout=output,
            stderr=output,
            env=environment,
            cwd=log.parent,
        )
    try:
        wait_for(port, process)
        yield ["beam.environment=external", f"beam.worker_pool=localhost:{port}"]
    finally:
        process.terminate()
        process.wait()


def results(root: Path, node: str) -> dict[str, Any]:
    """What a node of Beam's has computed last, in a form that compares to the last digit."""
    if node == "StatisticsGen":
        return _statistics(root)
    if node == "Transform":
        return _transformed(root)
    from tfx_recommender.components.evaluator import verdict

    folder = str(_newest(root, node, "evaluation"))
    found = {of: verdict.sliced_metrics_of(folder, of) for of in ("candidate", "baseline")}
    return {"metrics": repr(found), "reasons": verdict.reasons(folder)}


def _statistics(root: Path) -> dict[str, Any]:
    """Of each feature; TFDV adds up means in the order in which rows come, in any process, so of
    these all but the last digits count."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    (path,) = _newest(root, "StatisticsGen", "statistics").glob("Split-*/FeatureStats.pb")
    (found,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes()).datasets
    for feature in found.features:
        for name in ("mean", "std_dev"):
            if feature.HasField("num_stats"):
                value = getattr(feature.num_stats, name)
                setattr(feature.num_stats, name, float(f"{value:.12g}"))
    return {feature.path.step[0]: str(feature) for feature in found.features}


def _newest(root: Path, node: str, key: str) -> Path:
    found = root.glob(f"artifacts/*/{node}/{key}/*")
    return max(found, key=lambda path: int(path.name))


def _transformed(root: Path) -> dict[str, Any]:
    """Vocabularies, and what the graph makes of every user and item."""
    import tensorflow as tf
    import tensorflow_transform as tft

    graph = _newest(root, "Transform", "transform_graph")
    found: dict[str, Any] = {
        path.name: path.read_bytes() for path in graph.glob("transform_fn/assets/*")
    }
    output = tft.TFTransformOutput(str(graph))
    files = _newest(root, "RatingsExampleGen", "examples").glob("Split-entities/*")
    rows = tf.data.TFRecordDataset([str(file) for file in files])
    batch = next(iter(rows.batch(10**6)))
    values = output.transform_raw_features(tf.io.parse_example(batch, output.raw_feature_spec()))
    for name, value in values.items():
        dense = tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor) else value
        found[f"transformed {name}"] = dense.numpy().tobytes()
    return found


def _run(config: list[str], root: Path, *options: str) -> dict[str, float]:
    subprocess.run([*COMMAND, "run", *config, *options], check=True)
    return json.loads((root / "summary.json").read_text(encoding="utf-8"))["node_seconds"]


def _processor_seconds(root: Path, helpers: list[int]) -> float:
    """What nodes and these processes have used until now, with all that they have started."""
    told = re.findall(r"([\d.]+) s of processor time, \d+ MiB", (root / "pipeline.log").read_text())
    total = sum(map(float, told))
    for helper in map(psutil.Process, helpers):
        for process in [helper, *helper.children(recursive=True)]:
            total += sum(process.cpu_times()[:4])  # children that have ended count with it
    return total


def measure(rows: int, prism: str, folder: Path) -> list[str]:
    """Runs everything; returns the table's lines."""
    from benchmarks.speed import CONFIG, size_of
    from tfx_recommender.datasets import sources

    size = size_of(rows)
    sources.generate("synthetic", str(folder), size)
    data, root = folder / "synthetic", folder / "root"
    settings = [
        f"root={root}", f"serving_root={folder / 'serving'}", _MODELS,
        f"data.ratings.paths=[{data / 'ratings.dat'}]", f"data.users.path={data / 'gender.dat'}",
        f"data.items.path={data / 'gender.dat'}", "split.validation=0.1", "split.test=0.1",
    ]  # fmt: skip
    config = [str(CONFIG), *(f"--set={setting}" for setting in settings)]
    _run(config, root)
    log = folder / "engine.log"
    seconds: dict[tuple[str, str], tuple[float, float]] = {}
    outcomes: dict[tuple[str, str], Any] = {}
    with engine(prism, log) as job_server, workers(log) as pool:
        places: dict[str, Sequence[str]] = {
            "in_process": (), "loopback": job_server, "external": [*job_server, *pool],
        }  # fmt: skip
        for node in NODES:
            for place, where in places.items():
                given = [f"--set={setting}" for setting in where]
                helpers = [child.pid for child in psutil.Process().children()]
                before = _processor_seconds(root, helpers)
                wall = _run(config, root, "--only", node, *given)[node]
                seconds[node, place] = wall, _processor_seconds(root, helpers) - before
                outcomes[node, place] = results(root, node)
    lines = [
        f"| {rows:,} ratings | in-process | Prism, loopback | Prism, worker pool | results |",
        "|---|---|---|---|---|",
    ]
    for node in reversed(NODES):
        equal = all(outcomes[node, place] == outcomes[node, "in_process"] for place in places)
        times = " | ".join("{:.1f} s ({:.1f} s)".format(*seconds[node, place]) for place in places)
        lines.append(f"| {node} | {times} | {'equal' if equal else 'DIFFER'} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--prism", required=True)
    parser.add_argument("--folder", type=Path, help="kept, where given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        lines = measure(given.rows, given.prism, folder)
    text = [
        "# Beam's steps on an engine",
        "",
        f"    .venv/bin/python -m benchmarks.beam --prism build/beam/prism --rows {given.rows}",
        "",
        *lines,
        "",
        f"Wall time (processor time of all processes); {os.cpu_count()} cores, load"
        f" {os.getloadavg()[2]:.0f}; Beam 2.77. Results are compared to the last digit, means and"
        " standard deviations of StatisticsGen to twelve. The top of [beam.py](beam.py) says how.",
    ]
    (HERE / "beam.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
