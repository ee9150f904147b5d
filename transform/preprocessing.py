"""The `preprocessing_fn` of TensorFlow Transform: ids and features, from strings to numbers."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from tfx_recommender.transform.features import ITEM_ID, USER_ID, Columns


def preprocessing_fn(
    inputs: dict[str, Any], custom_config: dict[str, Any]
) -> dict[str, tf.Tensor | tf.SparseTensor]:
    """Encodes one batch of raw columns; all statistics come from the train split alone.

    Args:
      inputs: raw columns by name: `user_id` and `item_id` string [B, 1], `rating` (of
        events `strength`) float32 [B, 1], features sparse [B, ?].
      custom_config: `columns` (`Columns.to_dict()`) and `vocabulary`: `min_count` (ids seen
        less often are out of vocabulary), `max_size` (None: unbounded), `oov_buckets`.

    Returns:
      `user_id`, `item_id`: int64 [B], in [0, vocabulary + OOV buckets); `rating` (of events
      `strength`): float32 [B], unchanged; each numeric feature: float32 [B], z-score, 0 where
      missing; each category: sparse int64 [B, ?], one more value than its vocabulary (OOV).
    """
    columns = Columns.from_dict(custom_config["columns"])
    vocabulary = custom_config["vocabulary"]
    outputs: dict[str, tf.Tensor | tf.SparseTensor] = {
        columns.value: tf.squeeze(inputs[columns.value], 1)
    }
    for name in (USER_ID, ITEM_ID):
        outputs[name] = tft.compute_and_apply_vocabulary(
            tf.squeeze(inputs[name], 1),
            frequency_threshold=vocabulary["min_count"],
            top_k=vocabulary["max_size"],
            num_oov_buckets=vocabulary["oov_buckets"],
            vocab_filename=name,
        )
    for feature in columns.features:
        value = inputs[feature.name]
        if feature.kind == "numeric":
            # Beam merges partial sums in no fixed order; float32 would keep the difference.
            z_score = tf.cast(tft.scale_to_z_score(tf.cast(value, tf.float64)), tf.float32)
            outputs[feature.name] = tf.squeeze(
                tft.sparse_tensor_to_dense_with_shape(z_score, [None, 1], 0.0), 1
            )
        else:
            outputs[feature.name] = tft.compute_and_apply_vocabulary(
                value, num_oov_buckets=1, vocab_filename=feature.name
            )
    return outputs
