"""What Transform makes of numbers: z-scores that are finite, whatever is asked."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from tfx_recommender.components.ratings_example_gen import schema
from tfx_recommender.transform.features import Columns, Feature
from tfx_recommender.transform.preprocessing import Z_SCORE_LIMIT, preprocessing_fn

COLUMNS = Columns(1.0, 5.0, False, (Feature("age", "numeric", "user"),))
CONFIG = {
    "columns": COLUMNS.to_dict(),
    "vocabulary": {"min_count": 1, "max_size": None, "oov_buckets": 1},
}
# Age -> its z-score where users of 20 and 40 years were trained on.
EXPECTED = {
    20.0: -1.0,
    35.0: 0.5,
    None: 0.0,
    math.nan: 0.0,
    3e38: Z_SCORE_LIMIT,
    math.inf: Z_SCORE_LIMIT,
    -math.inf: -Z_SCORE_LIMIT,
}


def row(user: int, age: float | None) -> dict[str, Any]:
    return {
        "user_id": [b"u%d" % user],
        "item_id": [b"i"],
        "rating": [3.0],
        "user_weight": [1],
        "item_weight": [int(user == 0)],
        "age": [] if age is None else [age],
    }


def test_m11_whatever_age_is_asked_for_its_z_score_is_finite(tmp_path: Path) -> None:
    trained = [row(n, age) for n, age in enumerate([20.0, 40.0, None])]
    asked = [row(n, age) for n, age in enumerate(EXPECTED)]
    spec = schema_utils.schema_as_feature_spec(schema.schema_of(COLUMNS)).feature_spec
    metadata = dataset_metadata.DatasetMetadata.from_feature_spec(spec)
    with tft_beam.Context(temp_dir=str(tmp_path)):
        analysis = tft_beam.AnalyzeDataset(lambda inputs: preprocessing_fn(inputs, CONFIG))
        found, _ = ((asked, metadata), (trained, metadata) | analysis) | (
            tft_beam.TransformDataset()
        )
    assert [one["age"] for one in found] == pytest.approx(list(EXPECTED.values()))
