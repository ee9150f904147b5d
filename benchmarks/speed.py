"""Stock TFX and this pipeline on the same generated ratings, node by node.

    python -m benchmarks.speed --rows 10000 --rows 100000 --rows 1000000
    python -m benchmarks.speed --full

Each side runs in a process of its own, one after the other, by the same launcher. What is
measured of a node: wall seconds, processor seconds, and the most memory that the process held
while it ran. Results are added to benchmarks/speed.json (one entry a size; the newest counts),
from which speed.md and speed.png are written.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tfx_recommender.pipeline import config, synthetic_ratings

HERE = Path(__file__).parent
CONFIG = HERE.parent / "pipeline" / "configs" / "libimseti-like.yaml"
STOCK, OURS = "stock", "ours"
EPOCHS, BATCH_SIZE = 1, 1024


class Meter:
    """Measures nodes; takes the place of `screen.Progress`."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, float]] = {}
        self._process = psutil.Process()

    @contextlib.contextmanager
    def step(self, label: str) -> Iterator[None]:
        """Measures what happens inside; adds to what was measured under the same name."""
        name = label.rpartition(" ")[2]
        print(f"{datetime.datetime.now():%H:%M:%S} {label}", file=sys.stderr, flush=True)
        peak, done = self._process.memory_info().rss, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.02):
                peak = max(peak, self._process.memory_info().rss)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        wall, processor = time.monotonic(), time.process_time()
        try:
            yield
        finally:
            wall, processor = time.monotonic() - wall, time.process_time() - processor
            done.set()
            watcher.join()
            before = self.nodes.get(name, {"wall": 0.0, "processor": 0.0, "peak": 0.0})
            self.nodes[name] = {
                "wall": before["wall"] + wall,
                "processor": before["processor"] + processor,
                "peak": max(before["peak"], peak / 2**30),
            }

    def done(self, label: str, seconds: float, note: str = "") -> None:
        """Nothing more to do."""

    def watch(
        self, module: Any, function: str, name: str, of: Callable[[Any], bool] = lambda first: True
    ) -> None:
        """Measures calls of a module's function, too: those `of` whose first argument is true."""
        measured = getattr(module, function)

        @functools.wraps(measured)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.step(name) if of(args[0]) else contextlib.nullcontext():
                return measured(*args, **kwargs)

        setattr(module, function, call)


def size_of(rows: int) -> synthetic_ratings.Size:
    """So many ratings; users and items grow with their power of 3/4, up to LibimSeTi's."""
    full = synthetic_ratings.Size()
    share = (rows / full.ratings) ** 0.75
    return synthetic_ratings.Size(round(full.users * share), round(full.items * share), rows)


def our_config(folder: Path) -> config.Config:
    """The shipped config for such data, on this folder, with one architecture."""
    training = {"epochs": EPOCHS, "batch_size": BATCH_SIZE}
    settings = {
        "root": str(folder / "root"),
        "serving_root": str(folder / "serving"),
        "data.ratings.paths": [str(folder / "ratings.dat")],
        "data.users.path": str(folder / "gender.dat"),
        "data.items.path": str(folder / "gender.dat"),
        "split": {"strategy": "random", "validation": 0.1, "test": 0.1},
        "vocabulary.min_count": 1,
        "models": {
            "mlp": {
                "rating": {"training": training},
                "preference": {"training": training | {"negatives": 512}},
            }
        },
    }
    overrides = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    return config.load(str(CONFIG), overrides)


def run_ours(folder: Path, meter: Meter) -> None:
    """The whole pipeline, as `tfx-recommender run` does it."""
    settings = our_config(folder)
    with meter.step("start-up"):
        from tfx_recommender.components.evaluator import ranking
        from tfx_recommender.pipeline import dag, local_runner, world
        from tfx_recommender.trainer import losses, training

    # TFX reloads the module of a run_fn, and what is watched there is gone.
    def ranks(loss: Any) -> bool:
        return not isinstance(loss, losses.SquaredError)

    meter.watch(training, "fit", "(Trainer-mlp)", ranks)
    meter.watch(ranking, "ranks", "(Evaluator-mlp)")
    with meter.step("fingerprint"):
        found = world.observe(settings.data, settings.serving_directory, None, False)
    pipeline = dag.create_pipeline(settings, found, str(folder / "root"))
    _run(local_runner, pipeline, folder, meter)


def run_stock(folder: Path, meter: Meter) -> None:
    """TFX's components on the same rows, joined."""
    settings = our_config(folder)
    _write_joined(folder)
    with meter.step("start-up"):
        from benchmarks import stock
        from tfx_recommender.pipeline import local_runner
    pipeline = stock.create_pipeline(
        str(folder / "csv"),
        _write_schema(settings, folder),
        str(folder / "root"),
        str(folder / "serving"),
        EPOCHS,
        BATCH_SIZE,
    )
    _run(local_runner, pipeline, folder, meter)


def _run(local_runner: Any, pipeline: Any, folder: Path, meter: Meter) -> None:
    store = local_runner.Store(str(folder / "metadata.sqlite"))
    run = local_runner.Run(local_runner.new_run_id())
    local_runner.run(pipeline, store, meter, run)


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

    described = schema.schema_of(settings.data.columns())
    for feature in described.feature:
        if feature.name == "item_id":
            feature.name = "profile_id"
        if feature.name == "rating":  # whole numbers, in the eyes of CsvExampleGen
            feature.type = 2
            feature.ClearField("domain_info")
    path = folder / "schema.pbtxt"
    path.write_text(text_format.MessageToString(described))
    return str(path)


def measure(side: str, rows: int) -> dict[str, dict[str, float]]:
    """Runs one side in a process of its own; node -> wall, processor (s) and peak (GiB)."""
    with tempfile.TemporaryDirectory() as folder:
        synthetic_ratings.write(folder, size_of(rows))
        command = [sys.executable, "-m", "benchmarks.speed", "--side", side, "--folder", folder]
        log = HERE / f"speed-{side}.log"
        with open(log, "w", encoding="utf-8") as file:
            done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise SystemExit(f"{side} at {rows} rows failed: see {log}")
        return json.loads(Path(folder, "nodes.json").read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, action="append", default=[])
    parser.add_argument("--full", action="store_true", help="ours alone, at LibimSeTi's size")
    parser.add_argument("--side", choices=[STOCK, OURS], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        meter = Meter()
        {STOCK: run_stock, OURS: run_ours}[options.side](options.folder, meter)
        (options.folder / "nodes.json").write_text(json.dumps(meter.nodes), encoding="utf-8")
        return
    from benchmarks import speed_report

    path = HERE / "speed.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    full = [synthetic_ratings.Size().ratings] if options.full else []
    for rows in [*options.rows, *full]:
        sides = [OURS] if rows in full else [STOCK, OURS]
        results[str(rows)] = {
            "machine": f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before",
            **{side: measure(side, rows) for side in sides},
        }
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        speed_report.write(results, HERE)


if __name__ == "__main__":
    main()
