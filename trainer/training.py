"""Fits a recommender: batches from columns in memory, early stopping head by head."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_recommender.trainer.entities import Entities
from tfx_recommender.trainer.hyperparameters import Training
from tfx_recommender.trainer.recommender import Recommender


@dataclasses.dataclass(frozen=True)
class Interactions:
    """Ratings as columns.

    Attributes:
      user: row in the users' `Entities`, int64 [R].
      item: row in the items' `Entities`, int64 [R].
      rating: float32 [R].
    """

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray

    def __len__(self) -> int:
        return len(self.rating)


class Batches:
    """Shuffled batches with fresh negatives, drawn and gathered inside TensorFlow's graph.

    The order of rows and the negatives are functions of seed and epoch. Rows that fill no whole
    batch are left out of that epoch; every epoch leaves out others.

    Attributes:
      steps: batches in an epoch.
    """

    def __init__(
        self, rows: Interactions, users: Entities, items: Entities, config: Training, seed: int
    ) -> None:
        self.steps = max(1, len(rows) // config.batch_size)
        self._rows, self._items, self._negatives = len(rows), len(items), config.negatives
        self._size = min(config.batch_size, len(rows))
        self._seed = seed
        self._columns = _constants(dataclasses.asdict(rows))
        self._user_table, self._item_table = _constants(users.table()), _constants(items.table())

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
        """The batch of these rows, as `Recommender.call` takes it."""
        return {
            "user": _rows(self._user_table, tf.gather(self._columns["user"], rows)),
            "item": _rows(self._item_table, tf.gather(self._columns["item"], rows)),
            "negative": _rows(self._item_table, negatives),
            "rating": tf.gather(self._columns["rating"], rows),
        }


def fit(
    model: Recommender,
    train: Interactions,
    validation: Interactions,
    users: Entities,
    items: Entities,
    config: Training,
    seed: int,
    log_dir: str | None = None,
) -> dict[str, list[float]]:
    """Trains until neither head's validation loss improves; leaves each head at its best.

    Args:
      model: the model, changed in place.
      train: rows to learn from.
      validation: rows to stop by.
      users: the users that `train` and `validation` point into.
      items: the items likewise.
      config: how to train.
      seed: of the order of rows and of the negatives.
      log_dir: where TensorBoard logs go; None: nowhere.

    Returns:
      Metric name (`val_…` for the validation split) -> one value per epoch.
    """
    batches = Batches(train, users, items, config, seed)
    held_out = Batches(validation, users, items, config, seed)
    model(held_out.gather(*(drawn[0] for drawn in held_out.draw(0))))  # makes the weights
    variables = model.trainable_variables
    optimizer = keras.optimizers.Adam(config.learning_rate)
    optimizer.build(variables)

    def train_step(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            losses = model(batch, training=True)
            total = sum(losses.values()) + sum(model.losses)
        optimizer.apply(tape.gradient(total, variables), variables)
        return losses

    train_epoch = _epoch(train_step, batches)
    validate = _epoch(lambda batch: model(batch, training=False), held_out)
    writer = tf.summary.create_file_writer(log_dir) if log_dir else tf.summary.create_noop_writer()
    best = _BestEpochs(model)
    history: dict[str, list[float]] = collections.defaultdict(list)
    for epoch in range(config.epochs):
        losses = train_epoch(tf.constant(epoch))
        losses |= {f"val_{name}": loss for name, loss in validate(tf.constant(0)).items()}
        with writer.as_default(step=epoch):
            for name, loss in losses.items():
                history[name].append(float(loss))
                tf.summary.scalar(name, loss)
        if best.update(epoch, history) >= config.patience:
            break
    writer.close()
    best.restore()
    return history


def _epoch(
    step: Callable[[dict[str, Any]], dict[str, tf.Tensor]], batches: Batches
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """A whole epoch as one compiled call: epoch number -> mean of what `step` returns.

    Keras' `fit` would call into TensorFlow at every step, or trace the step twice.
    """

    @tf.function(autograph=False)
    def run(epoch: tf.Tensor) -> dict[str, tf.Tensor]:
        rows, negatives = batches.draw(epoch)

        def body(number: tf.Tensor, totals: dict[str, tf.Tensor]) -> Any:
            losses = step(batches.gather(rows[number], negatives[number]))
            return number + 1, {name: totals[name] + losses[name] for name in totals}

        _, totals = tf.while_loop(
            lambda number, _: number < batches.steps,
            body,
            (0, dict.fromkeys(Recommender.LOSSES, 0.0)),
            parallel_iterations=1,
        )
        return {name: total / batches.steps for name, total in totals.items()}

    return run


class _BestEpochs:
    """Remembers each head at its own best epoch.

    The heads share no weights, so the epoch at which one overfits says nothing of the other.
    """

    def __init__(self, model: Recommender) -> None:
        self._heads = {
            "val_rating_loss": model.rating_head,
            "val_preference_loss": model.preference_head,
        }
        self._best: dict[str, tuple[float, int, list[np.ndarray]]] = {}

    def update(self, epoch: int, history: dict[str, list[float]]) -> int:
        """Copies each head that improved; returns for how many epochs none has."""
        for loss, head in self._heads.items():
            value = history[loss][-1]
            # Also true when the best so far is NaN.
            if loss not in self._best or not value >= self._best[loss][0]:
                self._best[loss] = (value, epoch, head.get_weights())
        return epoch - max(best_epoch for _, best_epoch, _ in self._best.values())

    def restore(self) -> None:
        """Puts each head back to its best epoch."""
        for loss, head in self._heads.items():
            head.set_weights(self._best[loss][2])


def _constants(table: Any) -> Any:
    return tf.nest.map_structure(tf.constant, table)


def _rows(table: Any, rows: tf.Tensor) -> Any:
    return tf.nest.map_structure(lambda column: tf.gather(column, rows), table)
