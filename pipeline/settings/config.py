"""The one config: every setting, its meaning, range and default.

Neither TFX nor TensorFlow is imported: a wrong config is answered at once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, create_model, model_validator

from tfx_recommender.components.evaluator import catalogue
from tfx_recommender.components.ratings_example_gen.config import Data, Split
from tfx_recommender.foundation.errors import ConfigError
from tfx_recommender.foundation.settings import Settings
from tfx_recommender.pipeline.settings.beam import Beam
from tfx_recommender.pipeline.settings.kubeflow import Kubeflow
from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
from tfx_recommender.trainer.search_space import SearchSpace

Rating = TypeVar("Rating", bound=BaseModel)
Preference = TypeVar("Preference", bound=BaseModel)


class ModelSettings(Settings, Generic[Rating, Preference]):
    """One architecture: hyperparameters of its two heads."""

    rating: Rating | None
    """The head that predicts ratings; with events there is none."""
    preference: Preference
    """The head that ranks."""
    ensemble: Annotated[int, Field(ge=1)] = 1
    """Number of models, each from its own seed, that are averaged inside one SavedModel."""


class _Models(Settings):
    """The architectures to train; the best blessed one is pushed."""

    @model_validator(mode="after")
    def _check(self) -> _Models:
        if not self.chosen():
            raise ValueError(f"name at least one of {', '.join(ARCHITECTURES)}")
        return self

    def chosen(self) -> dict[str, ModelSettings[Any, Any]]:
        """Architecture -> its settings, for those that are to be trained."""
        named = {name: getattr(self, name) for name in ARCHITECTURES}
        return {name: model for name, model in named.items() if model is not None}


if TYPE_CHECKING:
    Models = _Models
else:
    Models = create_model(
        "Models",
        __doc__=_Models.__doc__,
        __base__=_Models,
        __module__=__name__,
        **{
            name: (
                ModelSettings[row.rating, row.preference] | None,
                Field(None, description=row.summary),
            )
            for name, row in ARCHITECTURES.items()
        },
    )


def node_id(kind: str, architecture: str) -> str:
    """The id of an architecture's node; Kubernetes takes no underscores."""
    return f"{kind}-{architecture.replace('_', '-')}"


def tuner_id(architecture: str, head: str) -> str:
    """The id of the node that searches a head's hyperparameters."""
    return f"{node_id('Tuner', architecture)}-{head}"


class Vocabulary(Settings):
    """Which ids get an embedding of their own."""

    min_count: Annotated[int, Field(ge=1)] = 1
    """Smallest number of train ratings with which an id is in the vocabulary."""
    max_size: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of ids, the most frequent ones; null: no bound."""
    oov_buckets: Annotated[int, Field(ge=1)] = 1
    """Number of embeddings that ids out of vocabulary share, by hash."""


class RmseBound(Settings):
    """What an RMSE must be."""

    max: Annotated[float, Field(gt=0)]
    """Largest RMSE that may be pushed."""


Policy = Literal["better", "not_worse"]


class Comparison(Settings):
    """How a model must compare with the served one, row by row on the same test rows."""

    policy: Policy | None = "better"
    """better: the lower confidence bound of the improvement must reach `min_improvement`;
    not_worse: it must reach -`margin`, against the served model and against the last model that was
    proved better; null: no comparison."""
    min_improvement: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0001
    """Required improvement on the served model, in the unit of the metric."""
    margin: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    """not_worse: largest loss that may be pushed. With either policy, the difference for which the
    number of test rows that would decide is computed."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Confidence that no push breaks the policy, for all models of all nights from one push to the
    next together."""


class RmseGate(RmseBound, Comparison):
    """What a model's RMSE must be, and how far below the served model's."""


class HitRateGate(Comparison):
    """What a model's HitRate@K must be, and how far above the served model's."""

    min: Annotated[float, Field(ge=0, lt=1)]
    """Smallest HitRate@K that may be pushed."""
    min_improvement: Annotated[float, Field(ge=0, lt=1)] = 0.0001
    """Required improvement on the served model."""


class Bounds(Settings):
    """What a metric must be: one bound or both."""

    min: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Smallest value that may be pushed."""
    max: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Largest value that may be pushed."""

    @model_validator(mode="after")
    def _check(self) -> Bounds:
        if self.min is None and self.max is None and getattr(self, "policy", None) is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max, so nothing could be pushed")
        return self


class ShareBounds(Bounds):
    """What a metric between 0 and 1 must be: one bound or both."""

    min: Annotated[float, Field(ge=0, le=1)] | None = None
    """Smallest value that may be pushed."""
    max: Annotated[float, Field(ge=0, le=1)] | None = None
    """Largest value that may be pushed."""


class _MayCompare(Comparison):
    """Bounds that may have a policy too."""

    policy: Policy | None = None
    """better or not_worse, as for RMSE and HitRate@K; null: bounds only, no comparison."""

    @model_validator(mode="after")
    def _check_policy(self) -> _MayCompare:
        for name, field in Comparison.model_fields.items():
            if self.policy is None and name != "policy" and getattr(self, name) != field.default:
                raise ValueError(f"{name}: needs a policy, better or not_worse")
        return self


class ComparedBounds(_MayCompare, Bounds):
    """What a metric must be: one bound, both, or none if there is a policy."""


class ComparedShareBounds(_MayCompare, ShareBounds):
    """What a metric between 0 and 1 must be: one bound, both, or none if there is a policy."""


class Gates(Settings):
    """A model must pass every gate that is given; each can stop it alone."""

    rmse: RmseGate | None = None
    """RMSE; required with ratings."""
    hit_rate: HitRateGate
    """HitRate@K."""
    mae: ComparedBounds | None = None
    """Mean absolute error of ratings."""
    rating_bias: Bounds | None = None
    """Mean predicted less mean actual rating."""
    calibration_slope: Bounds | None = None
    """Slope of the actual on the predicted rating."""
    expected_calibration_error: Bounds | None = None
    """Mean distance of predicted and actual rating over deciles of the prediction."""
    rmse_by_user_activity_decile: RmseBound | None = None
    """RMSE in the worst decile of test rows by how many training ratings the user has."""
    rmse_by_item_popularity_decile: RmseBound | None = None
    """RMSE in the worst decile of test rows by how many training ratings the item has."""
    ndcg: ComparedShareBounds | None = None
    """NDCG@K."""
    coverage: ShareBounds | None = None
    """Share of the catalogue among the first K items of all users."""
    gini: ShareBounds | None = None
    """Gini coefficient of how often items are recommended: 0 all equally, 1 always the same one."""

    @model_validator(mode="after")
    def _check(self) -> Gates:
        gates = self.compared().values()
        if not gates:
            raise ValueError("one gate must have a policy, or the served model counts for nothing")
        asked = [gate.min_improvement for gate in gates if gate.policy == "better"]
        if asked and not any(asked):
            raise ValueError(
                "one min_improvement must be above 0, or the served model would beat itself"
            )
        return self

    def compared(self) -> dict[str, Comparison]:
        """Metric -> its gate, of those that compare with the served model."""
        gates = {name: getattr(self, name) for name in Gates.model_fields}
        return {
            name: gate
            for name, gate in gates.items()
            if isinstance(gate, Comparison) and gate.policy is not None
        }


def _selectable(metric: str) -> str:
    """A metric that models are compared by."""
    known = [name for name, row in catalogue.METRICS.items() if row.is_compared]
    if metric not in known:
        raise ValueError(f"choose one of {', '.join(known)}")
    return metric


class Evaluation(Settings):
    """How models are compared on the test split."""

    gates: Gates
    """The gates that a model must pass."""
    at_least_rows: Annotated[int, Field(ge=2)] = 300
    """Minimum number of test rows for a comparison; with fewer nothing is pushed."""
    k: Annotated[int, Field(ge=1, lt=2**31)] = 10
    """K of HitRate@K, NDCG@K and the lists behind coverage and Gini."""
    relevance_threshold: float | None = None
    """Smallest rating of a test item that counts for rankings; null: all count. Not for events."""
    ranked_users: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of users whose test items are ranked: a random sample, the same for both
    models; null: all. With a sample, `min` of HitRate@K and NDCG@K uses the lower confidence
    bound."""
    slices: tuple[str, ...] = ()
    """Categorical features; metrics are reported for each value, and a slice without a number
    blocks."""
    select_by: Annotated[str, AfterValidator(_selectable)] = "hit_rate"
    """The metric that picks one of several blessed models."""


class Config(Settings):
    """Everything about one pipeline. Relative paths start at the working directory."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,127}$")]
    """The pipeline's name: small letters, digits and hyphens."""
    root: Annotated[str, Field(min_length=1)]
    """The pipeline root: artifacts, metadata store, log and summary."""
    serving_root: Annotated[str, Field(min_length=1)]
    """A folder, to which models are pushed as `<serving_root>/<name>/<version>/`, or a place in a
    bucket (s3://bucket/prefix, gs://bucket/prefix; see `components/serving/bucket.py`)."""
    data: Data
    """The ratings, or events, users and items."""
    split: Split
    """What is held out for validation and test."""
    vocabulary: Vocabulary = Vocabulary()
    """Which ids get an embedding of their own."""
    models: Models
    """What to train."""
    evaluation: Evaluation
    """How to compare, and what may be pushed."""
    warm_start: bool = False
    """Whether training starts from the served model's weights, matched by id. A push then causes
    new training. Sampled parts always start cold."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 42
    """Seed of everything random."""
    parallel_nodes: Annotated[int, Field(ge=1)] = 2
    """Maximum number of nodes of a local run that work at once; each has its own memory."""
    threads_per_node: Annotated[int, Field(ge=1)] | None = None
    """TensorFlow's threads in each node of a local run. Null: the machine's processors divided by
    `parallel_nodes`. Results depend on it in the last digits, so another number trains anew."""
    beam: Beam = Beam()
    """Where StatisticsGen, Transform and Evaluators compute."""
    kubeflow: Kubeflow | None = None
    """How the steps run on a cluster; local runs do not use it."""

    @model_validator(mode="before")
    @classmethod
    def _default_heads(cls, value: Any) -> Any:
        """A model that says nothing of a head has it with its defaults, if there is one."""
        if not isinstance(value, dict) or not isinstance(value.get("models"), dict):
            return value
        data = value.get("data")
        is_implicit = isinstance(data, dict) and data.get("events") is not None
        heads: dict[str, Any] = {"rating": None if is_implicit else {}, "preference": {}}
        models = {
            name: heads | model if isinstance(model, dict) else model
            for name, model in value["models"].items()
        }
        return value | {"models": models}

    @model_validator(mode="after")
    def _check(self) -> Config:
        sliceable = [f.name for f in self.data.columns().features if f.kind != "numeric"]
        for name in self.evaluation.slices:
            if name not in sliceable:
                known = ", ".join(sliceable) or "there are none"
                raise ValueError(f"evaluation.slices: no category feature {name!r}; known: {known}")
        if self.data.ratings is None:
            self._check_events()
        else:
            self._check_ratings(*self.data.ratings.rating_range)
        if self.split.strategy != "random" and self.data.interactions.timestamp is None:
            kind = "events" if self.data.ratings is None else "ratings"
            raise ValueError(
                f"split.strategy: {self.split.strategy} needs data.{kind}.timestamp;"
                " choose random or name the column"
            )
        return self

    def _check_ratings(self, low: float, high: float) -> None:
        for name, model in self.models.chosen().items():
            if model.rating is None:
                raise ValueError(f"models.{name}.rating: is null; leave it out for the defaults")
        gate, threshold = self.evaluation.gates.rmse, self.evaluation.relevance_threshold
        if gate is None:
            raise ValueError("evaluation.gates.rmse: is missing")
        if gate.max > high - low:
            raise ValueError(
                f"evaluation.gates.rmse.max: no model can miss by more than {high - low:g},"
                " the width of rating_range, so this gate stops nothing; lower it"
            )
        if threshold is not None and threshold > high:
            raise ValueError(
                f"evaluation.relevance_threshold: {threshold:g} is above every rating ({high:g})"
            )

    def _check_events(self) -> None:
        given = self.evaluation
        asked: dict[str, Any] = {
            f"evaluation.gates.{name}": getattr(given.gates, name) for name in _gates_of_ratings()
        }
        asked["evaluation.relevance_threshold"] = given.relevance_threshold
        for name, model in self.models.chosen().items():
            asked[f"models.{name}.rating"] = model.rating
        for key, value in asked.items():
            if value is not None:
                raise ValueError(f"{key}: is about ratings, and data.events have none; remove it")
        if given.select_by not in [metric.name for metric in self.metrics()]:
            raise ValueError(
                f"evaluation.select_by: {given.select_by} is about ratings, and data.events have"
                " none; choose hit_rate or ndcg"
            )

    @property
    def serving_directory(self) -> str:
        """Where versions are pushed to: a folder, or a URL."""
        return os.path.join(self.serving_root, self.name)

    @property
    def threads(self) -> int:
        """TensorFlow's threads in each node of a local run on this machine."""
        share = len(os.sched_getaffinity(0)) // self.parallel_nodes
        return self.threads_per_node or max(1, share)

    def tuned_heads(self, space: SearchSpace) -> list[tuple[str, str]]:
        """(architecture, head) of whatever is both configured and in the search space.

        Raises:
          ConfigError: there is nothing of the kind.
        """
        chosen = self.models.chosen()
        tuned = [
            (name, head)
            for name, heads in space.root.items()
            for head in heads
            if getattr(chosen.get(name), head, None) is not None
        ]
        if not tuned:
            known = ", ".join(f"{name}.{head}" for name, of in space.root.items() for head in of)
            raise ConfigError(
                f"models: the search space knows {known}, none of which is configured"
            )
        return tuned

    @property
    def relevance_threshold(self) -> float:
        """The smallest relevant rating; without a threshold the smallest of the scale.

        Of events 0, which every strength reaches.
        """
        threshold = self.evaluation.relevance_threshold
        if threshold is None:
            threshold = 0.0 if self.data.ratings is None else self.data.ratings.rating_range[0]
        return threshold

    def metrics(self) -> list[catalogue.Metric]:
        """The metrics that the data allow, in the order of the catalogue."""
        return catalogue.available(has_ratings=self.data.ratings is not None)

    @property
    def select_by(self) -> catalogue.Metric:
        """The metric that picks one of several blessed models."""
        return catalogue.METRICS[self.evaluation.select_by]


def _gates_of_ratings() -> list[str]:
    """The gates on what only ratings can be measured by."""
    kinds = catalogue.METRICS.items()
    of_ratings = [name for name, row in kinds if isinstance(row, catalogue.RatingMetric)]
    by_decile = [name for name in Gates.model_fields if name.startswith("rmse_by_")]
    return [name for name in Gates.model_fields if name in (*of_ratings, *by_decile)]
