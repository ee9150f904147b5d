"""Batches of a split, from columns in memory, made inside TensorFlow's graph."""

from __future__ import annotations

import dataclasses
from typing import NotRequired, TypedDict, TypeVar

import numpy as np
import tensorflow as tf

from tfx_recommender.trainer.fitting.head import EntityBatch, Tensor
from tfx_recommender.trainer.fitting.histories import Grouped, Moments
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.fitting.problem import Problem
from tfx_recommender.trainer.fitting.settings import RankingTraining, Training

# Largest table of users and items, in bytes, that holds who rated what; above, it is looked up.
_TABLE = 1 << 26

Nested = TypeVar("Nested")  # columns, perhaps in dicts


class Batch(TypedDict):
    """E examples with P ratings, as the losses take them; C items and the unknown one are all.

    Attributes:
      user: of the examples, [E] rows.
      item: the rated items, [P] rows.
      example: whose they are, int32 [P].
      rating: float32 [P]; there is none of events, nor where an example is a user.
      share: 1 / the number of ratings of the example's user, or 1 where the example has all of
        them; float32 [E].
      catalogue: all items and the unknown one, [C] rows.
      rated: which of them the user rated in training, or in the batch, bool [E, C].
      weight: of events, their strengths divided by the mean of the train split, float32 [P].
      negative: items drawn for the whole batch, [N] rows; there is none without `negatives`.
      log_expected: logarithm of the expected number of each of these among N, float32 [N].
      collision: whether the user rated it in training, bool [E, N].
    """

    user: EntityBatch[Tensor]
    item: EntityBatch[Tensor]
    example: Tensor
    rating: NotRequired[Tensor]
    share: Tensor
    catalogue: EntityBatch[Tensor]
    rated: Tensor
    weight: NotRequired[Tensor]
    negative: NotRequired[EntityBatch[Tensor]]
    log_expected: NotRequired[Tensor]
    collision: NotRequired[Tensor]


class _Columns(TypedDict):
    """Columns of the examples, from which batches are gathered; see `Batch`.

    Attributes:
      user: position in the catalogue, int64 [examples].
      item: where an example is a rating, position in the catalogue, int64 [examples].
      moment: where an example is a rating and heads see histories, `Moments`.
    """

    user: Tensor
    share: Tensor
    item: NotRequired[Tensor]
    moment: NotRequired[dict[str, Tensor]]
    rating: NotRequired[Tensor]
    strength: NotRequired[Tensor]


class Batches:
    """Shuffled batches with fresh negatives, drawn and gathered inside TensorFlow's graph.

    An example is a rating, with the user's history before it; or a user with all ratings, for heads
    whose users do not change with time: such a head computes each user once, not at every rating.
    The order of examples and the negatives depend on seed and epoch only. The last examples of an
    epoch, if they do not fill a batch, are left out; they differ from epoch to epoch.

    Attributes:
      steps: batches in an epoch.
    """

    def __init__(
        self, rows: Interactions, problem: Problem, config: Training, by_user: bool, seed: int
    ) -> None:
        """Puts the columns into the graph.

        Args:
          rows: `problem.train`, or ratings held out from it.
          problem: the problem that the rows belong to.
          config: how to train; a `RankingTraining` with `negatives` draws some for each batch.
          by_user: whether an example is a user.
          seed: of the order and of the negatives.
        """
        catalogue = problem.catalogue
        users, items = len(catalogue.users), len(catalogue.items)
        self._problem, self._users, self._items, self._seed = problem, users, items, seed
        own = np.bincount(rows.user, minlength=users + 1)
        self._rows = Grouped(rows.user, rows.item, users, rows.strength) if by_user else None
        if by_user:
            user = np.flatnonzero(own[:users])
            columns: _Columns = {"user": user, "share": np.ones(len(user), np.float32)}
            size = round(config.batch_size * len(user) / max(1, len(rows)))
        else:
            columns = {
                "user": rows.user,
                "item": rows.item,
                "share": (1 / own[rows.user]).astype(np.float32),
            }
            if problem.history:
                histories, is_train = problem.histories, rows is problem.train
                moments = histories.of_train if is_train else histories.after(rows.user)
                columns["moment"] = dataclasses.asdict(moments)
            if rows.rating is not None:
                columns["rating"] = rows.rating
            if rows.strength is not None:
                columns["strength"] = rows.strength
            size = config.batch_size
        self._examples = len(columns["user"])
        self._size = min(max(1, size), self._examples)
        self.steps = self._examples // self._size
        self._columns = _constants(columns)
        self._user_table = _constants(catalogue.users.batch())
        self._item_table = _constants(catalogue.items.batch())

        ranking = config if isinstance(config, RankingTraining) else None
        self._negatives = (ranking and ranking.negatives) or 0
        train = problem.train
        self._held_out = rows is not train
        self._table: tf.Tensor | None = None
        if (users + 1) * (items + 1) <= _TABLE:
            table = np.zeros((users + 1, items + 1), bool)
            table[train.user, train.item] = True
            self._table = tf.constant(table)
        else:
            self._rated = Grouped(train.user, train.item, users)
            self._raters = Grouped(train.item, train.user, items)
        weight = np.bincount(train.item, minlength=items) ** (
            ranking.popularity if ranking else 0.0
        )
        self._cumulative = tf.constant(np.cumsum(weight) / weight.sum())
        expected = np.maximum(weight, 1e-9) / weight.sum() * max(1, self._negatives)
        self._log_expected = tf.constant(np.log(expected).astype(np.float32))

    def draw(self, epoch: Tensor | int) -> tuple[Tensor, Tensor]:
        """One epoch's examples, int32 [steps, E], and negatives, positions of items [steps, N]."""
        seeds = tf.stack([self._seed, epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(self._examples), seeds)
        examples = tf.reshape(order[: self.steps * self._size], [self.steps, self._size])
        uniform = tf.random.stateless_uniform(
            [self.steps * self._negatives], seeds, dtype="float64"
        )
        negatives = tf.searchsorted(self._cumulative, uniform, side="right")
        negatives = tf.minimum(negatives, self._items - 1)  # sums of floats may end below 1
        return examples, tf.reshape(negatives, [self.steps, self._negatives])

    def gather(self, examples: Tensor, negatives: Tensor) -> Batch:
        """A batch; inside a TensorFlow function, what a loss does not use is not computed.

        Args:
          examples: int32 [E], from `draw`.
          negatives: positions of items, [N], from `draw`.
        """
        columns = _rows(self._columns, examples)
        user, position = _rows(self._user_table, columns["user"]), columns["user"]
        if self._rows is not None:
            pairs = self._rows.of(position)
        else:
            if self._problem.history:
                user["history"], user["age"] = self._problem.histories.latest(
                    Moments(**columns["moment"]), self._problem.history
                )
            own = tf.range(tf.size(examples)), tf.cast(columns["item"], tf.int32)
            pairs = tf.stack(own, axis=1)
        batch: Batch = {
            "user": user,
            "item": _rows(self._item_table, pairs[:, 1]),
            "example": pairs[:, 0],
            "share": columns["share"],
            "catalogue": _rows(self._item_table, tf.range(self._items + 1)),
            "rated": self._all_rated(position, pairs),
        }
        if "rating" in columns:
            batch["rating"] = columns["rating"]
        if self._problem.train.strength is not None:
            strength = columns["strength"] if self._rows is None else self._rows.strengths(position)
            batch["weight"] = strength / self._problem.mean_strength
        if self._negatives:
            batch["negative"] = _rows(self._item_table, negatives)
            batch["log_expected"] = tf.gather(self._log_expected, negatives)
            batch["collision"] = self._has_rated(position, negatives)
        return batch

    def _all_rated(self, user: tf.Tensor, pairs: tf.Tensor) -> tf.Tensor:
        """Whether users [E] rated each item in training or in `pairs`: bool [E, items + 1]."""
        if self._table is not None:
            rated = tf.gather(self._table, user)
            pairs = pairs if self._held_out else pairs[:0]
        else:
            rated = tf.fill([tf.size(user), self._items + 1], False)
            pairs = tf.concat([self._rated.of(user), pairs], axis=0)
        return tf.tensor_scatter_nd_update(rated, pairs, tf.fill(tf.shape(pairs)[:1], True))

    def _has_rated(self, user: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
        """Whether users [E] rated items [N] in training: bool [E, N]."""
        if self._table is not None:
            return tf.gather(tf.gather(self._table, user), item, axis=1)
        # The raters of these items who are among these users: fewer than all ratings of the users.
        distinct, place = tf.unique(user)
        places = tf.range(tf.size(distinct)) + 1
        place_of = tf.scatter_nd(distinct[:, None], places, [self._users + 1])
        raters = self._raters.of(item)
        found = tf.gather(place_of, raters[:, 1]) - 1
        cells = tf.stack([found, raters[:, 0]], axis=1)[found >= 0]
        rated = tf.fill([tf.size(distinct), tf.size(item)], False)
        rated = tf.tensor_scatter_nd_update(rated, cells, tf.fill(tf.shape(cells)[:1], True))
        return tf.gather(rated, place)


def _constants(table: Nested) -> Nested:
    return tf.nest.map_structure(tf.constant, table)


def _rows(table: Nested, rows: Tensor) -> Nested:
    return tf.nest.map_structure(lambda column: tf.gather(column, rows), table)
