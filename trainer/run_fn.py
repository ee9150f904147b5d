"""The `run_fn` of every Trainer node: read, fit, export."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from tfx_recommender.trainer import (
    export,
    hybrid,
    hyperparameters,
    input_data,
    matrix_factorization,
    multilayer_perceptron,
    training,
)
from tfx_recommender.trainer.input_data import Catalogue
from tfx_recommender.trainer.recommender import Recommender
from tfx_recommender.trainer.training import Interactions
from tfx_recommender.transform.features import Columns

HEADS = {
    "mf": matrix_factorization.Head,
    "mlp": multilayer_perceptron.Head,
    "hybrid": hybrid.Head,
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
    train_rows, validation_rows = map(input_data.read, (train_files, validation_files))
    catalogue = input_data.catalogue_of(
        train_files, train_rows, columns, transform, config["oov_buckets"]
    )
    train = input_data.interactions(train_rows, catalogue.users, catalogue.items)
    validation = input_data.interactions(validation_rows, catalogue.users, catalogue.items)

    model = build(config, catalogue, train, columns)
    training.fit(
        model,
        train,
        validation,
        catalogue.users,
        catalogue.items,
        hyperparameters.Training(**config["training"]),
        seed,
        log_dir=fn_args.model_run_dir,
    )
    known = input_data.concatenate(train_rows, validation_rows, input_data.read(test_files))
    export.export(
        fn_args.serving_model_dir,
        model,
        catalogue,
        columns,
        transform,
        train,
        known,
        card={"architecture": config["architecture"], **config["card"]},
    )


def build(
    config: dict[str, Any], catalogue: Catalogue, train: Interactions, columns: Columns
) -> Recommender:
    """A fresh recommender of the configured architecture, one head for each task."""
    settings = hyperparameters.ARCHITECTURES[config["architecture"]]
    head: Any = HEADS[config["architecture"]]
    shapes = (catalogue.user_shape, catalogue.item_shape)
    return Recommender(
        rating=head(settings(**config["rating"]), *shapes),
        preference=head(settings(**config["preference"]), *shapes),
        rating_mean=float(train.rating.mean(dtype=np.float64)),
        rating_scale=float(train.rating.std(dtype=np.float64)) or 1.0,
        rating_range=(columns.rating_min, columns.rating_max),
    )
