"""The `tuner_fn` of a Tuner node: tries hyperparameters of one head on the validation split."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Literal

import keras_tuner
import tensorflow as tf
from tfx.components.tuner.component import TunerFnResult

from tfx_recommender.trainer import run_fn
from tfx_recommender.trainer.architectures import model
from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
from tfx_recommender.trainer.fitting import validation
from tfx_recommender.trainer.fitting.fit import Fitter
from tfx_recommender.trainer.fitting.settings import history_length
from tfx_recommender.trainer.search_space import Range, nested

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs


class TunerConfig(run_fn.DataConfig):
    """The `custom_config` of a Tuner node.

    Attributes:
      architecture: a key of `registry.ARCHITECTURES`.
      head: which of its heads is tuned.
      settings: of that head, where nothing else is tried.
      ranges: hyperparameter (dots lead into its parts) -> `search_space.Range` as a dict.
      trials: number of trials.
      k: of the NDCG@k by which ranking heads are judged.
    """

    architecture: str
    head: Literal["rating", "preference"]
    settings: dict[str, object]
    ranges: dict[str, dict[str, object]]
    trials: int
    k: int


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """The search that TFX's Tuner runs.

    Args:
      fn_args: from TFX; `train_files` is the train split, `eval_files` are validation and
        train_entities. `custom_config` is a `TunerConfig`.
    """
    config: TunerConfig = fn_args.custom_config
    tf.config.experimental.enable_op_determinism()
    return TunerFnResult(tuner=_Search(fn_args, config), fit_kwargs={})


class _Search(keras_tuner.Tuner):
    """Fits the head once per trial; the lowest RMSE, or the highest NDCG, is best."""

    def __init__(self, fn_args: FnArgs, config: TunerConfig) -> None:
        self.config = config
        self.settings = getattr(ARCHITECTURES[config["architecture"]], config["head"])
        self.given = run_fn.read(fn_args, config)
        space = keras_tuner.HyperParameters()
        for name, tried in config["ranges"].items():
            _declare(space, name, Range.model_validate(tried))
        objective = (
            keras_tuner.Objective("rmse", "min")
            if config["head"] == "rating"
            else keras_tuner.Objective("ndcg", "max")
        )
        oracle = keras_tuner.oracles.BayesianOptimizationOracle(
            objective=objective,
            max_trials=config["trials"],
            hyperparameters=space,
            tune_new_entries=False,
            seed=config["seed"],
        )
        super().__init__(
            oracle=oracle,
            hypermodel=lambda _: None,
            directory=fn_args.working_dir or tempfile.mkdtemp(),
            project_name="tuning",
            overwrite=True,
        )

    def run_trial(
        self, trial: keras_tuner.engine.trial.Trial, **kwargs: object
    ) -> dict[str, float]:
        """Fits the head with the trial's hyperparameters; returns its validation metric."""
        config, seed = self.config, self.config["seed"]
        values = nested(trial.hyperparameters.values, config["settings"])
        settings = self.settings.model_validate(values)
        problem = self.given.problem(history_length(settings), seed)
        if config["head"] == "rating":
            scale = self.given.columns.rating_range
            assert scale is not None, "events have no rating head"
            head = model.fit_rating(config["architecture"], settings, problem, Fitter(seed))
            return {"rmse": validation.rmse(head, problem, scale)}
        head = model.fit_preference(config["architecture"], settings, problem, Fitter(seed))
        return {"ndcg": validation.ndcg(head, problem, config["k"])}


def _declare(space: keras_tuner.HyperParameters, name: str, tried: Range) -> None:
    if tried.choice is not None:
        space.Choice(name, list(tried.choice))
    elif tried.integer is not None:
        space.Int(name, *tried.integer)
    elif tried.linear is not None:
        space.Float(name, *tried.linear)
    elif tried.log is not None:
        space.Float(name, *tried.log, sampling="log")
