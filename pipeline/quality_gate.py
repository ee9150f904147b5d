"""The quality gate as TFMA's EvalConfig: metrics, slices and what stops a model."""

from __future__ import annotations

import json
import math

from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2

from tfx_recommender.components.evaluator import catalogue
from tfx_recommender.components.evaluator.predictions import BASELINE, CANDIDATE, prediction_column
from tfx_recommender.pipeline.settings.config import Config
from tfx_recommender.transform import features

_DIRECTIONS = {"lower": config_pb2.LOWER_IS_BETTER, "higher": config_pb2.HIGHER_IS_BETTER}


def eval_config(config: Config) -> str:
    """TFMA's EvalConfig, as JSON.

    Every metric that has a gate in the config is bounded on all rows together. Where the gate asks
    for an improvement on the baseline, that is absolute: TFMA's relative ones are NaN against a
    baseline of 0. Where a sample of users is ranked, the smallest value and the improvement of a
    ranking metric are asked of the lower ends of their confidence intervals.
    In every configured slice the first metric of the catalogue that the data allow must be a
    number: RMSE, or of events HitRate@K. RMSE may have a bound in every decile too.
    """
    columns = config.data.columns()
    metrics = config.metrics()
    outputs = sorted({output for metric in metrics for output in metric.needs})
    result = config_pb2.EvalConfig()
    for name in (CANDIDATE, BASELINE):
        result.model_specs.add(
            name=name,
            is_baseline=name == BASELINE,
            label_key=columns.value,
            prediction_keys={output: prediction_column(name, output) for output in outputs},
        )
    result.slicing_specs.add()
    has_ratings = columns.value == features.RATING
    for feature in (*config.evaluation.slices, *(features.DECILES if has_ratings else ())):
        result.slicing_specs.add(feature_keys=[feature])
    k = config.evaluation.k
    specs = result.metrics_specs.add().metrics

    def add(metric: catalogue.Metric, statistic: str = "") -> config_pb2.MetricConfig:
        name = metric.reported_name(k)
        settings = {
            "metric": metric.name,
            "k": k,
            "statistic": statistic or "estimate",
            "name": f"{name}_{statistic}" if statistic else name,
        }
        return specs.add(
            class_name=catalogue.TFMA_CLASS,
            module=catalogue.TFMA_MODULE,
            config=json.dumps(settings),
        )

    for metric in metrics:
        added = add(metric)
        if metric is metrics[0]:
            _gate_slices(added, config)
        gate = getattr(config.evaluation.gates, metric.name, None)
        if gate is None:
            continue
        least, greatest = getattr(gate, "min", None), getattr(gate, "max", None)
        improvement = getattr(gate, "min_improvement", None)
        if greatest is not None:
            _on_slices(added).value_threshold.upper_bound.value = greatest
        if config.evaluation.ranked_users and isinstance(metric, catalogue.RankingMetric):
            if least is not None:
                bound = _on_slices(add(metric, "lower_bound"))
                bound.value_threshold.lower_bound.value = least
            if improvement is not None:
                bound = _on_slices(add(metric, "gain_lower_bound"))
                bound.value_threshold.lower_bound.value = improvement
            continue
        if least is not None:
            _on_slices(added).value_threshold.lower_bound.value = least
        if improvement is not None:
            assert metric.better is not None, f"{metric.name}: an improvement in which direction?"
            change = _on_slices(added).change_threshold
            change.absolute.value = -improvement if metric.better == "lower" else improvement
            change.direction = _DIRECTIONS[metric.better]
    return json_format.MessageToJson(result, sort_keys=True)


def _gate_slices(metric: config_pb2.MetricConfig, config: Config) -> None:
    for feature in config.evaluation.slices:
        _on_slices(metric, feature).value_threshold.upper_bound.value = math.inf
    for decile in features.DECILES:
        gate = getattr(config.evaluation.gates, f"rmse_by_{decile}")
        if gate is not None:
            _on_slices(metric, decile).value_threshold.upper_bound.value = gate.max


def _on_slices(metric: config_pb2.MetricConfig, *by: str) -> config_pb2.MetricThreshold:
    """The threshold of each slice by a feature; by none: of all rows together.

    TFMA takes one threshold for each slice, so each is made once.
    """
    for given in metric.per_slice_thresholds:
        if [list(spec.feature_keys) for spec in given.slicing_specs] == [list(by)]:
            return given.threshold
    added = metric.per_slice_thresholds.add()
    added.slicing_specs.add(feature_keys=by)
    return added.threshold
