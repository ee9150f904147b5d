"""Latency and throughput of what is served: `recommend` (the ten best items) and `score`.

    python -m benchmarks.serving
    python -m benchmarks.serving --catalogue large --model mlp

Each SavedModel is made by `trainer/export.py`, from heads with the default settings, of made-up
users, items and ratings. The heads are not trained, since the same graph with other weights takes
as long (the sampled part of rating heads is random vectors of the length that sampling gives).
Then a process that imports TensorFlow alone loads the model by `tf.saved_model.load` and asks, one
request at a time, known ids drawn anew for each. The first requests, which start TensorFlow's
kernels, are not counted. Results are added to benchmarks/serving.json (the newest of a model and a
catalogue counts), from which serving.md is written.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tfx_recommender.trainer.fitting.head import Head
    from tfx_recommender.trainer.fitting.problem import Problem

HERE = Path(__file__).parent
MODELS = ("mf", "mlp", "hybrid", "two_stage")
BATCHES = (1, 256)
K = 10
WARM_UP, SECONDS, FEWEST, MOST = 3, 5.0, 10, 2000
MEMORY = 8 * 2**30  # bytes that a serving process may allocate
PATIENCE = 900  # seconds after which a serving process is given up


class CatalogueSize(NamedTuple):
    """What a catalogue consists of; of a user's ratings, repeated ones are dropped."""

    users: int
    items: int
    ratings_per_user: int


CATALOGUES = {
    "small": CatalogueSize(943, 1_682, 100),  # MovieLens-100k's users and items
    "large": CatalogueSize(
        135_359, 168_791, 32
    ),  # LibimSeTi's, ratings bounded to what two towers see
}


def build(folder: str, name: str, size: CatalogueSize) -> None:
    """Exports an architecture over made-up users and items; `folder` must not exist."""
    import keras
    import pyarrow as pa
    import tensorflow as tf

    from tfx_recommender.trainer import export
    from tfx_recommender.trainer.fitting.problem import (
        Catalogue,
        EntityShape,
        EntityTable,
        Interactions,
        Problem,
    )
    from tfx_recommender.trainer.input_data import SplitRows
    from tfx_recommender.trainer.recommender import Recommender
    from tfx_recommender.transform.features import Columns, Feature

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    features = Feature("gender", "category", "user"), Feature("genres", "categories", "item")

    def side(
        feature: Feature, count: int, most: int, values: int
    ) -> tuple[EntityTable, EntityShape]:
        categories = {feature.name: rng.integers(0, values, (count + 1, most))}
        numeric = np.zeros((count + 1, 0), np.float32)
        raw_ids = np.array([id_of(n).encode() for n in range(count)], object)
        labels = (*(str(n).encode() for n in range(values)), b"\0")
        return (
            EntityTable(raw_ids, np.arange(count + 1), numeric, categories),
            EntityShape(feature.side, count + 1, count, 0, {feature.name: labels}),
        )

    users, user_shape = side(features[0], size.users, 1, 2)
    items, item_shape = side(features[1], size.items, 3, 18)
    user = np.repeat(np.arange(size.users), size.ratings_per_user)
    pairs = np.unique(user * size.items + rng.integers(0, size.items, len(user)))
    user, item = pairs // size.items, pairs % size.items
    rating = rng.integers(1, 6, len(pairs)).astype(np.float32)
    train = Interactions(user, item, rating, rng.permutation(len(pairs)))
    none = Interactions(user[:0], item[:0], rating[:0])
    problem = Problem(Catalogue(users, items, user_shape, item_shape), train, none, 32, seed=0)
    catalogue = problem.catalogue
    rating_head, preference_head = heads_of(name, problem)
    model = Recommender(
        rating_head, preference_head, problem.rating_mean, problem.rating_scale, (1.0, 5.0)
    )
    first = [
        tf.nest.map_structure(lambda x: tf.constant(x[:1]), entities.batch())
        for entities in (catalogue.users, catalogue.items)
    ]
    model.predict(*first)  # makes the weights
    known = SplitRows(
        pa.DictionaryArray.from_arrays(user, pa.array(users.raw_ids, pa.binary())),
        pa.DictionaryArray.from_arrays(item, pa.array(items.raw_ids, pa.binary())),
    )
    columns = Columns(1.0, 5.0, True, features)
    export.export(folder, model, catalogue, columns, None, train, known, {})


def heads_of(name: str, problem: Problem) -> tuple[Head, Head]:
    """An architecture's rating head and preference head with default settings, not trained."""
    from tfx_recommender.trainer.architectures import model
    from tfx_recommender.trainer.architectures.factors import FactorsHead
    from tfx_recommender.trainer.architectures.hybrid.model import HybridHead
    from tfx_recommender.trainer.architectures.hybrid.settings import HybridRating
    from tfx_recommender.trainer.architectures.mf.settings import BayesianFactorization
    from tfx_recommender.trainer.architectures.mlp.model import untrained_rating_head
    from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
    from tfx_recommender.trainer.fitting.fit import Untrained

    def sampled(settings: BayesianFactorization) -> FactorsHead:
        shapes = problem.catalogue.user_shape, problem.catalogue.item_shape
        rng, width = np.random.default_rng(0), 1 + settings.embedding_size
        return FactorsHead(*(rng.normal(size=(s.ids, width)).astype(np.float32) for s in shapes))

    row = ARCHITECTURES[name]
    rating, fitter = row.rating(), Untrained(0)
    preference_head = model.fit_preference(name, row.preference(), problem, fitter)
    if isinstance(rating, BayesianFactorization):
        return sampled(rating), preference_head
    if isinstance(rating, HybridRating):
        parts: list[Head] = [sampled(rating.mf), untrained_rating_head(rating.mlp, problem)]
        return HybridHead(parts), preference_head
    return model.fit_rating(name, rating, problem, fitter), preference_head


def id_of(number: int) -> str:
    """The id of a user or an item."""
    return f"id-{number}"


def serve(folder: str, size: CatalogueSize) -> None:
    """Loads a model, asks it, and prints a line of JSON for each thing that was measured."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import tensorflow as tf

    began = time.perf_counter()
    model = tf.saved_model.load(folder)
    loaded = time.perf_counter() - began
    rng = np.random.default_rng(1)

    def draw(count: int, batch: int) -> tf.Tensor:
        return tf.constant([id_of(n) for n in rng.integers(0, count, batch)])

    def recommend(batch: int) -> dict[str, tf.Tensor]:
        liked = tf.zeros([batch, 0], tf.string)
        return {"user_id": draw(size.users, batch), "k": tf.constant(K), "liked_item_ids": liked}

    def score(batch: int) -> dict[str, tf.Tensor]:
        return {"user_id": draw(size.users, batch), "item_id": draw(size.items, batch)}

    for signature, request in (("score", score), ("recommend", recommend)):
        for batch in BATCHES:
            found: dict[str, Any] = {"signature": signature, "batch": batch}
            try:
                found |= ask(model.signatures[signature], functools.partial(request, batch))
            except tf.errors.ResourceExhaustedError:
                found["not_run"] = f"needs more than {MEMORY >> 30} GiB"
            print(json.dumps(found), flush=True)
    # Whatever a request needed for a moment is in the peak.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"load_seconds": loaded, "peak_gib": peak / 2**30}), flush=True)


def ask(signature: Callable[..., Any], request: Callable[[], Any]) -> dict[str, float]:
    """Asks for five seconds: ms of a request (p50, p95, and the processors' mean), and the rate."""

    def once() -> tuple[float, float]:
        inputs = request()
        wall, processor = time.perf_counter(), time.process_time()
        for output in signature(**inputs).values():
            output.numpy()
        return time.perf_counter() - wall, time.process_time() - processor

    for _ in range(WARM_UP):
        once()
    took: list[tuple[float, float]] = []
    until = time.perf_counter() + SECONDS
    while len(took) < FEWEST or (len(took) < MOST and time.perf_counter() < until):
        took.append(once())
    wall, processor = np.array(took).T
    return {
        "requests": len(took),
        "p50_ms": 1000 * float(np.percentile(wall, 50)),
        "p95_ms": 1000 * float(np.percentile(wall, 95)),
        "processor_ms": 1000 * float(processor.mean()),
        "requests_per_second": 1 / float(wall.mean()),
    }


def measure(name: str, catalogue: str) -> dict[str, Any]:
    """Builds a model and serves it, each in a process of its own.

    Returns:
      `machine`; `load_seconds` and `peak_gib` of the serving process (absent where it died); and
      `measured`: of each signature and batch what `ask` returns, or `not_run`, the reason.
    """
    with tempfile.TemporaryDirectory() as folder:
        chosen = ["--catalogue", catalogue, "--model", name, "--folder", f"{folder}/model"]
        command = [sys.executable, "-m", "benchmarks.serving", *chosen]
        subprocess.run([*command, "--build"], check=True)
        load = f"{os.getloadavg()[0]:.1f}"
        with subprocess.Popen([*command, "--serve"], stdout=subprocess.PIPE, text=True) as process:
            try:
                out, _ = process.communicate(timeout=PATIENCE)
                died = f"the process ended with {process.returncode}"
            except subprocess.TimeoutExpired:
                process.kill()
                out, _ = process.communicate()
                died = f"not done after {PATIENCE} s"
    lines = [json.loads(line) for line in out.splitlines()]
    whole = lines.pop() if lines and "peak_gib" in lines[-1] else {}
    asked = {(line["signature"], line["batch"]) for line in lines}
    for signature in ("score", "recommend"):
        for batch in BATCHES:
            if (signature, batch) not in asked:
                lines.append({"signature": signature, "batch": batch, "not_run": died})
    machine = f"{os.cpu_count()} cores of {_processor()}, load {load} before"
    return {"machine": machine, **whole, "measured": lines}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def report(results: dict[str, dict[str, Any]]) -> str:
    """The tables, as Markdown.

    Args:
      results: catalogue -> model -> what `measure` returned.
    """
    parts = [_INTRODUCTION.format(memory=MEMORY >> 30)]
    for catalogue, size in CATALOGUES.items():
        found = results.get(catalogue, {})
        parts.append(
            f"\n## {size.items:,} items, {size.users:,} users"
            f" (of each at most {size.ratings_per_user} ratings)\n\n"
        )
        for signature, of, title in (
            ("recommend", "users", f"`recommend`, k = {K}"),
            ("score", "pairs", "`score`"),
        ):
            parts.append(f"{title}\n\n{_HEAD.format(of=of)}")
            for name in (x for x in MODELS if x in found):
                parts += [
                    _line(name, row)
                    for row in found[name]["measured"]
                    if row["signature"] == signature
                ]
            parts.append("\n")
        parts.append("| model | loads in s | peak GiB | machine |\n|---|---|---|---|\n")
        for name in (x for x in MODELS if x in found):
            whole = found[name]
            cells = (f"{whole[x]:.1f}" if x in whole else "–" for x in ("load_seconds", "peak_gib"))
            parts.append(f"| {name} | {' | '.join(cells)} | {whole['machine']} |\n")
    return "".join(parts)


_INTRODUCTION = """# Serving

Written by `make bench-serving`: what a request to a served model costs, in plain TensorFlow on
processors alone, one request at a time. How: the top of `benchmarks/serving.py`. Processor ms are
those of all threads, and the figure to trust where the machine had other work. A process may
allocate {memory} GiB. Peak GiB counts the model and what the largest request took.

Not measured: a model server (HTTP or gRPC, queues, batching of requests that come at one time).
TensorFlow Serving is to be had as a container image and from an apt repository of its own, and
neither could be fetched where this was measured; its `tensorflow-serving-api` on PyPI is a client.
"""
_HEAD = """| model | batch | p50 ms | p95 ms | processor ms | requests/s | {of}/s |
|---|---|---|---|---|---|---|
"""


def _line(name: str, row: dict[str, Any]) -> str:
    start = f"| {name} | {row['batch']} "
    if "not_run" in row:
        return f"{start}| not run: {row['not_run']} | | | | |\n"
    times = " | ".join(f"{row[x]:.4g}" for x in ("p50_ms", "p95_ms", "processor_ms"))
    rate = row["requests_per_second"]
    return f"{start}| {times} | {rate:.4g} | {rate * row['batch']:,.0f} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--catalogue", choices=CATALOGUES, action="append")
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--build", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        build(options.folder, options.model[0], CATALOGUES[options.catalogue[0]])
        return
    if options.serve:
        serve(options.folder, CATALOGUES[options.catalogue[0]])
        return
    path = HERE / "serving.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for catalogue in options.catalogue or CATALOGUES:
        for name in options.model or MODELS:
            print(f"{catalogue} {name}", file=sys.stderr, flush=True)
            results.setdefault(catalogue, {})[name] = measure(name, catalogue)
            path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            (HERE / "serving.md").write_text(report(results), encoding="utf-8")


if __name__ == "__main__":
    main()
