"""What is written are the examples that a row-by-row encoding would give."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from tfx_recommender.components.ratings_example_gen import dataset, example_file
from tfx_recommender.components.ratings_example_gen.ratings_table import EntityColumns, RatingsTable
from tfx_recommender.components.ratings_example_gen.splitting import NOWHERE, Assignment
from tfx_recommender.foundation.errors import UserError
from tfx_recommender.transform import column_files
from tfx_recommender.transform.features import ENTITIES, SPLITS, TRAIN, TRAIN_ENTITIES

# An id, a number or names, by column.
Row = dict[str, Any]

AGES = [30.0, None, 41.0]
TAGS = [["x", "ü"], [], None, ["y"]]


def test_each_row_is_one_example_with_its_users_and_items_features(tmp_path: Path) -> None:
    users = EntityColumns(pa.array(["a", "é", "c"]), {"age": pa.array(AGES, pa.float32())})
    items = EntityColumns(pa.array(["p", "q", "r", "s"]), {"tags": pa.array(TAGS)})
    columns = {
        "user_id": np.array([0, 1, 2, 0, 1], np.int32),
        "item_id": np.array([3, 2, 1, 0, 0], np.int32),
        "rating": np.array([1, 4.5, 4.5, 1, 3], np.float32),
        "timestamp": np.array([7, 8, -9, 2**40, 1]),
    }
    rows = dataset.Dataset(
        RatingsTable(users, items, columns, np.array([True] * 4 + [False]), 10),
        Assignment(np.array([0, 0, 1, 0, NOWHERE], np.uint8), 0),
    )
    paths = {
        name: str(tmp_path / f"Split-{name}" / "data")
        for name in (*SPLITS, TRAIN_ENTITIES, ENTITIES)
    }
    example_file.write(rows, paths)
    expected: dict[str, list[Row]] = {
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
    for name, wanted_rows in expected.items():
        path = paths[name]
        records = [record.numpy() for record in tf.data.TFRecordDataset(path)]
        plain = [plain_example(row) for row in wanted_rows]
        assert [tf.train.Example.FromString(record) for record in records] == plain
        # The parsers of TensorFlow and of TFX do not go through Protocol Buffers' own.
        as_plain = [example.SerializeToString() for example in plain]
        assert decoded(records) == decoded(as_plain)
        assert parsed(records) == parsed(as_plain)
        read = column_files.read(str(Path(path).parent / "*"))
        columns_of = parsed(records)
        assert {name: column.to_pylist() for name, column in read.items()} == {
            name: columns_of[name] for name in ("user_id", "item_id", "rating", "timestamp")
        }
    # Every row brings somebody or something new.
    weights = [(2, 1), (1, 1), (0, 1), (0, 0)]
    entities = [
        plain_example({**row, "user_weight": user, "item_weight": item})
        for row, (user, item) in zip(
            [*expected["train"], *expected["validation"]], weights, strict=True
        )
    ]
    for name, examples in ((TRAIN_ENTITIES, entities[:3]), (ENTITIES, entities)):
        found = tf.data.TFRecordDataset(paths[name]).as_numpy_iterator()
        assert [tf.train.Example.FromString(record) for record in found] == examples


def test_a_flipped_bit_in_a_column_file_is_noticed(tmp_path: Path) -> None:
    files = str(tmp_path / "Split-train" / "data")
    places = np.arange(3, dtype=np.int32)
    columns = {"user_id": places, "item_id": places, "rating": np.array([1, 2, 3], np.float32)}
    dtypes = {name: column.dtype for name, column in columns.items()}
    column_files.write(files, dtypes, [columns])
    for name in ("user_id", "item_id"):
        column_files.write_ids(files, name, pa.array(["a", "é", "c"]))
    assert column_files.read(files)["rating"].to_pylist() == [1, 2, 3]
    written = sorted((tmp_path / "columns").iterdir())
    assert len(written) == 6
    for path in written:
        content = path.read_bytes()
        for place in (0, len(content) // 2, len(content) - 1):
            flipped = bytearray(content)
            flipped[place] ^= 4
            path.write_bytes(flipped)
            with pytest.raises(UserError, match=r"arrow: is damaged.* remove the folder"):
                column_files.read(files)
        path.write_bytes(content[:-1])
        with pytest.raises(UserError, match=r"arrow: is damaged.* remove the folder"):
            column_files.read(files)
        path.write_bytes(content)
    assert column_files.read(files)["user_id"].to_pylist() == [b"a", "é".encode(), b"c"]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_columns_say_what_the_examples_say(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 40))
    codes = [
        np.array(data.draw(st.lists(st.integers(0, 5), min_size=count, max_size=count)), np.int32)
        for _ in range(2)
    ]
    split = data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    ids = pa.array(list("abcdef"))
    columns = {
        "user_id": codes[0],
        "item_id": codes[1],
        "strength": np.arange(count, dtype=np.float32),
    }
    rows = dataset.Dataset(
        RatingsTable(
            EntityColumns(ids, {}), EntityColumns(ids, {}), columns, np.ones(count, bool), 10
        ),
        Assignment(np.array(split, np.uint8), 0),
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(dataset, "_BLOCK_ROWS", data.draw(st.integers(1, 9))),
    ):
        paths = {
            name: f"{folder}/Split-{name}/data" for name in (*SPLITS, TRAIN_ENTITIES, ENTITIES)
        }
        example_file.write(rows, paths)
        seen: set[tuple[str, bytes]] = set()
        entities = []
        for path in (paths[split] for split in SPLITS):
            records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
            examples = [tf.train.Example.FromString(record).features.feature for record in records]
            found = column_files.read(path)
            for name in ("user_id", "item_id"):
                expected = [example[name].bytes_list.value[0] for example in examples]
                assert found[name].to_pylist() == expected
                # Each distinct id once, in order of appearance.
                assert found[name].dictionary.to_pylist() == list(dict.fromkeys(expected))
            strengths = [example["strength"].float_list.value[0] for example in examples]
            assert found["strength"].to_pylist() == strengths
            for example in examples:
                named = {(n, example[n].bytes_list.value[0]) for n in ("user_id", "item_id")}
                entities += [(example, named - seen)] if named - seen else []
                seen |= named
            if path == paths[TRAIN]:
                times = Counter(
                    (n, example[n].bytes_list.value[0])
                    for n in ("user_id", "item_id")
                    for example in examples
                )
                of_train = len(entities)
        written = tf.data.TFRecordDataset(paths[ENTITIES]).as_numpy_iterator()
        for record, (example, new) in zip(written, entities, strict=True):
            found = tf.train.Example.FromString(record).features.feature
            for name, weight in (("user_id", "user_weight"), ("item_id", "item_weight")):
                key = (name, example[name].bytes_list.value[0])
                count = times[key] if key in new else 0
                assert found.pop(weight).int64_list.value == [count]
            assert dict(found) == dict(example)
        first = [
            [tf.train.Example.FromString(record) for record in dataset.as_numpy_iterator()]
            for dataset in (
                tf.data.TFRecordDataset(paths[TRAIN_ENTITIES]),
                tf.data.TFRecordDataset(paths[ENTITIES]).take(of_train),
            )
        ]
        assert first[0] == first[1]


def plain_example(row: Row) -> tf.train.Example:
    example = tf.train.Example()
    for name in ("age", "tags"):
        example.features.feature[name].SetInParent()  # without a kind: as good as not there
    for name, value in row.items():
        feature = example.features.feature[name]
        if name in ("timestamp", "user_weight", "item_weight"):
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
