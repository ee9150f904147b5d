"""Trains a head: batches from columns in memory, whole epochs in one call, early stopping."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfx_recommender.trainer.hyperparameters import Training
from tfx_recommender.trainer.problem import Interactions, Moments, Problem


class Batches:
    """Shuffled batches with fresh negatives, drawn and gathered inside TensorFlow's graph.

    The order of rows and the negatives are functions of seed and epoch. Rows that fill no whole
    batch are left out of that epoch; every epoch leaves out others.

    Attributes:
      steps: batches in an epoch.
    """

    def __init__(
        self, rows: Interactions, moments: Moments, problem: Problem, config: Training, seed: int
    ) -> None:
        self._rows, self._size = len(rows), min(max(1, config.batch_size), len(rows))
        self.steps = len(rows) // self._size
        self._items, self._negatives = len(problem.catalogue.items), config.negatives or 0
        self._seed = seed
        self._histories = problem.histories
        columns = {"user": rows.user, "item": rows.item, "rating": rows.rating}
        self._columns = _constants(columns | {"moment": dataclasses.astuple(moments)})
        self._user_table = _constants(problem.catalogue.users.table())
        self._item_table = _constants(problem.catalogue.items.table())

    def draw(self, epoch: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """One epoch's rows, int32 [steps, B], and negatives, positions of items [steps, N]."""
        seeds = tf.stack([self._seed, epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(self._rows), seeds)
        rows = tf.reshape(order[: self.steps * self._size], [self.steps, self._size])
        negatives = tf.random.stateless_uniform(
            [self.steps, self._negatives], seeds, maxval=self._items, dtype=tf.int32
        )
        return rows, negatives

    def gather(self, rows: tf.Tensor, negatives: tf.Tensor) -> dict[str, Any]:
        """A batch; what a loss does not use is not computed.

        Returns:
          `user` and `item`: as `Entities.table()`, [B] rows, each user at the moment of the
          rating; `rating`: float32 [B]; `negative`: items, [N] rows, shared by the batch;
          `catalogue`: all items and the unknown one; `rated`: (row, item) of all training
          ratings of the users, and of the batch itself, int32 [P, 2].
        """
        batch = _rows(self._columns, rows)
        user = _rows(self._user_table, batch["user"])
        user["history"], user["age"] = self._histories.latest(*batch["moment"])
        own = tf.stack([tf.range(tf.size(rows)), tf.cast(batch["item"], tf.int32)], axis=1)
        return {
            "user": user,
            "item": _rows(self._item_table, batch["item"]),
            "rating": batch["rating"],
            "negative": _rows(self._item_table, negatives),
            "catalogue": _rows(self._item_table, tf.range(self._items + 1)),
            "rated": tf.concat([self._histories.rated(batch["user"]), own], axis=0),
        }


def fit(
    loss: keras.layers.Layer, problem: Problem, config: Training, seed: int
) -> list[tuple[float, float]]:
    """Trains the weights below a loss until validation improves no more; leaves the best.

    Both losses of each epoch go to TensorFlow's default summary writer, if there is one.

    Args:
      loss: one of `losses`; its weights are changed in place. One without trainable weights
        is left as it is.
      problem: what to fit.
      config: how to train.
      seed: of the order of rows and of the negatives.

    Returns:
      Training and validation loss of each epoch.
    """
    train, validation = problem.train, problem.validation
    batches = Batches(train, problem.histories.of_train, problem, config, seed)
    # Small batches, for each has negatives of its own: few of them would judge by chance.
    small = config.model_copy(update={"batch_size": min(config.batch_size, len(validation) // 16)})
    moments = problem.histories.after(validation.user)
    held_out = Batches(validation, moments, problem, small, seed)
    loss(held_out.gather(*(drawn[0] for drawn in held_out.draw(0))))  # makes the weights
    variables = loss.trainable_variables
    if not variables:
        return []
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(config.learning_rate, batches.steps * config.epochs)
    )
    optimizer.build(variables)

    def train_step(batch: dict[str, Any]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(batch, training=True)
            total = value + sum(loss.losses)
        optimizer.apply(tape.gradient(total, variables), variables)
        return value

    train_epoch = _epoch(train_step, batches)
    validate = _epoch(lambda batch: loss(batch, training=False), held_out)
    history: list[tuple[float, float]] = []
    best, best_epoch, best_weights = float(validate(0)), -1, loss.get_weights()
    for epoch in range(config.epochs):
        history.append((float(train_epoch(epoch)), float(validate(0))))
        for name, value in zip((loss.name, f"val_{loss.name}"), history[-1], strict=True):
            tf.summary.scalar(name, value, step=epoch)
        if history[-1][1] < best:
            best, best_epoch, best_weights = history[-1][1], epoch, loss.get_weights()
        if epoch - best_epoch >= config.patience:
            break
    loss.set_weights(best_weights)
    return history


def _epoch(
    step: Callable[[dict[str, Any]], tf.Tensor], batches: Batches
) -> Callable[[int], tf.Tensor]:
    """A whole epoch as one compiled call: epoch number -> mean of what `step` returns.

    Keras' `fit` would call into TensorFlow at every step, or trace the step twice.
    """

    @tf.function(autograph=False)
    def run(epoch: tf.Tensor) -> tf.Tensor:
        rows, negatives = batches.draw(epoch)
        _, total = tf.while_loop(
            lambda number, _: number < batches.steps,
            lambda number, total: (
                number + 1,
                total + step(batches.gather(rows[number], negatives[number])),
            ),
            (0, 0.0),
            parallel_iterations=1,
        )
        return total / batches.steps

    return lambda epoch: run(tf.constant(epoch))


def _constants(table: Any) -> Any:
    return tf.nest.map_structure(tf.constant, table)


def _rows(table: Any, rows: tf.Tensor) -> Any:
    return tf.nest.map_structure(lambda column: tf.gather(column, rows), table)
