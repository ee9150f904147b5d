"""The quality gate as TFMA's EvalConfig: metrics, slices and what stops a model."""

from __future__ import annotations

import json
import math

from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2

from tfx_recommender.components.evaluator import catalogue
from tfx_recommender.components.evaluator.predictions import (
    ANCHOR_RANK,
    ANCHOR_RATING,
    BASELINE,
    CANDIDATE,
    RATING,
    USER,
    prediction_column,
)
from tfx_recommender.pipeline.settings.config import Comparison, Config
from tfx_recommender.transform import features


def eval_config(config: Config) -> str:
    """TFMA's EvalConfig, as JSON.

    Every metric that has a gate in the config is bounded on all rows together. Where the gate has a
    policy, the improvement on the baseline is a metric too, and its lower confidence bound and the
    number of its rows have thresholds (see `evidence.py`): TFMA's own change thresholds know no
    confidence. Where a sample of users is ranked, the smallest value of a ranking metric is asked
    of the lower end of its confidence interval.
    In every configured slice the first metric of the catalogue that the data allow must be a
    number: RMSE, or of events HitRate@K. RMSE may have a bound in every decile too.
    """
    columns = config.data.columns()
    metrics = config.metrics()
    wanted = {USER} | {output for metric in metrics for output in metric.needs}
    compared = config.evaluation.gates.compared()
    if any(gate.policy == "not_worse" for gate in compared.values()):
        wanted |= {ANCHOR_RANK} | ({ANCHOR_RATING} if RATING in wanted else set())
    outputs = sorted(wanted)
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

    def add(
        metric: catalogue.Metric, statistic: str = "", **evidence: float
    ) -> config_pb2.MetricConfig:
        name = metric.reported_name(k)
        settings = {
            "metric": metric.name,
            "k": k,
            "statistic": statistic or "estimate",
            "name": f"{name}_{statistic}" if statistic else name,
            **evidence,
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
        if greatest is not None:
            _on_slices(added).value_threshold.upper_bound.value = greatest
        if config.evaluation.ranked_users and isinstance(metric, catalogue.RankingMetric):
            if least is not None:
                bound = _on_slices(add(metric, "lower_bound"))
                bound.value_threshold.lower_bound.value = least
        elif least is not None:
            _on_slices(added).value_threshold.lower_bound.value = least
    for name, comparison in compared.items():
        metric = catalogue.METRICS[name]
        asked = {"confidence": comparison.confidence, "candidates": len(config.models.chosen())}
        add(metric, "improvement")
        bound = _on_slices(add(metric, "improvement_lower_bound", **asked))
        bound.value_threshold.lower_bound.value = _least_improvement(comparison)
        if comparison.policy == "not_worse":
            # Many small losses would add up: the last model proved better is asked as well.
            proved = asked | {"difference": comparison.min_improvement}
            bound = _on_slices(add(metric, "anchor_lower_bound", **proved))
            bound.value_threshold.lower_bound.value = -comparison.margin
        rows = _on_slices(add(metric, "improvement_rows"))
        rows.value_threshold.lower_bound.value = config.evaluation.at_least_rows
        add(metric, "improvement_users")
        add(metric, "improvement_rows_to_tell", **asked, difference=comparison.margin)
    return json_format.MessageToJson(result, sort_keys=True)


def _least_improvement(gate: Comparison) -> float:
    return gate.min_improvement if gate.policy == "better" else -gate.margin


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
