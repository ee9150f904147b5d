"""What is made fast gives what a straightforward implementation gives, on 100,000 ratings."""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.conftest import SMALL_CONFIG, user_id, write_config, write_metadata
from tfx_recommender.components.evaluator import verdict
from tfx_recommender.pipeline.local import summary
from tfx_recommender.pipeline.local.part import Part
from tfx_recommender.pipeline.local.store import Store
from tfx_recommender.transform import column_files

pytestmark = pytest.mark.slow

USERS, ITEMS, RATINGS, MIN_COUNT, K = 2000, 1500, 100_000, 25, 10
Row = dict[str, Any]


class SlowPath:
    """Row by row, in plain Python."""

    def __init__(self, folder: Path) -> None:
        self.users = _by(folder / "users.csv", "user_id")
        self.items = _by(folder / "items.csv", "item_id")
        latest: dict[tuple[str, str], Row] = {}
        for row in _read(folder / "ratings.csv"):
            pair = row["user_id"], row["item_id"]
            if pair not in latest or int(row["timestamp"]) >= int(latest[pair]["timestamp"]):
                latest[pair] = row
        of_user = defaultdict(list)
        for row in latest.values():
            of_user[row["user_id"]].append(row)
        self.splits: dict[str, list[Row]] = {"train": [], "validation": [], "test": []}
        for rows in of_user.values():
            rows.sort(key=lambda r: (int(r["timestamp"]), len(r["item_id"]), r["item_id"]))
            held_out = 1 if len(rows) > 2 else 0
            self.splits["test"] += rows[len(rows) - held_out :]
            self.splits["validation"] += rows[len(rows) - 2 * held_out : len(rows) - held_out]
            self.splits["train"] += rows[: len(rows) - 2 * held_out]


def _read(path: Path) -> list[Row]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _by(path: Path, key: str) -> dict[str, Row]:
    return {row[key]: row for row in _read(path)}


def _write_data(folder: Path) -> None:
    rng = np.random.default_rng(0)
    weight = np.outer(rng.dirichlet(np.full(USERS, 2)), rng.dirichlet(np.full(ITEMS, 0.3))).ravel()
    pairs = rng.choice(USERS * ITEMS, RATINGS - 1000, replace=False, p=weight / weight.sum())
    pairs = rng.permutation(np.append(pairs, pairs[:1000]))  # a thousand changed their minds
    ratings, times = rng.integers(1, 6, RATINGS), rng.integers(0, 20_000, RATINGS)
    with open(folder / "ratings.csv", "w", encoding="utf-8") as file:
        file.write("user_id,item_id,rating,timestamp\n")
        for pair, rating, time in zip(pairs, ratings, times, strict=True):
            file.write(f"{user_id(pair // ITEMS)},ï{pair % ITEMS},{rating},{time}\n")
    write_metadata(folder, rng, USERS, ITEMS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slow_path")
    _write_data(folder)
    write_config(
        folder,
        split={"strategy": "leave_last_out"},
        vocabulary={"min_count": MIN_COUNT},
        evaluation={**SMALL_CONFIG["evaluation"], "k": K},
    )
    return folder


@pytest.fixture(scope="module")
def slow(folder: Path) -> SlowPath:
    return SlowPath(folder)


@pytest.fixture(scope="module")
def outputs(folder: Path) -> dict[str, str]:
    """Folders of what the real nodes made: examples, transform_graph, baseline."""
    from tfx_recommender.pipeline import dag
    from tfx_recommender.pipeline.local import runner
    from tfx_recommender.pipeline.local.screen import Progress
    from tfx_recommender.pipeline.settings import config_file

    settings = config_file.load(str(folder / "config.yaml"))
    store = Store(str(folder / "metadata.sqlite"))
    run = summary.Run()
    pipeline = dag.create_pipeline(settings)
    for last in ("Transform", "ServedBaseline"):  # neither depends on the other
        runner.run(pipeline, store, Progress(Console(quiet=True)), run, Part(until=last))

    def uri(node: str, key: str) -> str:
        return store.outputs(run.executions[node])[key].uri

    return {
        "examples": uri("RatingsExampleGen", "examples"),
        "transform_graph": uri("Transform", "transform_graph"),
        "baseline": uri("ServedBaseline", "model") + "/Format-Serving",
        "eval_config": _eval_config(settings),
    }


def _eval_config(settings: Any) -> str:
    from tfx_recommender.pipeline import quality_gate

    return quality_gate.eval_config(settings)


def test_splits(slow: SlowPath, outputs: dict[str, str]) -> None:
    for name, rows in slow.splits.items():
        columns = column_files.read(f"{outputs['examples']}/Split-{name}/*")
        found = zip(*(columns[c].to_pylist() for c in columns), strict=True)
        expected = [
            tuple(
                row[c].encode() if c in ("user_id", "item_id") else float(row[c]) for c in columns
            )
            for row in rows
        ]
        assert sorted(found) == sorted(expected)


def test_vocabularies_and_z_scores(slow: SlowPath, outputs: dict[str, str]) -> None:
    """Of every row of the train split; they were made of each user and item once."""
    import tensorflow as tf
    import tensorflow_transform as tft

    transform = tft.TFTransformOutput(outputs["transform_graph"])
    train = slow.splits["train"]
    counts = {name: Counter(row[name] for row in train) for name in ("user_id", "item_id")}
    counts["gender"] = Counter(slow.users[row["user_id"]]["gender"] for row in train)
    counts["genres"] = Counter(
        genre for row in train for genre in slow.items[row["item_id"]]["genres"].split("|") if genre
    )
    for name, count in counts.items():
        least = MIN_COUNT if name.endswith("_id") else 1
        # Of equal counts the last in the order of bytes comes first, as tft sorts.
        expected = sorted(
            ((n, value.encode()) for value, n in count.items() if n >= least), reverse=True
        )
        assert transform.vocabulary_by_name(name) == [value for _, value in expected]
        assert len(expected) < len(count) or least == 1

    ages = np.array([float(age) for r in train if (age := slow.users[r["user_id"]]["age"])])
    files = f"{outputs['examples']}/Split-train_entities/data_tfrecord-00000-of-00001"
    (examples,) = tf.data.TFRecordDataset(files).batch(USERS + ITEMS)
    raw = tf.io.parse_example(examples, transform.raw_feature_spec())
    encoded = transform.transform_raw_features(raw)
    users = [slow.users[user.decode()] for user in raw["user_id"].numpy()[:, 0]]
    scaled = [(float(u["age"]) - ages.mean()) / ages.std() if u["age"] else 0.0 for u in users]
    assert len(users) > USERS
    np.testing.assert_allclose(encoded["age"].numpy(), scaled, rtol=1e-5, atol=1e-6)


def test_ratings_of_each_row_of_an_embedding(
    slow: SlowPath, outputs: dict[str, str], folder: Path
) -> None:
    import tensorflow_transform as tft

    from tfx_recommender.pipeline.settings import config_file
    from tfx_recommender.trainer import input_data

    settings = config_file.load(str(folder / "config.yaml"))
    transform = tft.TFTransformOutput(outputs["transform_graph"])
    catalogue = input_data.catalogue_of(
        f"{outputs['examples']}/Split-train_entities/*",
        settings.data.columns(),
        transform,
        settings.vocabulary.oov_buckets,
    )
    train = slow.splits["train"]
    for name, shape in (("user_id", catalogue.user_shape), ("item_id", catalogue.item_shape)):
        count = Counter(row[name].encode() for row in train)
        assert shape.ratings is not None
        known = dict(zip(transform.vocabulary_by_name(name), shape.ratings.tolist(), strict=False))
        assert known == {value: n for value, n in count.items() if n >= MIN_COUNT}
        assert shape.ratings.sum() == len(train)  # the rest is looked up in OOV buckets


def evaluation(outputs: dict[str, str], ranked_users: int, folder: Path) -> Any:
    """The baseline compared with itself."""
    import apache_beam as beam

    from tfx_recommender.components.evaluator import comparison
    from tfx_recommender.pipeline.dag import BEAM_ARGUMENTS

    splits = {
        name: f"{outputs['examples']}/Split-{name}/*" for name in ("train", "validation", "test")
    }
    pipeline = beam.Pipeline(argv=BEAM_ARGUMENTS)
    model, target = outputs["baseline"], str(folder / f"evaluation-{ranked_users}")
    config = outputs["eval_config"]
    comparison.evaluate(
        splits, model, model, None, config, 1.0, K, ranked_users, 1, "served", pipeline, target
    )
    return verdict.sliced_metrics_of(target, "candidate")


def test_metrics(slow: SlowPath, outputs: dict[str, str], folder: Path) -> None:
    """Of all rows and by gender; ranks by scoring the whole catalogue for one user at a time."""
    import tensorflow as tf

    found = evaluation(outputs, 0, folder)
    signatures = tf.saved_model.load(outputs["baseline"]).signatures
    test = slow.splits["test"]
    catalogue = sorted({row["item_id"] for rows in slow.splits.values() for row in rows})
    seen = defaultdict(set)
    for row in slow.splits["train"]:
        seen[row["user_id"]].add(row["item_id"])
    predicted = signatures["score"](
        user_id=tf.constant([row["user_id"] for row in test]),
        item_id=tf.constant([row["item_id"] for row in test]),
    )["rating"].numpy()
    for key in ((), (("gender", "F"),), (("gender", "M"),)):
        errors, hits = [], []
        for row, rating in zip(test, predicted, strict=True):
            if key and slow.users[row["user_id"]]["gender"] != key[0][1]:
                continue
            errors.append(float(rating) - float(row["rating"]))
            scores = signatures["preference"](
                user_id=tf.constant([row["user_id"]]), item_id=tf.constant(catalogue)
            )["preference"].numpy()[0]
            by_item = dict(zip(catalogue, scores, strict=True))
            own = by_item[row["item_id"]]
            hidden = {row["item_id"], *seen[row["user_id"]]}
            better = sum(s >= own for i, s in by_item.items() if i not in hidden)
            hits.append(better < K)
        assert found[key]["rmse"] == pytest.approx(math.sqrt(np.mean(np.square(errors))), rel=1e-6)
        assert found[key]["mae"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-6)
        assert found[key][f"hit_rate_at_{K}"] == pytest.approx(np.mean(hits), rel=1e-9)
    assert found[()][f"hit_rate_at_{K}"] > 0


def test_a_sample_of_users_estimates_the_same(outputs: dict[str, str], folder: Path) -> None:
    exact, sampled = (evaluation(outputs, users, folder)[()] for users in (0, 500))
    name = f"hit_rate_at_{K}"
    error = sampled[f"{name}_standard_error"]
    # With a quarter of the users the error is about twice as large.
    assert error == pytest.approx(2 * exact[f"{name}_standard_error"], rel=0.3)
    assert sampled[name] != exact[name]
    assert abs(sampled[name] - exact[name]) < 4 * error
    assert sampled["rmse"] == exact["rmse"], "ratings are judged on all rows"
