"""What training, evaluation and export need of a model: a head, which scores users and items."""

from __future__ import annotations

from typing import Generic, NotRequired, Protocol, TypeAlias, TypedDict, TypeVar

import keras
import tensorflow as tf

Tensor: TypeAlias = tf.Tensor
"""What Keras and TensorFlow take and return: a tensor, a variable or a NumPy array."""

Vectors: TypeAlias = tuple[Tensor, ...]
"""What a head computes of users, or of items, before they meet: one or more parts.

A part is a tensor, or again `Vectors`, of a head inside this one. `Head.interact` gets the parts
that `user` and `item` made. What it uses apart of items must be parts of their own: an exported
model holds each part of all items as a variable, and cutting that up would copy it at every
request.
"""

Column = TypeVar("Column")


class EntityBatch(TypedDict, Generic[Column]):
    """Users, or items, as a head takes them: NumPy arrays or tensors; [...] rows.

    Attributes:
      index: row in the embedding table, int [...].
      numeric: scaled numeric features, float32 [..., F]; 0 is the mean.
      categories: feature name -> positions of its values, int64 [..., M], padded with -1.
      history: of users, the items rated latest, positions in the catalogue, int32 [..., L], padded
        with -1.
      age: of users, the number of ratings between each of those and now, float32 [..., L];
        infinite where times are not known.
    """

    index: Column
    numeric: Column
    categories: dict[str, Column]
    history: NotRequired[Column]
    age: NotRequired[Column]


class Head(Protocol):
    """One head of an architecture; `architectures/mf/model.py` has the plainest.

    Attributes:
      sequential: whether the parts of a user depend on what was rated before.
      trainable_variables: the weights that training changes, once they are made.
    """

    sequential: bool
    trainable_variables: list[Tensor]

    def user(self, users: EntityBatch[Tensor], training: bool = False) -> Vectors:
        """Parts of users: [B] rows -> float32 [B, ...] each."""

    def item(self, items: EntityBatch[Tensor], training: bool = False) -> Vectors:
        """Parts of items: [...] rows -> float32 [..., ...] each."""

    def interact(self, user: Vectors, item: Vectors, training: bool = False) -> Tensor:
        """Scores of users with items, float32 [B, K].

        Args:
          user: from `user`, [B, ...] each.
          item: from `item`, [B, K, ...] each: K items for each user; or [1, K, ...]: the same K
            items for all users (see `shared`).
          training: whether dropout applies.
        """


def shared(items: Vectors) -> Vectors:
    """The same items for all users, as `Head.interact` takes them: [K, ...] -> [1, K, ...]."""
    return tf.nest.map_structure(lambda part: keras.ops.expand_dims(part, axis=0), items)


def single(items: Vectors) -> Vectors:
    """One item for each user, as `Head.interact` takes them: [B, ...] -> [B, 1, ...]."""
    return tf.nest.map_structure(lambda part: keras.ops.expand_dims(part, axis=1), items)


def take(vectors: Vectors, rows: Tensor) -> Vectors:
    """Some rows of users or items: [N, ...] at int [R] -> [R, ...]."""
    return tf.nest.map_structure(lambda part: tf.gather(part, rows), vectors)


def score_pairs(
    head: Head, users: EntityBatch[Tensor], items: EntityBatch[Tensor], training: bool = False
) -> Tensor:
    """Scores of pairs: users [B], items [B] -> float32 [B]."""
    item = single(head.item(items, training))
    scores = head.interact(head.user(users, training), item, training)
    return keras.ops.squeeze(scores, axis=1)


def score_all(head: Head, users: EntityBatch[Tensor], items: EntityBatch[Tensor]) -> Tensor:
    """Scores of each user with each item: users [B], items [K] -> float32 [B, K]."""
    return head.interact(head.user(users), shared(head.item(items)))
