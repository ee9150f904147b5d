"""The quality gate as TFMA's EvalConfig: metrics, slices and what stops a model."""

from __future__ import annotations

import json
import math

from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2

from tfx_recommender.components.evaluator.predictions import (
    BASELINE,
    CANDIDATE,
    OF_RANKINGS,
    OF_RATINGS,
    prediction_column,
)
from tfx_recommender.pipeline.config import Bounds, Config, HitRateGate, RmseGate
from tfx_recommender.transform import features

# By name, as TFMA looks them up: the classes would bring TFMA and TensorFlow along.
_METRICS_MODULE = "tfx_recommender.components.evaluator.metrics"
_METRIC_CLASSES = {
    "rmse": "RatingRMSE",
    "mae": "RatingMAE",
    "rating_bias": "RatingBias",
    "calibration_slope": "RatingCalibrationSlope",
    "expected_calibration_error": "RatingExpectedCalibrationError",
    "hit_rate": "CatalogueHitRate",
    "ndcg": "CatalogueNDCG",
    "sampled_hit_rate": "SampledHitRate",
    "sampled_ndcg": "SampledNDCG",
    "coverage": "CatalogueCoverage",
    "gini": "RecommendationGini",
}
# What decides in place of these where a sample of users is ranked.
_LOWER_BOUNDS = {"hit_rate": "CatalogueHitRateLowerBound", "ndcg": "CatalogueNDCGLowerBound"}
_OF_RANKS = ("hit_rate", "ndcg", "sampled_hit_rate", "sampled_ndcg")


def eval_config(config: Config) -> str:
    """TFMA's EvalConfig, as JSON.

    RMSE and HitRate@K have a bound and a least improvement on the baseline each, other metrics
    the bounds that the config gives, on all rows together; RMSE may have a bound in every decile
    too. Improvements are absolute: TFMA's relative ones are NaN against a baseline of 0.
    Where a sample of users is ranked, the smallest HitRate@K and NDCG@K, and the former's least
    improvement, are asked of the lower ends of their confidence intervals.
    In every configured slice RMSE must be a number. The sampled protocol gates nothing.
    Of events there are no metrics of ratings, nor deciles: HitRate@K must be a number in slices.
    """
    columns = config.data.columns()
    has_ratings = columns.value == features.RATING
    predictions = (*OF_RATINGS, *OF_RANKINGS) if has_ratings else OF_RANKINGS
    deciles = features.DECILES if has_ratings else ()
    result = config_pb2.EvalConfig()
    for name in (CANDIDATE, BASELINE):
        result.model_specs.add(
            name=name,
            is_baseline=name == BASELINE,
            label_key=columns.value,
            prediction_keys={output: prediction_column(name, output) for output in predictions},
        )
    result.slicing_specs.add()
    for feature in (*config.evaluation.slices, *deciles):
        result.slicing_specs.add(feature_keys=[feature])
    k = config.evaluation.k
    metrics = result.metrics_specs.add().metrics

    def add(class_name: str, name: str, of_ranks: bool) -> config_pb2.MetricConfig:
        settings = {"name": name, "k": k} if of_ranks else {"name": name}
        return metrics.add(
            class_name=class_name, module=_METRICS_MODULE, config=json.dumps(settings)
        )

    for metric in config.metrics(*_METRIC_CLASSES):
        name = config.metric_name(metric)
        added = add(_METRIC_CLASSES[metric], name, metric in _OF_RANKS)
        if metric == ("rmse" if has_ratings else "hit_rate"):
            _gate_slices(added, config)
        gate = getattr(config.evaluation.gates, metric, None)
        if gate is None:
            continue
        if config.evaluation.ranked_users is None or metric not in _LOWER_BOUNDS:
            _bound(_on_slices(added), gate)
            continue
        lower = add(_LOWER_BOUNDS[metric], f"{name}_lower_bound", True)
        if gate.min is not None:
            _on_slices(lower).value_threshold.lower_bound.value = gate.min
        if isinstance(gate, HitRateGate):
            gain = add("CatalogueHitRateGain", f"{name}_gain_lower_bound", True)
            _on_slices(gain).value_threshold.lower_bound.value = gate.min_improvement
        elif gate.max is not None:
            _on_slices(added).value_threshold.upper_bound.value = gate.max
    return json_format.MessageToJson(result, sort_keys=True)


def _bound(threshold: config_pb2.MetricThreshold, gate: RmseGate | HitRateGate | Bounds) -> None:
    least, greatest = getattr(gate, "min", None), getattr(gate, "max", None)
    if least is not None:
        threshold.value_threshold.lower_bound.value = least
    if greatest is not None:
        threshold.value_threshold.upper_bound.value = greatest
    if isinstance(gate, RmseGate):
        threshold.change_threshold.absolute.value = -gate.min_improvement
        threshold.change_threshold.direction = config_pb2.LOWER_IS_BETTER
    elif isinstance(gate, HitRateGate):
        threshold.change_threshold.absolute.value = gate.min_improvement
        threshold.change_threshold.direction = config_pb2.HIGHER_IS_BETTER


def _gate_slices(metric: config_pb2.MetricConfig, config: Config) -> None:
    for feature in config.evaluation.slices:
        _on_slices(metric, feature).value_threshold.upper_bound.value = math.inf
    for decile in features.DECILES:
        gate = getattr(config.evaluation.gates, f"rmse_by_{decile}")
        if gate is not None:
            _on_slices(metric, decile).value_threshold.upper_bound.value = gate.max


def _on_slices(metric: config_pb2.MetricConfig, *by: str) -> config_pb2.MetricThreshold:
    """A new threshold for each slice by a feature; by none: for all rows together."""
    added = metric.per_slice_thresholds.add()
    added.slicing_specs.add(feature_keys=by)
    return added.threshold
