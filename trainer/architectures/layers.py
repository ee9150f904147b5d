"""The layers that turn one side's ids and features into vectors, shared by all architectures."""

from __future__ import annotations

import keras
import numpy as np

from tfx_recommender.trainer.fitting import weight_labels
from tfx_recommender.trainer.fitting.head import EntityBatch, Tensor
from tfx_recommender.trainer.fitting.problem import EntityShape


class Table(keras.layers.Layer):
    """Rows to look up, [...] -> [..., size]."""

    def __init__(
        self,
        rows: int,
        size: int,
        kind: str,
        initializer: keras.initializers.Initializer | str = "uniform",
        column_kind: str = "",
    ) -> None:
        """Makes the weights.

        Args:
          rows: number of rows.
          size: length of a row.
          kind: what the rows stand for (see `weight_labels`).
          initializer: of the weights.
          column_kind: what the columns stand for; "": nothing.
        """
        super().__init__()
        weights = self.add_weight(shape=(rows, size), initializer=initializer, name="rows")
        self.rows = weight_labels.declare(weights, kind, column_kind)

    def call(self, index: Tensor) -> Tensor:
        """Looks up rows `index`, int [...]."""
        return keras.ops.take(self.rows, index, axis=0)


class IdEmbedding(keras.layers.Layer):
    """Embeds an id's table row, [...] -> [..., size].

    In training, an id is replaced by an OOV bucket with probability `id_dropout`, which trains the
    rows that unknown ids use.

    The L2 penalty covers looked-up rows only, so an id with n ratings is penalised n times per
    epoch. `l2_exponent` changes that to n ** l2_exponent, times a constant that leaves an id with
    the mean number of ratings as it is; 0 is one Gaussian prior for all ids (nu in Rendle et al.:
    Revisiting the Performance of iALS on Item Recommendation Benchmarks, 2022).
    """

    def __init__(
        self,
        shape: EntityShape,
        size: int,
        l2: float,
        id_dropout: float,
        scale: float = 0.05,
        column_kind: str = "",
        l2_exponent: float = 1.0,
    ) -> None:
        super().__init__()
        self.vocabulary = shape.vocabulary
        self.oov_buckets = shape.ids - shape.vocabulary
        self.id_dropout = id_dropout
        self.scale = scale
        self.l2, self.penalties = l2, None
        if l2_exponent != 1:
            assert shape.ratings is not None, "l2_exponent needs the number of ratings of each id"
            ratings = np.maximum(shape.ratings, 1) / shape.ratings[shape.ratings > 0].mean()
            self.penalties = (ratings ** (l2_exponent - 1)).astype(np.float32)
        self.seeds = keras.random.SeedGenerator()
        initializer = keras.initializers.RandomNormal(stddev=scale)
        self.table = Table(shape.ids, size, shape.side, initializer, column_kind)

    def call(self, index: Tensor, training: bool = False) -> Tensor:
        """Looks up rows `index`, int64 [B, ...]; in training adds their penalty, a mean over B."""
        if training and self.id_dropout:
            shape = keras.ops.shape(index)
            drop = keras.random.uniform(shape, seed=self.seeds) < self.id_dropout
            bucket = self.vocabulary + index % self.oov_buckets
            index = keras.ops.where(drop, bucket, index)
        rows = self.table(index)
        if training and self.l2:
            squares = keras.ops.square(rows)
            if self.penalties is not None:
                squares = squares * keras.ops.take(self.penalties, index, axis=0)[..., None]
            batch = keras.ops.cast(keras.ops.shape(rows)[0], "float32")
            self.add_loss(self.l2 * keras.ops.sum(squares) / batch)
        return rows


class FeatureEncoder(keras.layers.Layer):
    """Encodes metadata: numbers as they are, categories as the mean of their embeddings.

    Shapes: numeric [..., F] and categories [..., M] (padded with -1) -> [..., width].
    """

    def __init__(self, shape: EntityShape, size: int) -> None:
        super().__init__()
        self.tables = {
            name: Table(len(values), size, f"{shape.side}.{name}")
            for name, values in sorted(shape.categories.items())
        }
        self.width = shape.numeric + size * len(self.tables)

    def call(self, entities: EntityBatch[Tensor]) -> Tensor:
        """Encodes a batch of users or items."""
        encoded = [entities["numeric"]]
        for name, table in self.tables.items():
            values = entities["categories"][name]
            present = keras.ops.cast(values >= 0, "float32")[..., None]
            total = keras.ops.sum(table(keras.ops.maximum(values, 0)) * present, axis=-2)
            count = keras.ops.maximum(keras.ops.sum(present, axis=-2), 1.0)
            encoded.append(total / count)
        return keras.ops.concatenate(encoded, axis=-1)
