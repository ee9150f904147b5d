"""Scores the test split with candidate and baseline; TFMA computes metrics and checks gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from tfx_recommender.components.evaluator import ranking, sentences, verdict
from tfx_recommender.components.evaluator.deciles import deciles
from tfx_recommender.components.evaluator.predictions import (
    ANCHOR,
    ANCHOR_RANK,
    ANCHOR_RATING,
    BASELINE,
    CANDIDATE,
    CATALOGUE_SIZE,
    DECILE,
    NOT_SAMPLED,
    RANK,
    RATING,
    RECOMMENDED,
    SAMPLED_RANK,
    USER,
    prediction_column,
)
from tfx_recommender.foundation import stopwatch
from tfx_recommender.foundation.errors import UserError
from tfx_recommender.trainer import input_data
from tfx_recommender.trainer.fitting.head import Tensor
from tfx_recommender.transform.features import (
    ITEM_POPULARITY_DECILE,
    SPLITS,
    TEST,
    USER_ACTIVITY_DECILE,
)

_BATCH = 4096
# Seed of the negatives and of the sample of users. It does not depend on a model's seed, so models
# of different seeds can be compared.
_SEED = 0


class Signature(Protocol):
    """One signature of a SavedModel; TensorFlow has no public type of it."""

    structured_outputs: Mapping[str, object]

    def __call__(self, **inputs: Tensor) -> Mapping[str, Tensor]: ...


class SavedModel(Protocol):
    """What `tf.saved_model.load` returns, as far as it is used here."""

    signatures: Mapping[str, Signature]


def evaluate(
    splits: Mapping[str, str],
    candidate: str,
    baseline: str,
    anchor: str | None,
    eval_config: str,
    relevance_threshold: float,
    k: int,
    ranked_users: int,
    comparison: int,
    against: str,
    pipeline: beam.Pipeline,
    output_path: str,
) -> bool:
    """Compares two models; see `component.Evaluator`.

    Args:
      splits: split -> file pattern of its tf.Examples.
      candidate: the candidate's SavedModel.
      baseline: the baseline's SavedModel.
      anchor: that of the last model that was proved better; None: it is the baseline.
      eval_config: TFMA's EvalConfig as JSON.
      relevance_threshold: smallest label of a row whose item is ranked.
      k: length of the lists of recommended items.
      ranked_users: maximum number of users whose items are ranked, drawn at random; 0: all.
      comparison: its number since the served model was pushed, from 1.
      against: what to call the baseline in sentences.
      pipeline: the Beam pipeline to run TFMA in.
      output_path: the folder for TFMA's results and the verdict.

    Returns:
      Whether every gate is passed.

    Raises:
      UserError: the EvalConfig compares ratings, but a model predicts none.
    """
    config = json_format.Parse(eval_config, config_pb2.EvalConfig())
    sentences.number_comparison(config, comparison)
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
    is_ranked = is_relevant & _is_sampled(users[of_test], is_relevant, ranked_users)
    slices: dict[str, pa.Array] = {}
    for column, codes in ((USER_ACTIVITY_DECILE, users), (ITEM_POPULARITY_DECILE, items)):
        train_counts = np.bincount(codes[of_train], minlength=codes.max() + 1)[codes[of_test]]
        slices[column] = _lists(deciles(train_counts).astype(bytes), np.ones(len(label), int))
    features = {key for spec in config.slicing_specs for key in spec.feature_keys}
    # TFMA reports a feature that no row has as a missing slice.
    given = sorted(features & set(test_rows.schema.names))
    slices |= {name: test_rows.column(name) for name in given}
    groups = _Groups(list(slices.values()))
    columns = {name: column.take(groups.first) for name, column in slices.items()}
    columns[label_key] = groups.lists(label)
    columns[USER] = groups.lists(users[of_test])
    columns[CATALOGUE_SIZE] = _lists(np.full(len(groups), len(item_ids)), np.ones(len(groups), int))
    is_anchored = ANCHOR_RANK in wanted
    models = {CANDIDATE: candidate, BASELINE: baseline}
    if is_anchored and anchor is not None:
        models[ANCHOR] = anchor
    for name, path in models.items():
        served = tf.saved_model.load(path)
        with stopwatch.timed("ranked in the whole catalogue"):
            rankings = ranking.rank(
                _scorer(served, user_ids, item_ids),
                len(user_ids),
                len(item_ids),
                held_out=(users[of_test], items[of_test]),
                relevant=is_ranked,
                history=(users[of_train], items[of_train]),
                known=(users, items),
                k=k,
                seed=_SEED,
            )
        rankings.rank[is_relevant & ~is_ranked] = NOT_SAMPLED
        outputs = {
            RANK: groups.lists(rankings.rank),
            SAMPLED_RANK: groups.lists(rankings.sampled_rank),
            RECOMMENDED: groups.recommended(rankings, users[of_test], is_ranked),
        }
        if RATING in wanted:
            rating = _ratings(served, serialized, name)
            outputs |= {RATING: groups.lists(rating), DECILE: groups.lists(deciles(rating))}
        for output, values in outputs.items():
            columns[prediction_column(name, output)] = values
    if is_anchored and anchor is None:
        for output, shared in ((RATING, ANCHOR_RATING), (RANK, ANCHOR_RANK)):
            if output in wanted:
                columns[shared] = columns[prediction_column(BASELINE, output)]
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
    return verdict.write(output_path, config, against)


def _ratings(served: SavedModel, serialized: list[bytes], name: str) -> np.ndarray:
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


def _scorer(served: SavedModel, user_ids: np.ndarray, item_ids: np.ndarray) -> ranking.Scorer:
    preference = served.signatures["preference"]
    catalogue = tf.constant(item_ids, tf.string)

    def score(users: np.ndarray) -> np.ndarray:
        ids = tf.constant(user_ids[users], tf.string)
        return preference(user_id=ids, item_id=catalogue)["preference"].numpy()

    return score


def _is_sampled(users: np.ndarray, is_relevant: np.ndarray, at_most: int) -> np.ndarray:
    """Whether a row is of one of `at_most` users with a relevant row, drawn at random: bool [R]."""
    found = np.unique(users[is_relevant])
    if 0 < at_most < len(found):
        found = np.random.default_rng(_SEED).choice(found, at_most, replace=False)
    return np.isin(users, found)


def _names(ids: pa.DictionaryArray) -> np.ndarray:
    return np.array(ids.dictionary.to_pylist(), object)


class _Groups:
    """Test rows that are in the same slices, as one wide row: TFMA takes its time per row.

    Attributes:
      first: a test row of each group, int [groups].
    """

    def __init__(self, slices: list[pa.Array]) -> None:
        """Groups rows by the values of the features of slices, lists of bytes [R] each."""
        plain = (values.cast(pa.list_(pa.binary())) for values in slices)
        texts = (pc.fill_null(pc.binary_join(values, b"\0"), b"") for values in plain)
        codes = np.stack([text.dictionary_encode().indices.to_numpy() for text in texts], axis=1)
        _, self.first, group = np.unique(codes, axis=0, return_index=True, return_inverse=True)
        self._group = group.ravel()
        self._order = np.argsort(self._group, kind="stable")
        self._sizes = np.bincount(self._group)

    def __len__(self) -> int:
        return len(self.first)

    def lists(self, values: np.ndarray) -> pa.Array:
        """Values of test rows [R] as a list for each group."""
        return _lists(values[self._order], self._sizes)

    def recommended(
        self, rankings: ranking.Rankings, users: np.ndarray, is_ranked: np.ndarray
    ) -> pa.Array:
        """Each user's list, in the group of the user's first ranked row."""
        ranked = np.flatnonzero(is_ranked)
        group = self._group[ranked[np.unique(users[ranked], return_index=True)[1]]]
        length = rankings.recommended.shape[1]
        lists = rankings.recommended[np.argsort(group, kind="stable")]
        return _lists(lists.ravel(), length * np.bincount(group, minlength=len(self)))


def _lists(values: np.ndarray, lengths: np.ndarray) -> pa.Array:
    offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values))


def _materialized(name: str) -> tfma.types.EvalSharedModel:
    return tfma.types.EvalSharedModel(
        model_name=name,
        model_type=tfma.constants.MATERIALIZED_PREDICTION,
        is_baseline=name == BASELINE,
    )
