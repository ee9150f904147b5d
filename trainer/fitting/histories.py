"""What each user rated, looked up inside a TensorFlow graph: all of it, or the latest of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tfx_recommender.trainer.fitting.interactions import Interactions


@dataclasses.dataclass(frozen=True)
class Moments:
    """For each of R rows a user and a point in time; int32 [R] each.

    Attributes:
      start: where the user's ratings begin in `Histories`.
      count: number of them that are no later than that time.
      exclude: the row's own rating, which is not part of the history; -1 if there is none.
    """

    start: np.ndarray
    count: np.ndarray
    exclude: np.ndarray


class Grouped:
    """Ratings grouped by user, or by item, ready to be looked up inside a TensorFlow graph.

    Attributes:
      ratings: of how many ratings each user (item) is, int32 [count + 1]; the unknown one, one
        past the last, has none.
    """

    def __init__(
        self, own: np.ndarray, other: np.ndarray, count: int, strength: np.ndarray | None = None
    ) -> None:
        """Sorts the ratings.

        Args:
          own: their users, to group by, int [R].
          other: their items, int [R] (or `own` the items, and these the users).
          count: number of users; an `own` from there on is unknown, and left out.
          strength: of events, float32 [R].
        """
        order = np.argsort(own, kind="stable")[: np.count_nonzero(own < count)]
        self.ratings = np.append(np.bincount(own[order], minlength=count), 0).astype(np.int32)
        self._starts = (np.cumsum(self.ratings) - self.ratings).astype(np.int32)
        self._other = tf.constant(other[order].astype(np.int32))
        self._strength = None if strength is None else tf.constant(strength[order])

    def of(self, own: tf.Tensor) -> tf.Tensor:
        """All ratings of some users [B], as (row of the batch, item): int32 [P, 2]."""
        spans = self._spans(own)
        rows = tf.cast(spans.value_rowids(), tf.int32)
        return tf.stack([rows, tf.gather(self._other, spans.values)], axis=1)

    def strengths(self, own: tf.Tensor) -> tf.Tensor:
        """Of events, the strength of each of those: float32 [P]."""
        return tf.gather(self._strength, self._spans(own).values)

    def _spans(self, own: tf.Tensor) -> tf.RaggedTensor:
        start = tf.gather(self._starts, own)
        return tf.ragged.range(start, start + tf.gather(self.ratings, own))


class Histories:
    """Every training rating, user by user in order of time; ratings of one time are equals."""

    def __init__(self, train: Interactions, users: int, seed: int) -> None:
        """Sorts the ratings.

        Args:
          train: the train split. Without times a user's ratings all count as one moment's, in
            random order.
          users: number of users; every `train.user` is below.
          seed: of the random order.
        """
        self.has_times = train.time is not None
        time = np.zeros(len(train), np.int64) if train.time is None else train.time
        chance = np.random.default_rng(seed).random(len(train))
        order = np.lexsort((chance, time, train.user))
        user, time = train.user[order], time[order]
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order))
        ratings = np.bincount(user, minlength=users)
        # The unknown user, one past the last, has rated nothing.
        self._starts = np.append(0, np.cumsum(ratings)).astype(np.int32)
        self._ratings = np.append(ratings, 0).astype(np.int32)
        # How many of the user's ratings are no later than each: the end of its run of equals.
        last = np.append((user[1:] != user[:-1]) | (time[1:] != time[:-1]), True)
        ends = np.flatnonzero(last)
        run = np.cumsum(last) - last
        upto = (ends[run] + 1 - self._starts[user]).astype(np.int32)
        self.of_train = Moments(self._starts[train.user], upto[place], place)
        self._item = tf.constant(train.item[order].astype(np.int32))
        self._upto = tf.constant(upto)

    def after(self, user: np.ndarray) -> Moments:
        """The moment after all training ratings of each user, int [R]."""
        return Moments(self._starts[user], self._ratings[user], np.full(len(user), -1, np.int32))

    def latest(self, moments: Moments, length: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The latest `length` ratings before some moments.

        Args:
          moments: of B rows; their columns may be tensors.
          length: how many.

        Returns:
          Items, positions int32 [B, length], padded with -1, and ages, float32 [B, length]: how
          many other ratings lie between (infinite where there are no times; 0 of padding).
        """
        start, count, exclude = moments.start, moments.count, moments.exclude
        place = (start + count)[:, None] - 1 - tf.range(length)
        present = (place >= start[:, None]) & (place != exclude[:, None])
        # Before `start` lie the ratings of other users, whose ages may be of any size and sign.
        place = tf.where(present, place, 0)
        item = tf.where(present, tf.gather(self._item, place), -1)
        if not self.has_times:
            return item, tf.where(present, np.float32(np.inf), 0.0)
        age = count[:, None] - tf.gather(self._upto, place)
        # The row's own rating is none of those between.
        own = tf.cast((exclude[:, None] >= 0) & (age > 0), tf.int32)
        return item, tf.where(present, tf.cast(age - own, tf.float32), 0.0)
