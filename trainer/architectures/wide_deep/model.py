"""Wide & Deep: a linear model of ids, categories and their crosses, plus an MLP.

Cheng et al.: Wide & Deep Learning for Recommender Systems (2016), section 3.
"""

from __future__ import annotations

import keras

from tfx_recommender.trainer.architectures import factors
from tfx_recommender.trainer.architectures.layers import IdEmbedding
from tfx_recommender.trainer.architectures.mlp.model import MultilayerHead
from tfx_recommender.trainer.architectures.wide_deep.settings import (
    WideAndDeep,
    WideAndDeepRanking,
    WideAndDeepRating,
)
from tfx_recommender.trainer.fitting import weight_labels
from tfx_recommender.trainer.fitting.fit import Fitter
from tfx_recommender.trainer.fitting.head import EntityBatch, Tensor, Vectors
from tfx_recommender.trainer.fitting.problem import EntityShape, Problem


def fit_rating(config: WideAndDeepRating, problem: Problem, fitter: Fitter) -> WideAndDeepHead:
    """Trained on squared error; all scores start at 0, the mean rating."""
    shapes = problem.catalogue.user_shape, problem.catalogue.item_shape
    head = WideAndDeepHead(config, *shapes, output_initializer="zeros")
    return fitter.rating(head, problem, config.training)


def fit_preference(config: WideAndDeepRanking, problem: Problem, fitter: Fitter) -> WideAndDeepHead:
    """Trained on a ranking loss."""
    shapes = problem.catalogue.user_shape, problem.catalogue.item_shape
    return fitter.preference(WideAndDeepHead(config, *shapes), problem, config.training)


class WideAndDeepHead(keras.layers.Layer):
    """score(u, i) = wide(u, i) + MLP(u, i).

    With one-hot (or multi-hot) categories g of a user and h of an item,
    wide(u, i) = b_u + b_i + <A_u, h_i> + <g_u, B_i> + <C g_u, h_i>: one weight for each id,
    for each id crossed with a category of the other side, and for each pair of categories. It is
    computed as one dot product of a user's and an item's wide vector, of length W.
    """

    sequential = False

    def __init__(
        self,
        config: WideAndDeep,
        users: EntityShape,
        items: EntityShape,
        output_initializer: str = "glorot_uniform",
    ) -> None:
        super().__init__()
        self.deep = MultilayerHead(config, users, items, output_initializer)
        of_user, of_item = (
            {name: len(values) for name, values in sorted(side.categories.items())}
            for side in (users, items)
        )
        self.of_user, self.of_item = of_user, of_item
        sizes = sum(of_user.values()), sum(of_item.values())
        l2, drop = config.wide_l2, config.id_dropout
        self.user_bias = IdEmbedding(users, 1, l2, drop, scale=0.0)
        self.item_bias = IdEmbedding(items, 1, l2, drop, scale=0.0)
        self.user_crosses = IdEmbedding(users, sizes[1], l2, drop, 0.0, column_kind="item.")
        self.item_crosses = IdEmbedding(items, sizes[0], l2, drop, 0.0, column_kind="user.")
        crosses = self.add_weight(shape=sizes, initializer="zeros", name="crosses")
        self.crosses = weight_labels.declare(crosses, "user.", "item.")

    def user(self, users: EntityBatch[Tensor], training: bool = False) -> Vectors:
        """Wide vectors of users, and their deep parts: [B] rows -> float32 [B, W] and `Vectors`."""
        index, categories = users["index"], _multi_hot(users, self.of_user)
        bias = self.user_bias(index, training=training)
        own = self.user_crosses(index, training=training)
        own = own + keras.ops.matmul(categories, self.crosses)
        wide = [bias, keras.ops.ones_like(bias), own, categories]
        return keras.ops.concatenate(wide, axis=-1), self.deep.user(users, training)

    def item(self, items: EntityBatch[Tensor], training: bool = False) -> Vectors:
        """Wide vectors of items, and their deep parts: [...] rows -> [..., W] and `Vectors`."""
        index, categories = items["index"], _multi_hot(items, self.of_item)
        bias = self.item_bias(index, training=training)
        own = self.item_crosses(index, training=training)
        wide = [keras.ops.ones_like(bias), bias, categories, own]
        return keras.ops.concatenate(wide, axis=-1), self.deep.item(items, training)

    def interact(self, user: Vectors, item: Vectors, training: bool = False) -> Tensor:
        """Scores, float32 [B, K]; see `Head.interact`."""
        (user_wide, user_deep), (item_wide, item_deep) = user, item
        wide = factors.products(user_wide, item_wide)
        return wide + self.deep.interact(user_deep, item_deep, training)


def _multi_hot(entities: EntityBatch[Tensor], sizes: dict[str, int]) -> Tensor:
    """Categories as indicators, float32 [..., number of values]; padding (-1) has none."""
    index = entities["index"]
    parts = [
        keras.ops.sum(keras.ops.one_hot(entities["categories"][name], size), axis=-2)
        for name, size in sizes.items()
    ]
    nothing = keras.ops.zeros((*keras.ops.shape(index), 0), "float32")
    return keras.ops.concatenate([nothing, *parts], axis=-1)
