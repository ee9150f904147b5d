"""Fits heads: an epoch is one TensorFlow call; training stops early by the validation split."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TypeVar

import keras
import numpy as np
import tensorflow as tf

from tfx_recommender.trainer.fitting import losses
from tfx_recommender.trainer.fitting.batches import Batch, Batches
from tfx_recommender.trainer.fitting.head import Head, Tensor
from tfx_recommender.trainer.fitting.losses import Loss
from tfx_recommender.trainer.fitting.problem import Problem
from tfx_recommender.trainer.fitting.settings import RankingTraining, Training
from tfx_recommender.trainer.fitting.warm_start import HeadName, SetStart

AnyHead = TypeVar("AnyHead", bound=Head)


class Fitter:
    """Trains the heads of an architecture.

    Attributes:
      seed: of everything random.
      start: sets a head's weights to what training starts from; None: training starts cold.
      losses: the loss of each head that was trained, in order.
      curves: for each of these, training and validation loss of each epoch.
    """

    def __init__(self, seed: int, start: SetStart | None = None) -> None:
        self.seed, self.start = seed, start
        self.losses: list[Loss] = []
        self.curves: list[list[tuple[float, float]]] = []

    def set_random_seed(self) -> None:
        """Makes what Keras draws from now on depend on the seed only."""
        keras.utils.set_random_seed(self.seed)

    def rating(self, head: AnyHead, problem: Problem, training: Training) -> AnyHead:
        """Trains a head on the squared error of ratings; returns it."""
        loss = losses.SquaredError(head, problem.rating_mean, problem.rating_scale)
        return self._fit(head, loss, problem, training, "rating")

    def preference(self, head: AnyHead, problem: Problem, training: RankingTraining) -> AnyHead:
        """Trains a head on the ranking loss that `training` names; returns it."""
        return self._fit(head, losses.ranking(head, training), problem, training, "preference")

    def _fit(
        self, head: AnyHead, loss: Loss, problem: Problem, training: Training, which: HeadName
    ) -> AnyHead:
        start = self.start and functools.partial(self.start, which)
        self.losses.append(loss)
        self.curves.append(fit(loss, problem, training, self.seed, start))
        return head


class Untrained(Fitter):
    """Does not train: heads stay as they were made. For tests and benchmarks."""

    def _fit(
        self, head: AnyHead, loss: Loss, problem: Problem, training: Training, which: HeadName
    ) -> AnyHead:
        self.losses.append(loss)
        return head


def fit(
    loss: Loss,
    problem: Problem,
    config: Training,
    seed: int,
    start: Callable[[Sequence[Tensor]], object] | None = None,
) -> list[tuple[float, float]]:
    """Trains the weights of a loss until validation stops improving; restores the best ones.

    Both losses of each epoch go to TensorFlow's default summary writer, if there is one.

    Args:
      loss: one of `losses`, whose weights are changed in place. Without trainable weights
        nothing happens.
      problem: what to fit. Without validation rows all epochs are run.
      config: how to train.
      seed: of the order of rows and of the negatives.
      start: sets the weights that training starts from; None: it starts cold.

    Returns:
      Training and validation loss of each epoch; NaN for the latter without validation rows.
    """
    train, validation = problem.train, problem.validation
    batches = Batches(train, problem, config, loss.by_user, seed)
    examples, negatives = batches.draw(0)
    loss(batches.gather(examples[0, :1], negatives[0]))  # makes the weights
    variables = loss.trainable_variables
    if not variables:
        return []
    if start is not None:
        start(variables)
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(config.learning_rate, batches.steps * config.epochs)
    )
    optimizer.build(variables)

    def train_step(batch: Batch) -> Tensor:
        with tf.GradientTape() as tape:
            value = loss(batch, training=True)
            total = value + sum(loss.losses)
        gradients = tape.gradient(total, variables)
        # Adam is slower on sparse gradients: it sums them over the whole table twice.
        dense = [None if one is None else tf.convert_to_tensor(one) for one in gradients]
        optimizer.apply(dense, variables)
        return value

    train_epoch, validate = _epoch(train_step, batches), lambda _: np.nan
    if len(validation):
        # Small batches: each has its own negatives, and few batches would make the loss noisy.
        small = {"batch_size": max(1, min(config.batch_size, len(validation) // 16))}
        held_out = Batches(validation, problem, config.model_copy(update=small), loss.by_user, seed)
        validate = _epoch(lambda batch: loss(batch, training=False), held_out)
    history: list[tuple[float, float]] = []
    best, best_epoch, best_weights = float(validate(0)), -1, loss.get_weights()
    for epoch in range(config.epochs):
        history.append((float(train_epoch(epoch)), float(validate(0))))
        for name, value in zip((loss.name, f"val_{loss.name}"), history[-1], strict=True):
            tf.summary.scalar(name, value, step=epoch)
        if not len(validation):
            continue
        if history[-1][1] < best:
            best, best_epoch, best_weights = history[-1][1], epoch, loss.get_weights()
        if epoch - best_epoch >= config.patience:
            break
    if len(validation):
        loss.set_weights(best_weights)
    return history


def _epoch(step: Callable[[Batch], Tensor], batches: Batches) -> Callable[[int], Tensor]:
    """A whole epoch as one compiled call: epoch number -> mean of the values of `step`.

    Keras' `fit` would call into TensorFlow at every step, or trace the step twice.
    """

    @tf.function(autograph=False)
    def run(epoch: Tensor) -> Tensor:
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
