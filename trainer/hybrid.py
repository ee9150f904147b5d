"""Hybrid: MF and MLP in parallel, trained together, one output.

He et al.: Neural Collaborative Filtering (2017), section 3.4 (NeuMF), with biases and metadata.
"""

from __future__ import annotations

from typing import Any

import keras

from tfx_recommender.trainer import matrix_factorization, multilayer_perceptron
from tfx_recommender.trainer.entities import EntityShape
from tfx_recommender.trainer.hyperparameters import Hybrid


class Head(keras.layers.Layer):
    """score(u, i) = MF(u, i) + MLP(u, i)."""

    def __init__(self, config: Hybrid, users: EntityShape, items: EntityShape) -> None:
        super().__init__()
        self.mf = matrix_factorization.Head(config.mf, users, items)
        self.mlp = multilayer_perceptron.Head(config.mlp, users, items)
        self.mf_size = config.mf.embedding_size + 1

    def user(self, users: dict[str, Any], training: bool = False) -> Any:
        """Vectors of users: [B] rows -> [B, D], both parts side by side."""
        return keras.ops.concatenate(
            [self.mf.user(users, training), self.mlp.user(users, training)], axis=-1
        )

    def item(self, items: dict[str, Any], training: bool = False) -> Any:
        """Vectors of items: [...] rows -> [..., D], both parts side by side."""
        return keras.ops.concatenate(
            [self.mf.item(items, training), self.mlp.item(items, training)], axis=-1
        )

    def interact(self, user: Any, item: Any, training: bool = False) -> Any:
        """Scores: user [B, D] and item [B or 1, K, D] -> [B, K]."""
        size = self.mf_size
        mf = self.mf.interact(user[:, :size], item[..., :size], training)
        mlp = self.mlp.interact(user[:, size:], item[..., size:], training)
        return mf + mlp
