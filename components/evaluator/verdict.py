"""Reads an evaluation back: metrics of both models, and in plain words why a gate stopped one."""

from __future__ import annotations

import math

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import validation_result_pb2

_NUMBER = "doubleValue"


SliceKey = tuple[tuple[str, str], ...]
"""((feature, value), …); () is all rows."""


def metrics_of(evaluation_uri: str, model: str) -> dict[str, float]:
    """A model's metrics on all rows, by name (NaN where TFMA has none).

    Args:
      evaluation_uri: of a ModelEvaluation artifact.
      model: `candidate` or `baseline`.
    """
    return sliced_metrics_of(evaluation_uri, model).get((), {})


def sliced_metrics_of(evaluation_uri: str, model: str) -> dict[SliceKey, dict[str, float]]:
    """Likewise, of each slice that the evaluation computed, in order of slices."""
    result = tfma.load_eval_result(evaluation_uri, model_name=model)
    return {
        key: {name: float(value.get(_NUMBER, math.nan)) for name, value in outputs[""][""].items()}
        for key, outputs in sorted(result.slicing_metrics, key=lambda slice: slice[0])
    }


def reasons(evaluation_uri: str) -> list[str]:
    """Why the candidate is not blessed, a line for each failed gate; none if it is blessed."""
    validation = tfma.load_validation_result(evaluation_uri)
    if validation.validation_ok:
        return []
    lines = []
    for one in validation.metric_validations_per_slice:
        place = ", ".join(
            f"{key.column} {key.bytes_value.decode()}" for key in one.slice_key.single_slice_keys
        )
        for failure in one.failures:
            lines.append(_reason(failure) + (f" (slice {place})" if place else ""))
    for missing in validation.missing_slices:
        lines.append(f"no test row in slice {', '.join(missing.feature_keys)}")
    return lines or ["no metric could be checked"]


def _reason(failure: validation_result_pb2.ValidationFailure) -> str:
    name = failure.metric_key.name
    value = failure.metric_value.double_value.value
    if not failure.HasField("metric_value") or math.isnan(value):
        return f"{name} is not a number"
    if failure.metric_threshold.HasField("change_threshold"):
        change = failure.metric_threshold.change_threshold
        needed = change.absolute.value
        return f"{name} changes by {value:+.4f} against the baseline, {needed:+.4f} is asked for"
    bound = failure.metric_threshold.value_threshold
    if bound.HasField("upper_bound") and value > bound.upper_bound.value:
        return f"{name} {value:.4f} is above the bound {bound.upper_bound.value:g}"
    return f"{name} {value:.4f} is below the bound {bound.lower_bound.value:g}"
