"""The `run_fn` of every Trainer node: read, fit, export."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from tfx_recommender.trainer import (
    export,
    hybrid,
    hyperparameters,
    input_data,
    losses,
    matrix_factorization,
    multilayer_perceptron,
    training,
)
from tfx_recommender.trainer.problem import Problem
from tfx_recommender.trainer.recommender import Recommender
from tfx_recommender.transform.features import Columns

ARCHITECTURES = {
    "mf": matrix_factorization,
    "mlp": multilayer_perceptron,
    "hybrid": hybrid,
}


def run_fn(fn_args: Any) -> None:
    """Trains one architecture and writes its SavedModel (called by TFX's Trainer).

    Args:
      fn_args: TFX's `FnArgs`. `train_files` is one pattern, the train split; `eval_files` are
        two: validation, and test, of which only the ids are read, to be hidden from
        recommendations. `custom_config`: `architecture`, `rating` and `preference` (that
        architecture's hyperparameters for either head), `training`, `columns`, `oov_buckets`,
        `seed` and `card` (see `export`).
    """
    config = fn_args.custom_config
    seed = config["seed"]
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()

    columns = Columns.from_dict(config["columns"])
    transform = tft.TFTransformOutput(fn_args.transform_output)
    (train_files,), (validation_files, test_files) = fn_args.train_files, fn_args.eval_files
    train_rows, validation_rows = (
        input_data.read(files, columns.has_timestamp) for files in (train_files, validation_files)
    )
    catalogue = input_data.catalogue_of(
        train_files, train_rows, columns, transform, config["oov_buckets"]
    )
    how = hyperparameters.Training(**config["training"])
    train, validation = (
        input_data.interactions(rows, catalogue.users, catalogue.items)
        for rows in (train_rows, validation_rows)
    )
    problem = Problem(catalogue, train, validation, how.history, seed)
    with tf.summary.create_file_writer(fn_args.model_run_dir).as_default():
        model = fit(config, how, problem, columns)
    known = input_data.concatenate(train_rows, validation_rows, input_data.read(test_files))
    export.export(
        fn_args.serving_model_dir,
        model,
        problem.catalogue,
        columns,
        transform,
        train,
        known,
        card={"architecture": config["architecture"], **config["card"]},
    )


def fit(
    config: dict[str, Any], how: hyperparameters.Training, problem: Problem, columns: Columns
) -> Recommender:
    """Builds and fits both heads of the configured architecture (see `run_fn`)."""
    name, seed = config["architecture"], config["seed"]
    architecture: Any = ARCHITECTURES[name]
    settings = hyperparameters.ARCHITECTURES[name]
    rating = architecture.rating_head(settings.rating(**config["rating"]), problem, seed)
    preference = architecture.preference_head(
        settings.preference(**config["preference"]), problem, seed
    )
    mean, scale = problem.rating_mean, problem.rating_scale
    softmax = losses.Softmax(preference, sampled=how.negatives is not None)
    for loss in (losses.SquaredError(rating, mean, scale), softmax):
        training.fit(loss, problem, how, seed)
    return Recommender(rating, preference, mean, scale, (columns.rating_min, columns.rating_max))
