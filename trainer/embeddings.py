"""The layers that turn one side's ids and features into vectors, shared by all architectures."""

from __future__ import annotations

from typing import Any

import keras

from tfx_recommender.trainer.problem import EntityShape


class IdEmbedding(keras.layers.Layer):
    """Embeds an id's table row, [...] -> [..., size]; only looked-up rows are regularised.

    An L2 penalty on the whole table would shrink rows that a batch never saw, so the penalty
    is on the layer's output (Keras divides an activity penalty by the batch size).
    In training, ids are replaced by an OOV bucket with probability `id_dropout`: that trains
    the rows which unknown ids will use.
    """

    def __init__(
        self, shape: EntityShape, size: int, l2: float, id_dropout: float, scale: float = 0.05
    ) -> None:
        super().__init__()
        self.vocabulary = shape.vocabulary
        self.oov_buckets = shape.ids - shape.vocabulary
        self.id_dropout = id_dropout
        self.seeds = keras.random.SeedGenerator()
        self.table = keras.layers.Embedding(
            shape.ids,
            size,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=scale),
            activity_regularizer=keras.regularizers.L2(l2) if l2 else None,
        )

    def call(self, index: Any, training: bool = False) -> Any:
        """Looks up rows `index`, int64 [...]."""
        if training and self.id_dropout:
            shape = keras.ops.shape(index)
            drop = keras.random.uniform(shape, seed=self.seeds) < self.id_dropout
            bucket = self.vocabulary + index % self.oov_buckets
            index = keras.ops.where(drop, bucket, index)
        return self.table(index)


class FeatureEncoder(keras.layers.Layer):
    """Encodes metadata: numeric as they are, categories as the mean of their embeddings.

    Shapes: numeric [..., F] and categories [..., M] (padded with -1) -> [..., width].
    """

    def __init__(self, shape: EntityShape, size: int) -> None:
        super().__init__()
        self.tables = {
            name: keras.layers.Embedding(values, size)
            for name, values in sorted(shape.categories.items())
        }
        self.width = shape.numeric + size * len(self.tables)

    def call(self, entities: dict[str, Any]) -> Any:
        """Encodes a batch in the form of `Entities.table()`."""
        encoded = [entities["numeric"]]
        for name, table in self.tables.items():
            values = entities["categories"][name]
            present = keras.ops.cast(values >= 0, "float32")[..., None]
            total = keras.ops.sum(table(keras.ops.maximum(values, 0)) * present, axis=-2)
            count = keras.ops.maximum(keras.ops.sum(present, axis=-2), 1.0)
            encoded.append(total / count)
        return keras.ops.concatenate(encoded, axis=-1)
