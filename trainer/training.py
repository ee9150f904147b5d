"""Fits a recommender: batches from columns in memory, early stopping head by head."""

from __future__ import annotations

import dataclasses
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


def batches(
    rows: Interactions,
    users: Entities,
    items: Entities,
    config: Training,
    seed: int,
    epochs: int,
) -> tuple[tf.data.Dataset, int]:
    """Shuffled batches with fresh negatives, for so many epochs, and the steps in each.

    The order of rows and the negatives are functions of the seed, the epoch and the step. Rows
    that fill no whole batch are left out of that epoch; every epoch leaves out others.
    """
    size = min(config.batch_size, len(rows))
    steps = len(rows) // size
    user_table, item_table = _constants(users.table()), _constants(items.table())
    columns = _constants(dataclasses.asdict(rows))

    def epoch_of_rows(epoch: tf.Tensor) -> tf.data.Dataset:
        seeds = tf.stack([seed, tf.cast(epoch, tf.int32)])
        order = tf.random.experimental.stateless_shuffle(tf.range(len(rows)), seeds)
        chosen = tf.reshape(order[: steps * size], [steps, size])
        negatives = tf.random.stateless_uniform(
            [steps, config.negatives], seeds, maxval=len(items), dtype=tf.int32
        )
        return tf.data.Dataset.from_tensor_slices((chosen, negatives))

    def gather(chosen: tf.Tensor, negatives: tf.Tensor) -> dict[str, Any]:
        return {
            "user": _rows(user_table, tf.gather(columns["user"], chosen)),
            "item": _rows(item_table, tf.gather(columns["item"], chosen)),
            "negative": _rows(item_table, negatives),
            "rating": tf.gather(columns["rating"], chosen),
        }

    dataset = tf.data.Dataset.range(epochs).flat_map(epoch_of_rows).map(gather)
    return dataset.prefetch(4), steps


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
      Keras' history: metric name -> one value per epoch.
    """
    dataset, steps = batches(train, users, items, config, seed, config.epochs)
    held_out, held_out_steps = batches(validation, users, items, config, seed, 1)
    model.compile(optimizer=keras.optimizers.Adam(config.learning_rate), steps_per_execution=steps)
    callbacks: list[keras.callbacks.Callback] = [HeadwiseEarlyStopping(config.patience)]
    if log_dir:
        callbacks.append(keras.callbacks.TensorBoard(log_dir))
    history = model.fit(
        dataset,
        epochs=config.epochs,
        steps_per_epoch=steps,
        validation_data=held_out.cache(),
        validation_steps=held_out_steps,
        callbacks=callbacks,
        verbose=0,
    )
    return history.history


class HeadwiseEarlyStopping(keras.callbacks.Callback):
    """Stops when no head improves any more, and puts each head back to its own best epoch.

    The heads share no weights, so the epoch at which one overfits says nothing of the other.
    """

    def __init__(self, patience: int) -> None:
        super().__init__()
        self.patience = patience
        self.best: dict[str, tuple[float, int, list[np.ndarray]]] = {}

    def _heads(self) -> dict[str, keras.layers.Layer]:
        return {
            "val_rating_loss": self.model.rating_head,
            "val_preference_loss": self.model.preference_head,
        }

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keeps a copy of each head that improved."""
        for loss, head in self._heads().items():
            value = (logs or {})[loss]
            # Also true when the best so far is NaN.
            if loss not in self.best or not value >= self.best[loss][0]:
                self.best[loss] = (value, epoch, head.get_weights())
        if all(epoch - best_epoch >= self.patience for _, best_epoch, _ in self.best.values()):
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Restores the copies."""
        for loss, head in self._heads().items():
            head.set_weights(self.best[loss][2])


def _constants(table: Any) -> Any:
    return tf.nest.map_structure(tf.constant, table)


def _rows(table: Any, rows: tf.Tensor) -> Any:
    return tf.nest.map_structure(lambda column: tf.gather(column, rows), table)
