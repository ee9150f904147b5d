"""Stock TFX and this pipeline on the same generated ratings, node by node.

    python -m benchmarks.speed --rows 10000 --rows 100000 --rows 1000000
    python -m benchmarks.speed --shipped 100000 --shipped 1000000 --shipped 17359346

`--rows` compares one architecture of ours with the same in stock TFX. `--shipped` runs ours alone
as `pipeline/configs/libimseti-like.yaml` says, all architectures. Each run has a process of its
own, one after the other, and so has each node, on either side: by the same launcher, one node at
a time, as copies of a process that has imported all executors. What is measured of a node: wall
and processor seconds of its execution, and the most memory its process held. The imports are the
start-up. Results are added to benchmarks/speed.json (the newest of each size counts), from which
speed.md, speed.png and speed-growth.png are written.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from tfx_recommender.datasets import synthetic_ratings
from tfx_recommender.pipeline.local import slim_imports, summary
from tfx_recommender.pipeline.settings import config, config_file

HERE = Path(__file__).parent
CONFIG = HERE.parent / "pipeline" / "configs" / "libimseti-like.yaml"
STOCK, OURS, SHIPPED = "stock", "ours", "shipped"
EPOCHS, BATCH_SIZE = 1, 1024
# What `foundation/stopwatch.py` and `pipeline/local/node_process.py` tell the log.
_PART = re.compile(r"tfx-recommender: (.+) in ([\d.]+) s \(([\d.]+) s of processor time\)")
_NODE = re.compile(r"tfx-recommender: (\S+): [\d.]+ s of processor time")


@dataclasses.dataclass
class Used:
    """What something took.

    Attributes:
      wall: seconds.
      processor: seconds.
      peak: GiB of memory at most.
    """

    wall: float
    processor: float
    peak: float


@contextlib.contextmanager
def _measured(used: Used) -> Iterator[None]:
    """Adds what this process takes."""
    wall, processor = time.monotonic(), time.process_time()
    yield
    used.wall += time.monotonic() - wall
    used.processor += time.process_time() - processor
    used.peak = max(used.peak, psutil.Process().memory_info().rss / 2**30)


def _start_up(executors: str) -> Used:
    """Starts the process that nodes are copies of, and waits until it has imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([executors])
    answer, sender = context.Pipe(duplex=False)
    start = time.monotonic()
    process = context.Process(target=_tell_of_parent, args=(sender,))
    process.start()
    processor, memory = answer.recv()
    wall = time.monotonic() - start
    process.join()
    return Used(wall, processor, memory / 2**30)


def _tell_of_parent(answer: Connection) -> None:
    parent = psutil.Process(os.getppid())
    times = parent.cpu_times()
    answer.send((times.user + times.system, parent.memory_info().rss))


def size_of(rows: int) -> synthetic_ratings.Size:
    """So many ratings; users and items grow with their power of 3/4, up to LibimSeTi's."""
    full = synthetic_ratings.Size()
    share = (rows / full.ratings) ** 0.75
    return synthetic_ratings.Size(round(full.users * share), round(full.items * share), rows)


def our_config(folder: Path, shipped: bool = False) -> config.Config:
    """The shipped config for such data, on this folder; unless `shipped`, what stock can do."""
    training = {"epochs": EPOCHS, "batch_size": BATCH_SIZE}
    settings: dict[str, Any] = {
        "root": str(folder / "root"),
        "serving_root": str(folder / "serving"),
        "data.ratings.paths": [str(folder / "ratings.dat")],
        "data.users.path": str(folder / "gender.dat"),
        "data.items.path": str(folder / "gender.dat"),
    }
    compared = {
        "split": {"strategy": "random", "validation": 0.1, "test": 0.1},
        "vocabulary.min_count": 1,
        "models": {
            "mlp": {
                "rating": {"training": training},
                "preference": {"training": training | {"negatives": 512}},
            }
        },
    }
    settings |= {} if shipped else compared
    overrides = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    return config_file.load(str(CONFIG), overrides)


def run_ours(folder: Path, shipped: bool = False) -> dict[str, Any]:
    """The whole pipeline, as `tfx-recommender run` does it."""
    settings = our_config(folder, shipped)
    launcher, fingerprint = Used(0, 0, 0), Used(0, 0, 0)
    with _measured(launcher):
        slim_imports.launch_only()
        from tfx_recommender.pipeline import dag, world
        from tfx_recommender.pipeline.local import outcome, runner
    start_up = _start_up("tfx_recommender.pipeline.local.preload")
    start_up.wall += launcher.wall
    start_up.processor += launcher.processor
    with _measured(fingerprint):
        found = world.observe(settings.data, settings.serving_directory, None, False)
    pipeline = dag.create_pipeline(settings, found, str(folder / "root"))
    used, record, store = _run(runner, pipeline, folder)
    result = _result(start_up, {"fingerprint": fingerprint, **used}, folder)
    if shipped:
        told = outcome.summarise(settings, record, store, "")
        generator = json.loads((folder / synthetic_ratings.SETTINGS_FILE).read_text())
        result["quality"] = {
            "noise floor": {"rmse": generator["noise_floor_rmse"]},
            "baseline": _quality(told["baseline"]),
            **{name: _quality(values) for name, values in told["models"].items()},
        }
    return result


def _quality(values: dict[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in ("rmse", "hit_rate_at_10")}


def run_stock(folder: Path) -> dict[str, Any]:
    """TFX's components on the same rows, joined."""
    settings = our_config(folder)
    _write_joined(folder)
    schema = _write_schema(settings, folder)
    # This process imports the same once more, which stock TFX would not do: it is not counted.
    start_up = _start_up("benchmarks.stock_executors")
    from benchmarks import stock
    from tfx_recommender.pipeline.local import runner

    places = str(folder / "csv"), schema, str(folder / "root"), str(folder / "serving")
    pipeline = stock.create_pipeline(*places, EPOCHS, BATCH_SIZE)
    used, _, _ = _run(runner, pipeline, folder)
    return _result(start_up, used, folder)


def _run(runner: Any, pipeline: Any, folder: Path) -> tuple[dict[str, Used], Any, Any]:
    from rich.console import Console

    from tfx_recommender.pipeline.local.screen import Progress
    from tfx_recommender.pipeline.local.store import Store

    store = Store(str(folder / "metadata.sqlite"))
    record = summary.Run()
    whole = Used(0, 0, 0)
    with _measured(whole):
        runner.run(pipeline, store, Progress(Console(stderr=True)), record)
    used = {
        node: Used(usage.seconds, usage.processor_seconds, usage.memory / 2**30)
        for node, usage in record.usage.items()
    }
    whole.wall -= sum(node.wall for node in used.values())
    return {**used, "launcher": whole}, record, store


def _result(start_up: Used, used: dict[str, Used], folder: Path) -> dict[str, Any]:
    nodes = {"start-up": start_up, **used}
    return {
        "nodes": {name: dataclasses.asdict(node) for name, node in nodes.items()},
        "pushed": any((folder / "serving").rglob("saved_model.pb")),
    }


def _write_joined(folder: Path) -> None:
    """`csv/ratings.csv`: what CsvExampleGen can read; the join is not counted."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    def read(name: str, columns: list[str]) -> pa.Table:
        return csv.read_csv(folder / name, read_options=csv.ReadOptions(column_names=columns))

    table = read("ratings.dat", ["user_id", "profile_id", "rating"])
    for key, column in (("user_id", "gender"), ("profile_id", "profile_gender")):
        people = read("gender.dat", [key, column])
        table = table.append_column(column, people[column].take(pc.subtract(table[key], 1)))
    # Stock TFX infers types from values: a letter makes ids the strings that they are.
    for key in ("user_id", "profile_id"):
        text = pc.cast(table[key], pa.string())
        table = table.set_column(
            table.column_names.index(key), key, pc.binary_join_element_wise("n", text, "")
        )
    (folder / "csv").mkdir()
    plain = csv.WriteOptions(include_header=False, quoting_style="none")
    with open(folder / "csv" / "ratings.csv", "wb") as file:
        file.write(f"{','.join(table.column_names)}\n".encode())
        csv.write_csv(table, file, plain)


def _write_schema(settings: config.Config, folder: Path) -> str:
    from google.protobuf import text_format

    from tfx_recommender.components.ratings_example_gen import schema
    from tfx_recommender.transform import features

    described = schema.schema_of(settings.data.columns())
    given = [feature for feature in described.feature if feature.name not in features.WEIGHTS]
    del described.feature[:]
    described.feature.extend(given)
    for feature in described.feature:
        if feature.name == "item_id":
            feature.name = "profile_id"
        if feature.name == "rating":  # whole numbers, in the eyes of CsvExampleGen
            feature.type = 2
            feature.ClearField("domain_info")
    path = folder / "schema.pbtxt"
    path.write_text(text_format.MessageToString(described))
    return str(path)


def parts_of(log: str) -> dict[str, dict[str, dict[str, float]]]:
    """Node -> part of its work -> `wall` and `processor` seconds, of nodes run one by one."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    parts: dict[str, dict[str, float]] = {}
    for line in log.splitlines():
        if part := _PART.search(line):
            what, *seconds = part.groups()
            before = parts.get(what, {"wall": 0.0, "processor": 0.0})
            parts[what] = {
                name: before[name] + float(more)
                for name, more in zip(("wall", "processor"), seconds, strict=True)
            }
        elif (node := _NODE.search(line)) and parts:
            found[node[1]], parts = parts, {}
    return found


def measure(side: str, rows: int) -> dict[str, Any]:
    """Runs one side in a process of its own.

    Returns:
      `machine`; `nodes`: node -> `wall`, `processor` (s) and `peak` (GiB); `parts` (see
      `parts_of`); `pushed`, whether there is a served model at the end; `at_once`, the most that
      all processes held, GiB; if shipped `quality`: model -> `rmse` and `hit_rate_at_10`.
    """
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before"
    with tempfile.TemporaryDirectory() as folder:
        synthetic_ratings.write(folder, size_of(rows))
        command = [sys.executable, "-m", "benchmarks.speed", "--side", side, "--folder", folder]
        log = HERE / f"speed-{side}.log"
        with open(log, "w", encoding="utf-8") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
            at_once = _watch(process)
        if process.returncode:
            raise SystemExit(f"{side} at {rows} rows failed: see {log}")
        result = json.loads(Path(folder, "result.json").read_text(encoding="utf-8"))
        parts = parts_of(log.read_text(errors="replace"))
        return {"machine": machine, **result, "parts": parts, "at_once": at_once}


def _watch(process: subprocess.Popen[bytes]) -> float:
    """Waits for the end; the most memory that it and those below it held at once, GiB."""
    peak = 0
    while True:
        held = 0
        with contextlib.suppress(psutil.Error):
            watched = psutil.Process(process.pid)
            for each in (watched, *watched.children(recursive=True)):
                # Pages that processes share count once, in parts (PSS).
                held += each.memory_full_info().pss
        peak = max(peak, held)
        # Not more often: who is looked at stands still.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
            return peak / 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, action="append", default=[], help="stock and ours")
    parser.add_argument(
        "--shipped", type=int, action="append", default=[], help="ours alone, as shipped"
    )
    parser.add_argument("--side", choices=[STOCK, OURS, SHIPPED], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        result = (
            run_stock(options.folder)
            if options.side == STOCK
            else run_ours(options.folder, options.side == SHIPPED)
        )
        (options.folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
        return
    from benchmarks import speed_report

    path = HERE / "speed.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    compared = [(rows, side) for rows in options.rows for side in (STOCK, OURS)]
    for rows, side in [*compared, *((rows, SHIPPED) for rows in options.shipped)]:
        results.setdefault(str(rows), {})[side] = measure(side, rows)
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    speed_report.write(results, HERE)


if __name__ == "__main__":
    main()
