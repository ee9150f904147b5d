"""The `run_fn` of every Trainer node: read, fit, export."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from tfx_recommender.trainer import (
    ensemble,
    export,
    hybrid,
    hyperparameters,
    input_data,
    losses,
    matrix_factorization,
    multilayer_perceptron,
    stopwatch,
    training,
    two_stage,
    two_tower,
    warm_start,
    wide_deep,
)
from tfx_recommender.trainer.problem import Catalogue, Problem
from tfx_recommender.trainer.recommender import Recommender
from tfx_recommender.transform.features import Columns

ARCHITECTURES: dict[str, Any] = {
    "mf": matrix_factorization,
    "mlp": multilayer_perceptron,
    "hybrid": hybrid,
    "wide_deep": wide_deep,
    "two_tower": two_tower,
    "two_stage": two_stage,
}


def run_fn(fn_args: Any) -> None:
    """Trains one architecture and writes its SavedModel (called by TFX's Trainer).

    Args:
      fn_args: TFX's `FnArgs`. `train_files` is one pattern, the train split; `eval_files` are
        three: validation; test, of which only the ids are read, to be hidden from
        recommendations; and train_entities. `custom_config`: `architecture`, `rating` and
        `preference` (that architecture's hyperparameters for either head; of events `rating` is
        None), `ensemble` (how many members), `columns`, `oov_buckets`, `seed` and `card` (see
        `export`).
    """
    config = fn_args.custom_config
    seed = config["seed"]
    tf.config.experimental.enable_op_determinism()
    _, test_files, _ = fn_args.eval_files
    given = read(fn_args, config)
    columns, catalogue = given.columns, given.catalogue
    heads = hyperparameters.ARCHITECTURES[config["architecture"]]
    # Events teach no ratings: then nothing configures that head, and there is none.
    rating = heads.rating(**config["rating"]) if config["rating"] is not None else None
    preference = heads.preference(**config["preference"])
    problem = given.problem(hyperparameters.history(rating, preference), seed)
    # TFX gives a base model where the DAG names one.
    start = warm_start.Start(fn_args.base_model, catalogue) if fn_args.base_model else None
    with tf.summary.create_file_writer(fn_args.model_run_dir).as_default():
        model = fit(
            config["architecture"],
            rating,
            preference,
            problem,
            columns.rating_range,
            seed,
            config["ensemble"],
            start,
        )
    known = input_data.concatenate(
        given.train_rows, given.validation_rows, input_data.read(test_files)
    )
    export.export(
        fn_args.serving_model_dir,
        model,
        problem.catalogue,
        columns,
        given.transform,
        problem.train,
        known,
        card={"architecture": config["architecture"], **config["card"]},
    )


@dataclasses.dataclass(frozen=True)
class Input:
    """What a node has read.

    Attributes:
      columns: the column contract.
      transform: the transform graph.
      catalogue: users and items of the train split.
      train_rows: the train split.
      validation_rows: the validation split.
    """

    columns: Columns
    transform: tft.TFTransformOutput
    catalogue: Catalogue
    train_rows: input_data.Ratings
    validation_rows: input_data.Ratings

    def problem(self, history: int, seed: int) -> Problem:
        """What to fit, for heads that see so many of a user's ratings before."""
        train, validation = (
            input_data.interactions(rows, self.catalogue.users, self.catalogue.items)
            for rows in (self.train_rows, self.validation_rows)
        )
        return Problem(self.catalogue, train, validation, history, seed)


def read(fn_args: Any, config: dict[str, Any]) -> Input:
    """Reads the splits to learn from and to stop by, and the transform graph.

    Args:
      fn_args: TFX's `FnArgs`; of `eval_files` the first is validation, the last train_entities.
      config: `columns` and `oov_buckets`.
    """
    columns = Columns.from_dict(config["columns"])
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    (train_files,), (validation_files, *_, entity_files) = fn_args.train_files, fn_args.eval_files
    train_rows, validation_rows = (
        input_data.read(files, columns) for files in (train_files, validation_files)
    )
    catalogue = input_data.catalogue_of(entity_files, columns, transform, config["oov_buckets"])
    return Input(columns, transform, catalogue, train_rows, validation_rows)


def fit(
    architecture: str,
    rating: Any,
    preference: Any,
    problem: Problem,
    rating_range: tuple[float, float] | None,
    seed: int,
    members: int = 1,
    start: warm_start.Start | None = None,
) -> Recommender:
    """Builds and fits the heads of an architecture.

    Args:
      architecture: which, a key of `ARCHITECTURES`.
      rating: its rating head's hyperparameters (see `hyperparameters.ARCHITECTURES`); None: the
        problem is one of events, and there is no such head.
      preference: its preference head's.
      problem: what to fit.
      rating_range: smallest and largest rating of the scale; None likewise.
      seed: of everything random.
      members: how many models, each from a seed of its own, are averaged.
      start: the model to begin from; all members begin from it.
    """
    ratings, preferences = [], []
    for member in range(members):
        begin = start.of(member) if start else None
        with tf.name_scope(f"member_{member}"):  # of TensorBoard's scalars
            if rating is not None:
                with stopwatch.timed("fitted the rating head"):
                    ratings.append(fit_rating(architecture, rating, problem, seed + member, begin))
            with stopwatch.timed("fitted the ranking head"):
                preferences.append(
                    fit_preference(architecture, preference, problem, seed + member, begin)
                )
    if rating_range is None:
        return Recommender(None, ensemble.of(preferences))
    return Recommender(
        ensemble.of(ratings),
        ensemble.of(preferences),
        problem.rating_mean,
        problem.rating_scale,
        rating_range,
    )


def fit_rating(
    architecture: str, config: Any, problem: Problem, seed: int, start: Any = None
) -> losses.Head:
    """A fitted rating head, in units of the ratings' standard deviation (see `fit`)."""
    keras.utils.set_random_seed(seed)
    head = ARCHITECTURES[architecture].rating_head(config, problem, seed)
    if hasattr(config, "training"):
        loss = losses.SquaredError(head, problem.rating_mean, problem.rating_scale)
        begin = start and functools.partial(start, "rating")
        training.fit(loss, problem, config.training, seed, begin)
    return head


def fit_preference(
    architecture: str, config: Any, problem: Problem, seed: int, start: Any = None
) -> losses.Head:
    """A fitted preference head (see `fit`)."""
    if isinstance(config, hyperparameters.TwoStageRanking):
        candidates, ranking = (
            fit_preference(stage.architecture, stage, problem, seed, start)
            for stage in (config.candidates, config.ranking)
        )
        return two_stage.Head(candidates, ranking, config.number)
    keras.utils.set_random_seed(seed)
    head = ARCHITECTURES[architecture].preference_head(config, problem, seed)
    begin = start and functools.partial(start, "preference")
    training.fit(losses.ranking(head, config.training), problem, config.training, seed, begin)
    return head
