"""The quality gate as TFMA's EvalConfig: metrics, slices and what stops a model."""

from __future__ import annotations

import json
import math

from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2

from tfx_recommender.components.evaluator import metrics
from tfx_recommender.components.evaluator.component import (
    BASELINE,
    CANDIDATE,
    prediction_column,
)
from tfx_recommender.pipeline.config import Config
from tfx_recommender.transform import features

_METRIC_CLASSES = {
    "rmse": metrics.RatingRMSE,
    "mae": metrics.RatingMAE,
    "hit_rate": metrics.CatalogueHitRate,
    "ndcg": metrics.CatalogueNDCG,
}


def eval_config(config: Config) -> str:
    """TFMA's EvalConfig, as JSON.

    RMSE and HitRate@K have a bound and a least improvement on the baseline each, on all rows
    together. Improvements are absolute: TFMA's relative ones are NaN against a baseline of 0.
    In every configured slice RMSE must be a number.
    """
    result = config_pb2.EvalConfig()
    for name in (CANDIDATE, BASELINE):
        result.model_specs.add(
            name=name,
            is_baseline=name == BASELINE,
            label_key=features.RATING,
            prediction_keys={
                output: prediction_column(name, output) for output in (metrics.RATING, metrics.RANK)
            },
        )
    result.slicing_specs.add()
    for feature in config.evaluation.slices:
        result.slicing_specs.add(feature_keys=[feature])
    metrics_spec = result.metrics_specs.add()
    for metric, metric_class in _METRIC_CLASSES.items():
        settings: dict[str, str | int] = {"name": config.metric_name(metric)}
        if metric in ("hit_rate", "ndcg"):
            settings["k"] = config.evaluation.k
        added = metrics_spec.metrics.add(
            class_name=metric_class.__name__,
            module=metric_class.__module__,
            config=json.dumps(settings),
        )
        if metric == "rmse":
            _gate_rmse(added, config)
        elif metric == "hit_rate":
            _gate_hit_rate(added, config)
    return json_format.MessageToJson(result, sort_keys=True)


def _gate_rmse(metric: config_pb2.MetricConfig, config: Config) -> None:
    gate = config.evaluation.gates.rmse
    threshold = _on_all_rows(metric)
    threshold.value_threshold.upper_bound.value = gate.max
    threshold.change_threshold.absolute.value = -gate.min_improvement
    threshold.change_threshold.direction = config_pb2.LOWER_IS_BETTER
    for feature in config.evaluation.slices:
        added = metric.per_slice_thresholds.add()
        added.slicing_specs.add(feature_keys=[feature])
        added.threshold.value_threshold.upper_bound.value = math.inf


def _gate_hit_rate(metric: config_pb2.MetricConfig, config: Config) -> None:
    gate = config.evaluation.gates.hit_rate
    threshold = _on_all_rows(metric)
    threshold.value_threshold.lower_bound.value = gate.min
    threshold.change_threshold.absolute.value = gate.min_improvement
    threshold.change_threshold.direction = config_pb2.HIGHER_IS_BETTER


def _on_all_rows(metric: config_pb2.MetricConfig) -> config_pb2.MetricThreshold:
    added = metric.per_slice_thresholds.add()
    added.slicing_specs.add()
    return added.threshold
