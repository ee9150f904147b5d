"""Scores the test split with candidate and baseline, and lets TFMA compute, slice and judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from tfx_recommender.components.errors import UserError
from tfx_recommender.components.evaluator import ranking, verdict
from tfx_recommender.components.evaluator.deciles import deciles
from tfx_recommender.components.evaluator.predictions import (
    BASELINE,
    CANDIDATE,
    CATALOGUE_SIZE,
    DECILE,
    RANK,
    RATING,
    RECOMMENDED,
    SAMPLED_RANK,
    prediction_column,
)
from tfx_recommender.trainer import input_data
from tfx_recommender.transform.features import (
    ITEM_POPULARITY_DECILE,
    SPLITS,
    TEST,
    USER_ACTIVITY_DECILE,
)

_BATCH = 4096
# Negatives are the same whatever seed a model was trained with: models of several seeds compare.
_NEGATIVES_SEED = 0


def evaluate(
    splits: Mapping[str, str],
    candidate: str,
    baseline: str,
    eval_config: str,
    relevance_threshold: float,
    k: int,
    pipeline: beam.Pipeline,
    output_path: str,
) -> bool:
    """Compares two models; see `component.Evaluator`.

    Args:
      splits: split -> file pattern of its tf.Examples.
      candidate: the candidate's SavedModel.
      baseline: the baseline's SavedModel.
      eval_config: TFMA's EvalConfig as JSON.
      relevance_threshold: smallest label of a held-out item that is ranked.
      k: length of the lists of recommended items.
      pipeline: the Beam pipeline to run TFMA in.
      output_path: the folder for TFMA's results and the verdict.

    Returns:
      Whether every gate is passed.

    Raises:
      UserError: ratings are to be compared, and a model predicts none.
    """
    config = json_format.Parse(eval_config, config_pb2.EvalConfig())
    label_key = config.model_specs[0].label_key
    wanted = config.model_specs[0].prediction_keys
    batches = input_data.serialized_examples(splits[TEST]).batch(_BATCH).as_numpy_iterator()
    serialized = [example for batch in batches for example in batch]
    test_rows = ExamplesToRecordBatchDecoder().DecodeBatch(serialized)
    train, validation, test = (input_data.read(splits[name]) for name in SPLITS)
    known = input_data.concatenate(train, test, validation)
    user_ids, item_ids = map(_names, (known.user_id, known.item_id))
    users, items = known.user_id.indices.to_numpy(), known.item_id.indices.to_numpy()
    of_train, of_test = slice(len(train)), slice(len(train), len(train) + len(test))
    label = test_rows.column(label_key).flatten().to_numpy()
    is_relevant = label >= relevance_threshold
    columns = dict(zip(test_rows.schema.names, test_rows.columns, strict=True))
    columns[CATALOGUE_SIZE] = _as_lists(np.full(len(label), len(item_ids)))
    for column, codes in ((USER_ACTIVITY_DECILE, users), (ITEM_POPULARITY_DECILE, items)):
        train_counts = np.bincount(codes[of_train], minlength=codes.max() + 1)[codes[of_test]]
        columns[column] = _as_lists(deciles(train_counts).astype(bytes))
    for name, path in ((CANDIDATE, candidate), (BASELINE, baseline)):
        served = tf.saved_model.load(path)
        rankings = ranking.rank(
            _scorer(served),
            user_ids,
            item_ids,
            held_out=(users[of_test], items[of_test]),
            relevant=is_relevant,
            history=(users[of_train], items[of_train]),
            known=(users, items),
            k=k,
            seed=_NEGATIVES_SEED,
        )
        outputs = {
            RANK: _as_lists(rankings.rank),
            SAMPLED_RANK: _as_lists(rankings.sampled_rank),
            RECOMMENDED: _on_first_rows(rankings, users[of_test], is_relevant),
        }
        if RATING in wanted:
            rating = _ratings(served, serialized, name)
            outputs |= {RATING: _as_lists(rating), DECILE: _as_lists(deciles(rating))}
        for output, values in outputs.items():
            columns[prediction_column(name, output)] = values
    rows = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
    with pipeline:
        _ = (
            pipeline
            | "Rows" >> beam.Create([rows.slice(i, _BATCH) for i in range(0, len(rows), _BATCH)])
            | "Evaluate"
            >> tfma.ExtractEvaluateAndWriteResults(
                eval_config=config,
                eval_shared_model=[_materialized(CANDIDATE), _materialized(BASELINE)],
                output_path=output_path,
            )
        )
    return verdict.write(output_path)


def _ratings(served: Any, serialized: list[bytes], name: str) -> np.ndarray:
    predict = served.signatures["serving_default"]
    if "rating" not in predict.structured_outputs:
        raise UserError(
            f"the {name} predicts no ratings, so the two models cannot be compared; run once with"
            " --rebase-baseline to compare with biases and popularity instead"
        )
    return np.concatenate(
        [
            predict(examples=tf.constant(serialized[i : i + _BATCH]))["rating"].numpy()
            for i in range(0, len(serialized), _BATCH)
        ]
    )


def _scorer(served: Any) -> ranking.Scorer:
    preference = served.signatures["preference"]

    def score(user_ids: np.ndarray, item_ids: np.ndarray) -> np.ndarray:
        users, items = tf.constant(user_ids, tf.string), tf.constant(item_ids, tf.string)
        return preference(user_id=users, item_id=items)["preference"].numpy()

    return score


def _names(ids: pa.DictionaryArray) -> np.ndarray:
    return np.array(ids.dictionary.to_pylist(), object)


def _as_lists(values: np.ndarray) -> pa.Array:
    """One value a row, as TFMA takes it."""
    return _lists(values, np.ones(len(values), int))


def _on_first_rows(
    rankings: ranking.Rankings, users: np.ndarray, is_relevant: np.ndarray
) -> pa.Array:
    """Each user's list on the user's first ranked row; the other rows have none."""
    ranked = np.flatnonzero(is_relevant)
    first = ranked[np.unique(users[ranked], return_index=True)[1]]
    lengths = np.zeros(len(users), int)
    lengths[first] = rankings.recommended.shape[1]
    return _lists(rankings.recommended[np.argsort(first)].ravel(), lengths)


def _lists(values: np.ndarray, lengths: np.ndarray) -> pa.Array:
    offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values))


def _materialized(name: str) -> Any:
    return tfma.types.EvalSharedModel(
        model_name=name,
        model_type=tfma.constants.MATERIALIZED_PREDICTION,
        is_baseline=name == BASELINE,
    )
