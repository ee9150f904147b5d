"""How a head is trained: the settings that all architectures share. Free of TensorFlow."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tfx_recommender.foundation.settings import Settings

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Penalty = Annotated[float, Field(ge=0.0)]
Size = Annotated[int, Field(ge=1)]


class Training(Settings):
    """How a head is trained."""

    epochs: Size = 60
    """Maximum number of passes over the train split."""
    patience: Size = 3
    """Epochs without a better validation loss before training stops."""
    batch_size: Size = 1024
    """Ratings per optimizer step. Where a step takes whole users, this is the average."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 0.003
    """Adam's first step size. It falls to 0 along a cosine over the epochs."""


class RankingTraining(Training):
    """How a head that ranks is trained."""

    loss: Literal["softmax", "bpr", "logistic"] = "softmax"
    """Softmax over the catalogue, BPR (pairs), or logistic MF (weighted yes or no)."""
    negatives: Size | None = None
    """Number of items drawn per step as negatives, shared by its rows. Null: all items that the
    user has not rated, which is better and, up to some ten thousand items, fast."""
    popularity: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Negatives are drawn in proportion to (number of ratings) ** popularity; 0: uniformly."""
    positive_weight: Annotated[float, Field(gt=0.0)] = 1.0
    """Logistic loss only: weight of a rated item relative to one that is not rated."""


def history_length(*heads: Settings | None) -> int:
    """Number of a user's most recent ratings that these heads use; the largest counts."""
    return max((getattr(head, "history", 0) for head in heads), default=0)
