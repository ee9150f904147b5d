"""EaseHyperparameters of `item_item`. Free of TensorFlow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tfx_recommender.foundation.settings import Settings
from tfx_recommender.trainer.fitting.settings import Share, Size


class ItemToItem(Settings):
    """A ranking head that adds up, over all that a user interacted with, weights to other items.

    Null: chosen by NDCG on the validation split.
    """

    regularization: Annotated[float, Field(gt=0.0)] | None = None
    """L2 penalty of the weights (lambda of EASE)."""
    dropout: Share | None = None
    """Probability with which an item that is seen is dropped on average: it makes the penalty of
    popular items stronger (EDLAE); 0: EASE."""
    neighbours: Size | None = None
    """Of the weights that lead to an item, the largest so many are kept."""
    items: Size = 5000
    """The most popular so many items have weights, for time grows with the cube of their number,
    and memory with its square. All others are ranked by popularity, as if nothing spoke for or
    against them."""
