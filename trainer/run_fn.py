"""The `run_fn` of every Trainer node: read, fit, export."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypedDict

import tensorflow as tf
import tensorflow_transform as tft

from tfx_recommender.foundation import stopwatch
from tfx_recommender.foundation.settings import Settings
from tfx_recommender.trainer import export, input_data
from tfx_recommender.trainer.architectures import ensemble, model
from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
from tfx_recommender.trainer.fitting import warm_start
from tfx_recommender.trainer.fitting.fit import Fitter
from tfx_recommender.trainer.fitting.problem import Catalogue, Problem
from tfx_recommender.trainer.fitting.settings import history_length
from tfx_recommender.trainer.recommender import Recommender
from tfx_recommender.transform.features import Columns

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs


class DataConfig(TypedDict):
    """What the `custom_config` of Trainer and Tuner nodes says of the data.

    Attributes:
      columns: `Columns.to_dict`.
      oov_buckets: number of embeddings that ids out of vocabulary share.
      seed: of everything random.
    """

    columns: dict[str, object]
    oov_buckets: int
    seed: int


class TrainerConfig(DataConfig):
    """The `custom_config` of a Trainer node.

    Attributes:
      architecture: a key of `registry.ARCHITECTURES`.
      rating: settings of its rating head; None: the data are events.
      preference: settings of its ranking head.
      ensemble: number of models that are averaged, each from a seed of its own.
      card: what the exported model's card says beside the architecture.
    """

    architecture: str
    rating: dict[str, object] | None
    preference: dict[str, object]
    ensemble: int
    card: dict[str, object]


def run_fn(fn_args: FnArgs) -> None:
    """Trains one architecture and writes its SavedModel (called by TFX's Trainer).

    Args:
      fn_args: from TFX. `train_files` is one pattern, the train split; `eval_files` are
        three: validation; test, of which only ids are read, so that `recommend` hides them;
        and train_entities. `custom_config` is a `TrainerConfig`.
    """
    config: TrainerConfig = fn_args.custom_config
    seed = config["seed"]
    tf.config.experimental.enable_op_determinism()
    _, test_files, _ = fn_args.eval_files
    given = read(fn_args, config)
    columns, catalogue = given.columns, given.catalogue
    row = ARCHITECTURES[config["architecture"]]
    # Events have no ratings, and so no rating head and no settings for it.
    rating = row.rating.model_validate(config["rating"]) if config["rating"] is not None else None
    preference = row.preference.model_validate(config["preference"])
    problem = given.problem(history_length(rating, preference), seed)
    # The DAG names a base model only for a warm start.
    start = warm_start.Start(fn_args.base_model, catalogue) if fn_args.base_model else None
    with tf.summary.create_file_writer(fn_args.model_run_dir).as_default():
        fitted = fit(
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
        fitted,
        problem.catalogue,
        columns,
        given.transform,
        problem.train,
        known,
        card={"architecture": config["architecture"], **config["card"]},
    )


@dataclasses.dataclass(frozen=True)
class Input:
    """The input of a Trainer or Tuner node.

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
    train_rows: input_data.SplitRows
    validation_rows: input_data.SplitRows

    def problem(self, history: int, seed: int) -> Problem:
        """What to fit.

        Args:
          history: number of a user's most recent ratings that heads use.
          seed: of everything random.
        """
        train, validation = (
            input_data.interactions(rows, self.catalogue.users, self.catalogue.items)
            for rows in (self.train_rows, self.validation_rows)
        )
        return Problem(self.catalogue, train, validation, history, seed)


def read(fn_args: FnArgs, config: DataConfig) -> Input:
    """Reads the train and validation splits and the transform graph.

    Args:
      fn_args: from TFX; of `eval_files` the first is validation, the last train_entities.
      config: says what the columns are.
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
    rating: Settings | None,
    preference: Settings,
    problem: Problem,
    rating_range: tuple[float, float] | None,
    seed: int,
    members: int = 1,
    start: warm_start.Start | None = None,
) -> Recommender:
    """Builds and fits the heads of an architecture.

    Args:
      architecture: a key of `registry.ARCHITECTURES`.
      rating: settings of its rating head; None for events.
      preference: settings of its ranking head.
      problem: what to fit.
      rating_range: smallest and largest rating of the scale; None for events.
      seed: of everything random.
      members: number of models that are averaged, each from a seed of its own.
      start: the served model's weights; None: training starts cold.
    """
    ratings, preferences = [], []
    for member in range(members):
        fitter = Fitter(seed + member, start.of(member) if start else None)
        with tf.name_scope(f"member_{member}"):  # of TensorBoard's scalars
            if rating is not None:
                with stopwatch.timed("fitted the rating head"):
                    ratings.append(model.fit_rating(architecture, rating, problem, fitter))
            with stopwatch.timed("fitted the ranking head"):
                preferences.append(model.fit_preference(architecture, preference, problem, fitter))
    if rating_range is None:
        return Recommender(None, ensemble.of(preferences))
    return Recommender(
        ensemble.of(ratings),
        ensemble.of(preferences),
        problem.rating_mean,
        problem.rating_scale,
        rating_range,
    )
