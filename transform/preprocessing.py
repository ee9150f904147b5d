"""The `preprocessing_fn` of TensorFlow Transform: ids and features, from strings to numbers."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from tfx_recommender.transform.features import ITEM_ID, ITEM_WEIGHT, USER_ID, USER_WEIGHT, Columns

# No z-score of the train split lies further out (of n values at most sqrt(n - 1)), but one of a
# served request may, and beyond the range of float32 no score would be a number.
Z_SCORE_LIMIT = 1e4


def preprocessing_fn(
    inputs: dict[str, Any], custom_config: dict[str, Any]
) -> dict[str, tf.Tensor | tf.SparseTensor]:
    """Encodes one batch of raw columns; all statistics are those of the train split.

    They are gathered from the split TRAIN_ENTITIES, where a user and an item come once, with the
    number of their rows in the train split: they are what going through all its rows would give.

    Args:
      inputs: raw columns by name: `user_id` and `item_id` string [B, 1], `rating` (of
        events `strength`) float32 [B, 1], `user_weight` and `item_weight` int64 [B, 1], features
        sparse [B, ?].
      custom_config: `columns` (`Columns.to_dict()`) and `vocabulary`: `min_count` (ids seen
        less often are out of vocabulary), `max_size` (None: unbounded), `oov_buckets`.

    Returns:
      `user_id`, `item_id`: int64 [B], in [0, vocabulary + OOV buckets); `rating` (of events
      `strength`): float32 [B], unchanged; each numeric feature: float32 [B], z-score within
      `Z_SCORE_LIMIT`, 0 where missing or not a number; each category: sparse int64 [B, ?], one
      more value than its vocabulary (OOV).
    """
    columns = Columns.from_dict(custom_config["columns"])
    vocabulary = custom_config["vocabulary"]
    weights = {
        "user": tf.squeeze(inputs[USER_WEIGHT], 1),
        "item": tf.squeeze(inputs[ITEM_WEIGHT], 1),
    }
    outputs: dict[str, tf.Tensor | tf.SparseTensor] = {
        columns.value: tf.squeeze(inputs[columns.value], 1)
    }
    for name, side in ((USER_ID, "user"), (ITEM_ID, "item")):
        ids = tf.squeeze(inputs[name], 1)
        found = _vocabulary(
            ids,
            weights[side],
            name,
            frequency_threshold=vocabulary["min_count"],
            top_k=vocabulary["max_size"],
        )
        outputs[name] = tft.apply_vocabulary(ids, found, num_oov_buckets=vocabulary["oov_buckets"])
    for feature in columns.features:
        value = inputs[feature.name]
        weight = tf.gather(weights[feature.side], value.indices[:, 0])
        if feature.kind == "numeric":
            z_score = tf.SparseTensor(
                value.indices, _z_score(value.values, weight), value.dense_shape
            )
            outputs[feature.name] = tf.squeeze(
                tft.sparse_tensor_to_dense_with_shape(z_score, [None, 1], 0.0), 1
            )
        else:
            found = _vocabulary(value.values, weight, feature.name)
            outputs[feature.name] = tft.apply_vocabulary(value, found, num_oov_buckets=1)
    return outputs


def _vocabulary(values: tf.Tensor, weight: tf.Tensor, name: str, **limits: int | None) -> Any:
    """The vocabulary of values, string [V], of which each counts int64 [V] times."""
    is_given = weight > 0
    return tft.vocabulary(
        tf.boolean_mask(values, is_given),
        weights=tf.cast(tf.boolean_mask(weight, is_given), tf.float32),
        vocab_filename=name,
        **limits,
    )


def _z_score(values: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Values, float32 [V], less their mean, divided by their standard deviation (0 if that is 0).

    In float64: Beam merges partial sums in no fixed order; float32 would keep the difference.
    """
    x, times = tf.cast(values, tf.float64), tf.cast(weight, tf.float64)
    count, total, squares = (tft.sum(times * part) for part in (tf.ones_like(x), x, x * x))
    mean = tf.math.divide_no_nan(total, count)
    variance = tf.math.divide_no_nan(squares, count) - mean * mean
    # Below that it is rounding: all values are the same.
    is_spread = variance > 1e-12 * mean * mean
    deviation = tf.sqrt(tf.where(is_spread, variance, 1.0))
    is_known = is_spread & ~tf.math.is_nan(x)
    z_score = tf.where(is_known, (x - mean) / deviation, 0.0)
    return tf.cast(tf.clip_by_value(z_score, -Z_SCORE_LIMIT, Z_SCORE_LIMIT), tf.float32)
