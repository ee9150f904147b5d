"""Hybrid: MF and MLP in parallel, one output.

He et al.: Neural Collaborative Filtering (2017), section 3.4 (NeuMF), with biases and metadata.
The MF part is Bayesian and knows the metadata and what each user rated; the MLP learns what
that leaves. Rankings are made by two towers, which see what the user rated latest.
"""

from __future__ import annotations

from typing import Any

import keras

from tfx_recommender.trainer import matrix_factorization, multilayer_perceptron, two_tower
from tfx_recommender.trainer.hyperparameters import HybridRating
from tfx_recommender.trainer.problem import Problem


def rating_head(config: HybridRating, problem: Problem, seed: int) -> Head:
    """The MF part is fitted already, the MLP part still to be trained; it starts at 0."""
    return Head(
        matrix_factorization.rating_head(config.mf, problem, seed),
        multilayer_perceptron.rating_head(config.mlp, problem, seed),
    )


preference_head = two_tower.preference_head


class Head(keras.layers.Layer):
    """score(u, i) = MF(u, i) + MLP(u, i)."""

    sequential = False

    def __init__(self, mf: Any, mlp: Any) -> None:
        super().__init__()
        self.mf, self.mlp = mf, mlp

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
        width = self.mf.width
        mf = self.mf.interact(user[:, :width], item[..., :width], training)
        mlp = self.mlp.interact(user[:, width:], item[..., width:], training)
        return mf + mlp
