"""Work is counted, not timed: seconds depend on the machine, and what is done on the code alone."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tfx.components  # noqa: F401 - must be imported before TFMA on older glibc

from tests.contract import problems
from tfx_recommender.components.evaluator import comparison
from tfx_recommender.components.ratings_example_gen import dataset, example_file, table_file
from tfx_recommender.components.ratings_example_gen.config import Data, Random
from tfx_recommender.trainer.architectures.mf.settings import (
    FactorizationTraining,
    MatrixFactorization,
)
from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
from tfx_recommender.trainer.fitting import fit, losses
from tfx_recommender.trainer.fitting.fit import Untrained
from tfx_recommender.transform import column_files
from tfx_recommender.transform.features import ENTITIES, SPLITS, TRAIN_ENTITIES

ROWS, USERS, ITEMS = 30_000, 600, 400


@pytest.mark.parametrize("epochs", [2, 5])
def test_a_loss_is_traced_once_for_training_and_once_for_validation(epochs: int) -> None:
    rows = problems.interactions()
    to_fit = problems.problem(rows)
    how = FactorizationTraining(loss="softmax", epochs=epochs, patience=epochs, batch_size=64)
    config = MatrixFactorization(training=how)
    loss = losses.ranking(
        ARCHITECTURES["mf"].model.fit_preference(config, to_fit, Untrained(0)), how
    )
    with mock.patch.object(loss, "call", wraps=loss.call) as python:
        assert len(fit.fit(loss, to_fit, how, seed=0)) == epochs
    assert python.call_count == 3  # the first makes the weights


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ingestion did with some ratings."""
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    pairs = rng.permutation(USERS * ITEMS)[:ROWS]
    rated = zip(pairs, rng.integers(1, 6, ROWS), strict=True)
    lines = (f"{p // ITEMS},{p % ITEMS},{r}" for p, r in rated)
    path = folder / "ratings.csv"
    path.write_text("\n".join(lines) + "\n")
    data = Data.model_validate(
        {
            "ratings": {
                "paths": [str(path)],
                "header": False,
                "columns": ["user_id", "item_id", "rating"],
                "rating_range": [1, 5],
            }
        }
    )
    with mock.patch.object(table_file, "blocks", wraps=table_file.blocks) as blocks:
        rows = dataset.read(data, Random(strategy="random"), 1.0)
    files = {
        name: str(folder / f"Split-{name}" / "data") for name in (*SPLITS, TRAIN_ENTITIES, ENTITIES)
    }
    encode = example_file._encode
    with mock.patch.object(example_file, "_encode", wraps=encode) as encoded:
        example_file.write(rows, files)
    return {
        "files read": blocks.call_count,
        "encoded": sum(len(next(iter(call.args[0].values()))) for call in encoded.call_args_list),
        "files": files,
    }


def test_a_file_is_read_once(written: dict[str, Any]) -> None:
    assert written["files read"] == 1


def test_what_is_encoded_is_users_items_and_distinct_ratings_not_rows(
    written: dict[str, Any],
) -> None:
    # Of entities their ratings, wherever one appears first, and their weights.
    entities = sum(
        examples_of(written, name) + 5 * len(SPLITS) for name in (TRAIN_ENTITIES, ENTITIES)
    )
    assert written["encoded"] <= USERS + ITEMS + 5 * len(SPLITS) + entities


def test_bytes_written_for_a_row_are_few(written: dict[str, Any]) -> None:
    files = [Path(written["files"][split]) for split in SPLITS]
    examples = sum(path.stat().st_size for path in files)
    columns = sum(Path(column_files.split_path(str(path))).stat().st_size for path in files)
    assert examples / ROWS < 90  # ids, a float and their names
    assert columns / ROWS < 12.5  # two places and a float of four bytes each


def test_what_statistics_and_vocabularies_are_made_of_is_a_row_for_each_user_and_item_at_most(
    written: dict[str, Any],
) -> None:
    for name in (TRAIN_ENTITIES, ENTITIES):
        assert USERS <= examples_of(written, name) <= USERS + ITEMS


def examples_of(written: dict[str, Any], name: str) -> int:
    return len(list(tf.data.TFRecordDataset(written["files"][name])))


def test_tfma_gets_a_row_for_what_slices_tell_apart_not_for_each_rating() -> None:
    rng = np.random.default_rng(0)
    values = [[b"F"], [b"M"], None, [b"F", b"M"]]
    slices = [
        pa.array([values[n] for n in rng.integers(0, 4, ROWS)], pa.list_(pa.binary())),
        pa.array([[b"%d" % n] for n in rng.integers(1, 11, ROWS)], pa.list_(pa.binary())),
    ]
    groups = comparison._Groups(slices)
    assert len(groups) == 40
    numbers = np.arange(ROWS)
    lists = groups.lists(numbers).to_pylist()
    assert sorted(itertools.chain.from_iterable(lists)) == numbers.tolist()
    for first, rows in zip(groups.first, lists, strict=True):
        for values in slices:
            assert set(map(str, values.take(rows).to_pylist())) == {str(values[first].as_py())}
