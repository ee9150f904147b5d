"""The one config: a YAML file and `--set` overrides become one frozen, checked object.

Only this module reads config files. It imports neither TFX nor TensorFlow: a wrong config is
answered at once.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Generic, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tfx_recommender.components.errors import ConfigError
from tfx_recommender.components.ratings_example_gen.config import Data, Split
from tfx_recommender.pipeline.kubeflow_section import Kubeflow
from tfx_recommender.trainer.hyperparameters import (
    ARCHITECTURES,
    BayesianFactorization,
    HybridRating,
    MatrixFactorization,
    MultilayerRanking,
    MultilayerRating,
    TowersRanking,
    TowersRating,
    TwoStageRanking,
    WideAndDeepRanking,
    WideAndDeepRating,
)
from tfx_recommender.trainer.search_space import SearchSpace

SEARCH_SPACE = os.path.join(os.path.dirname(__file__), "search-space.yaml")
"""What `tune` tries unless told otherwise."""

# A prefix in a bucket, with nothing in it that a client may rewrite (`..`, `//`, `%`, `?`).
_BUCKET = re.compile(r"(s3|gs)://[a-z0-9][a-z0-9._-]+(/(?!\.\.?(/|$))[A-Za-z0-9._-]+)*/?")
_AT_K = ("hit_rate", "ndcg", "sampled_hit_rate", "sampled_ndcg", "coverage", "gini")
# What only ratings can be measured by; events have none.
_OF_RATINGS = (
    "rmse",
    "mae",
    "rating_bias",
    "calibration_slope",
    "expected_calibration_error",
    "rmse_by_user_activity_decile",
    "rmse_by_item_popularity_decile",
)
_KEY_PREFIX = re.compile(r"([a-z_]+(?:\.[a-z_]+)*): ")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Rating = TypeVar("Rating", bound=BaseModel)
Preference = TypeVar("Preference", bound=BaseModel)


class Model(_Frozen, Generic[Rating, Preference]):
    """One architecture: hyperparameters of its two heads."""

    rating: Rating | None
    """The head that predicts ratings; what learns from events has none."""
    preference: Preference
    """The head that ranks."""
    ensemble: Annotated[int, Field(ge=1)] = 1
    """So many models, each from a seed of its own, are averaged inside one SavedModel."""


class Models(_Frozen):
    """The architectures to train; the best blessed one is pushed."""

    mf: Model[BayesianFactorization, MatrixFactorization] | None = None
    """Matrix factorisation."""
    mlp: Model[MultilayerRating, MultilayerRanking] | None = None
    """Multilayer perceptron."""
    hybrid: Model[HybridRating, TowersRanking] | None = None
    """Both in parallel, ranking by two towers."""
    wide_deep: Model[WideAndDeepRating, WideAndDeepRanking] | None = None
    """Wide & Deep."""
    two_tower: Model[TowersRating, TowersRanking] | None = None
    """Two towers."""
    two_stage: Model[HybridRating, TwoStageRanking] | None = None
    """Candidates by one architecture, ranked by another."""

    @model_validator(mode="after")
    def _check(self) -> Models:
        if not self.chosen():
            raise ValueError(f"name at least one of {', '.join(ARCHITECTURES)}")
        return self

    def chosen(self) -> dict[str, Model[Any, Any]]:
        """Architecture -> its settings, for those that are to be trained."""
        named = {name: getattr(self, name) for name in ARCHITECTURES}
        return {name: model for name, model in named.items() if model is not None}


def node_id(kind: str, architecture: str) -> str:
    """The id of an architecture's node; Kubernetes takes no underscores."""
    return f"{kind}-{architecture.replace('_', '-')}"


def tuner_id(architecture: str, head: str) -> str:
    """The id of the node that searches a head's hyperparameters."""
    return f"{node_id('Tuner', architecture)}-{head}"


class Vocabulary(_Frozen):
    """Which ids get an embedding of their own."""

    min_count: Annotated[int, Field(ge=1)] = 1
    """Ids with fewer ratings in the train split are out of vocabulary."""
    max_size: Annotated[int, Field(ge=1)] | None = None
    """Most ids, the most frequent ones; null: no bound."""
    oov_buckets: Annotated[int, Field(ge=1)] = 1
    """Embeddings that ids out of vocabulary share, by hash."""


class RmseBound(_Frozen):
    """What an RMSE must be."""

    max: Annotated[float, Field(gt=0)]
    """Largest RMSE that may be pushed."""


class RmseGate(RmseBound):
    """What a model's RMSE must be."""

    min_improvement: Annotated[float, Field(ge=0)] = 0.0001
    """How far it must lie below the baseline's."""


class HitRateGate(_Frozen):
    """What a model's HitRate@K must be."""

    min: Annotated[float, Field(ge=0, lt=1)]
    """Smallest HitRate@K that may be pushed."""
    min_improvement: Annotated[float, Field(ge=0, lt=1)] = 0.0001
    """How far it must lie above the baseline's."""


class Bounds(_Frozen):
    """What a metric must be: one bound or both."""

    min: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Smallest value that may be pushed."""
    max: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Largest value that may be pushed."""

    @model_validator(mode="after")
    def _check(self) -> Bounds:
        if self.min is None and self.max is None:
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


class Gates(_Frozen):
    """A model is blessed if it passes all that are given; each can stop it alone."""

    rmse: RmseGate | None = None
    """For ratings, and needed there."""
    hit_rate: HitRateGate
    """For rankings."""
    mae: Bounds | None = None
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
    ndcg: ShareBounds | None = None
    """NDCG@K."""
    coverage: ShareBounds | None = None
    """Share of the catalogue among the first K items of all users."""
    gini: ShareBounds | None = None
    """How unequally often items are among the first K: 0 equally, 1 always the same."""

    @model_validator(mode="after")
    def _check(self) -> Gates:
        of_ratings = 0.0 if self.rmse is None else self.rmse.min_improvement
        if of_ratings == 0 and self.hit_rate.min_improvement == 0:
            raise ValueError(
                "one min_improvement must be above 0, or the served model would beat itself"
            )
        return self


class Evaluation(_Frozen):
    """How models are compared on the test split."""

    gates: Gates
    """What stops a model."""
    k: Annotated[int, Field(ge=1)] = 10
    """K of HitRate@K, NDCG@K and the lists behind coverage and Gini."""
    relevance_threshold: float | None = None
    """Smallest rating of a held-out item that counts for rankings; null: all count, as events
    always do."""
    ranked_users: Annotated[int, Field(ge=1)] | None = None
    """Users whose held-out items are ranked, at most, drawn at random, the same for both models;
    null: all. Of a sample, gates on HitRate@K and NDCG@K decide by the lower confidence bound."""
    slices: tuple[str, ...] = ()
    """Features by whose values the metrics are broken down; a slice without a number blocks."""
    select_by: Literal["rmse", "mae", "hit_rate", "ndcg"] = "hit_rate"
    """The metric that picks one of several blessed models."""


class Config(_Frozen):
    """Everything about one pipeline. Relative paths start at the working directory."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,127}$")]
    """The pipeline's name (one that Kubeflow takes too)."""
    root: str
    """The pipeline root: artifacts, metadata store, log and summary."""
    serving_root: str
    """A folder, to which models are pushed as `<serving_root>/<name>/<version>/`, or a place in a
    bucket (s3://bucket/prefix, gs://bucket/prefix; see `components/serving_bucket.py`)."""
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
    """Whether training begins from the model that is served, weights carried over by id; then
    a push gives new training. Sampled parts always start anew."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 42
    """Of everything random."""
    parallel_nodes: Annotated[int, Field(ge=1)] = 2
    """How many nodes of a local run work at the same time, at most; each has memory of its own."""
    kubeflow: Kubeflow | None = None
    """How the steps run on a cluster; local runs do not need it."""

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
        asked = {f"evaluation.gates.{name}": getattr(given.gates, name) for name in _OF_RATINGS}
        asked["evaluation.relevance_threshold"] = given.relevance_threshold
        for name, model in self.models.chosen().items():
            asked[f"models.{name}.rating"] = model.rating
        for key, value in asked.items():
            if value is not None:
                raise ValueError(f"{key}: is about ratings, and data.events have none; remove it")
        if given.select_by in _OF_RATINGS:
            raise ValueError(
                f"evaluation.select_by: {given.select_by} is about ratings, and data.events have"
                " none; choose hit_rate or ndcg"
            )

    @property
    def serving_directory(self) -> str:
        """Where versions are pushed to: a folder, or a URL."""
        return os.path.join(self.serving_root, self.name)

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

    def metrics(self, *names: str) -> list[str]:
        """Those of some metrics that the data allow: events have no ratings to be measured."""
        return [name for name in names if self.data.ratings or name not in _OF_RATINGS]

    def metric_name(self, metric: str) -> str:
        """The reported name of a metric: what depends on K carries it."""
        return f"{metric}_at_{self.evaluation.k}" if metric in _AT_K else metric


def load(path: str, overrides: Iterable[str] = ()) -> Config:
    """Reads and checks a config.

    Args:
      path: the YAML file.
      overrides: `key.path=value`, the value as YAML; each replaces what the file says. `@FILE`
        stands for every setting in that file.

    Raises:
      ConfigError: names file and line (or the override), the key and what is wrong.
    """
    root, values = _read(path)
    given = tuple(_expanded(overrides))
    for override in given:
        _set(values, *_parse_override(override))
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, path, root, values, given)) from None
    return _with_absolute_paths(config)


def load_search_space(path: str) -> SearchSpace:
    """Reads and checks the file that says what `tune` may try (see `search_space`).

    Raises:
      ConfigError: names file and line, the key and what is wrong.
    """
    root, values = _read(path)
    try:
        return SearchSpace.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, path, root, values, ())) from None


def _read(path: str) -> tuple[yaml.Node, dict[str, Any]]:
    """A YAML file of settings: its nodes, which know their lines, and its values."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"{path}: cannot be read ({reason})") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{path}{line}: is not YAML: {getattr(error, 'problem', error)}"
        ) from None
    if root is None or not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no settings; see pipeline/configs/ for examples")
    for node, repeated in _repeated_keys(root):
        raise ConfigError(f"{path}:{node.start_mark.line + 1}: {repeated} stands there twice")
    return root, values


def _expanded(overrides: Iterable[str]) -> Iterator[str]:
    for override in overrides:
        if override.startswith("@"):
            _, values = _read(override[1:])
            yield from _leaves(values, "")
        else:
            yield override


def _leaves(values: dict[str, Any], prefix: str) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={json.dumps(value)}"


def _parse_override(override: str) -> tuple[tuple[str, ...], Any]:
    key, equals, value = override.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {override}: write it as key.path=value")
    try:
        return tuple(key.split(".")), yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: the value is not YAML") from None


def _set(values: dict[str, Any], key: tuple[str, ...], value: Any) -> None:
    for part in key[:-1]:
        if not isinstance(values.get(part), dict):
            values[part] = {}
        values = values[part]
    values[key[-1]] = value


def _repeated_keys(node: yaml.Node) -> Iterator[tuple[yaml.Node, str]]:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key, key.value
            seen.add(key.value)
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value)


def _explain(
    error: ValidationError, path: str, root: yaml.Node, values: Any, overrides: tuple[str, ...]
) -> str:
    """The first problem in one line, and how many more there are."""
    problems = error.errors()
    problem = problems[0]
    location = problem["loc"]
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error" and (prefix := _KEY_PREFIX.match(message)):
        # A check over several keys names the one to mend.
        location += tuple(prefix[1].split("."))
        message = message[prefix.end() :]
    line, key = _line(root, location), _key(values, location)
    where = f"{path}:{line}"
    for override in overrides:
        named = override.partition("=")[0]
        if key == named or key.startswith(f"{named}.") or named.startswith(f"{key}."):
            where = f"--set {override}"
    if problem["type"] == "extra_forbidden":
        message = "unknown key" + _near_miss(str(problem["loc"][-1]))
    elif problem["type"] == "missing":
        message = "is missing"
    elif problem["type"] != "value_error" and not isinstance(problem["input"], dict):
        message = f"{message[0].lower()}{message[1:]}, not {problem['input']!r}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {key}: {message}{more}" if key else f"{where}: {message}{more}"


def _line(node: yaml.Node, location: tuple[int | str, ...]) -> int:
    """The line of a key in the file, or of what it would be in."""
    line = node.start_mark.line + 1
    for part in location:
        found = None
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            found = (node.value[part],) * 2 if part < len(node.value) else None
        if found is not None:
            line, node = found[0].start_mark.line + 1, found[1]
    return line


def _key(values: Any, location: tuple[int | str, ...]) -> str:
    """A key's path as written (pydantic's union tags left out)."""
    keys = []
    for depth, part in enumerate(location):
        try:
            values = values[part]
        except (LookupError, TypeError):
            if depth < len(location) - 1 and isinstance(values, dict):
                continue
        keys.append(str(part))
    return ".".join(keys)


def _near_miss(key: str) -> str:
    known: set[str] = set()
    schema = Config.model_json_schema()
    for part in [schema, *schema["$defs"].values()]:
        known |= set(part.get("properties", {}))
    matches = difflib.get_close_matches(key, sorted(known), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def _with_absolute_paths(config: Config) -> Config:
    """A copy in which no path depends on the working directory any more."""
    values = config.model_dump()
    for key in ("root", "serving_root"):
        if key == "serving_root" and _BUCKET.fullmatch(values[key]):
            continue
        if "://" in values[key]:
            bucket = ", s3://bucket/prefix or gs://bucket/prefix" if key == "serving_root" else ""
            raise ConfigError(f"{key}: {values[key]!r} is a URL; give a folder{bucket}")
        values[key] = os.path.abspath(values[key])
    interactions = values["data"].get("ratings") or values["data"]["events"]
    interactions["paths"] = [os.path.abspath(path) for path in interactions["paths"]]
    for side in ("users", "items"):
        if values["data"][side]:
            values["data"][side]["path"] = os.path.abspath(values["data"][side]["path"])
    return Config.model_validate(values)
