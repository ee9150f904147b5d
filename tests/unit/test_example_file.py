"""What is written are the examples that a row-by-row encoding would give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from tfx_recommender.components.ratings_example_gen import dataset, example_file
from tfx_recommender.components.ratings_example_gen.ratings_table import Entities, Ratings
from tfx_recommender.components.ratings_example_gen.splitting import NOWHERE, Assignment

AGES = [30.0, None, 41.0]
TAGS = [["x", "ü"], [], None, ["y"]]


def test_each_row_is_one_example_with_its_users_and_items_features(tmp_path: Path) -> None:
    users = Entities(pa.array(["a", "é", "c"]), {"age": pa.array(AGES, pa.float32())})
    items = Entities(pa.array(["p", "q", "r", "s"]), {"tags": pa.array(TAGS)})
    columns = {
        "user_id": np.array([0, 1, 2, 0, 1], np.int32),
        "item_id": np.array([3, 2, 1, 0, 0], np.int32),
        "rating": np.array([1, 4.5, 4.5, 1, 3], np.float32),
        "timestamp": np.array([7, 8, -9, 2**40, 1]),
    }
    rows = dataset.Dataset(
        Ratings(users, items, columns, np.array([True] * 4 + [False]), 10),
        Assignment(np.array([0, 0, 1, 0, NOWHERE], np.uint8), 0),
    )
    paths = {name: str(tmp_path / name) for name in ("train", "validation")}
    example_file.write(rows, paths)
    expected = {
        "train": [
            {"user_id": "a", "item_id": "s", "rating": 1.0, "timestamp": 7, "age": 30, "tags": "y"},
            {"user_id": "é", "item_id": "r", "rating": 4.5, "timestamp": 8},
            {"user_id": "a", "item_id": "p", "rating": 1.0, "timestamp": 2**40, "age": 30,
             "tags": ["x", "ü"]},
        ],
        "validation": [
            {"user_id": "c", "item_id": "q", "rating": 4.5, "timestamp": -9, "age": 41},
        ],
    }  # fmt: skip
    for name, path in paths.items():
        records = [record.numpy() for record in tf.data.TFRecordDataset(path)]
        plain = [plain_example(row) for row in expected[name]]
        assert [tf.train.Example.FromString(record) for record in records] == plain
        # The parsers of TensorFlow and of TFX do not go through Protocol Buffers' own.
        as_plain = [example.SerializeToString() for example in plain]
        assert decoded(records) == decoded(as_plain)
        assert parsed(records) == parsed(as_plain)


def plain_example(row: dict[str, str | int | float | list[str]]) -> tf.train.Example:
    example = tf.train.Example()
    for name in ("age", "tags"):
        example.features.feature[name].SetInParent()  # without a kind: as good as not there
    for name, value in row.items():
        feature = example.features.feature[name]
        if name == "timestamp":
            feature.int64_list.value.append(value)
        elif name in ("age", "rating"):
            feature.float_list.value.append(value)
        else:
            texts = [value] if isinstance(value, str) else value
            feature.bytes_list.value.extend(text.encode() for text in texts)
    return example


def decoded(records: list[bytes]) -> dict[str, list[object]]:
    return ExamplesToRecordBatchDecoder().DecodeBatch(records).to_pydict()


def parsed(records: list[bytes]) -> dict[str, object]:
    spec = {
        "user_id": tf.io.FixedLenFeature([], tf.string),
        "item_id": tf.io.FixedLenFeature([], tf.string),
        "rating": tf.io.FixedLenFeature([], tf.float32),
        "timestamp": tf.io.FixedLenFeature([], tf.int64),
        "age": tf.io.FixedLenFeature([], tf.float32, -1.0),
        "tags": tf.io.RaggedFeature(tf.string),
    }
    values = tf.io.parse_example(records, spec)
    return {
        name: value.to_list() if isinstance(value, tf.RaggedTensor) else value.numpy().tolist()
        for name, value in values.items()
    }
