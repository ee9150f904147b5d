"""What was found of two models, in plain words: a sentence for each threshold of a comparison."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tfx_recommender.components.evaluator import catalogue, evidence

if TYPE_CHECKING:
    from tensorflow_model_analysis.proto import config_pb2

LOWER_BOUND, ROWS = "_improvement_lower_bound", "_improvement_rows"
ANCHOR_BOUND = "_anchor_lower_bound"

Metrics = Mapping[str, float | None]


def number_comparison(config: config_pb2.EvalConfig, comparison: int) -> None:
    """Writes the comparison's number into every metric of the EvalConfig that has a confidence."""
    for metric in config.metrics_specs[0].metrics:
        settings = json.loads(metric.config)
        if "confidence" in settings:
            metric.config = json.dumps(settings | {"comparison": comparison})


def of(
    config: config_pb2.EvalConfig, against: str, candidate: Metrics, baseline: Metrics
) -> dict[str, str]:
    """Name of the metric that has a threshold -> what there is to say of it.

    Args:
      config: the EvalConfig, its comparisons numbered.
      against: what to call the baseline.
      candidate: the candidate's metrics on all rows; None where one is no finite number.
      baseline: the baseline's.
    """
    said: dict[str, str] = {}
    for metric in config.metrics_specs[0].metrics:
        settings = json.loads(metric.config)
        name = settings["name"]
        if not name.endswith((LOWER_BOUND, ROWS, ANCHOR_BOUND)):
            continue
        needed = metric.per_slice_thresholds[0].threshold.value_threshold.lower_bound.value
        if name.endswith(ROWS):
            said[name] = _rows(settings, needed, candidate)
        elif name.endswith(ANCHOR_BOUND):
            said[name] = _anchor(settings, needed, candidate)
        else:
            said[name] = _improvement(settings, needed, against, candidate, baseline)
    return said


def is_proved_better(config: config_pb2.EvalConfig, candidate: Metrics) -> bool:
    """Whether each metric that may be not worse is better than the anchor's, by what counts."""
    for metric in config.metrics_specs[0].metrics:
        settings = json.loads(metric.config)
        if settings["name"].endswith(ANCHOR_BOUND):
            bound = candidate.get(settings["name"])
            if bound is None or bound < settings["difference"]:
                return False
    return True


def _anchor(settings: dict[str, Any], needed: float, candidate: Metrics) -> str:
    heading = catalogue.METRICS[settings["metric"]].reported_heading(settings["k"])
    bound = candidate.get(settings["name"])
    if bound is None:
        return f"{heading} cannot be compared with that of the last model that was proved better"
    return (
        f"{heading} against the last model that was proved better: at least {_plain(bound)} with"
        f" {100 * _confidence(settings):.4g} % confidence, {_plain(needed)} needed"
    )


def _confidence(settings: dict[str, Any]) -> float:
    return evidence.confidence(
        settings["confidence"], settings["candidates"], settings["comparison"]
    )


def _improvement(
    settings: dict[str, Any], needed: float, against: str, candidate: Metrics, baseline: Metrics
) -> str:
    row, k = catalogue.METRICS[settings["metric"]], settings["k"]
    name, heading = row.reported_name(k), row.reported_heading(k)
    gain, bound = (candidate.get(f"{name}_improvement{part}") for part in ("", "_lower_bound"))
    own, other = candidate.get(name), baseline.get(name)
    if gain is None or bound is None or own is None or other is None:
        return f"{heading} cannot be compared: a model's figure, or its spread, is not a number"
    number = settings["comparison"]
    confidence = _confidence(settings)
    size = _plain(abs(gain))
    change = "no difference" if gain == 0 else f"{'better' if gain > 0 else 'worse'} by {size}"
    text = (
        f"{heading} {own:.5f}, {against} {other:.5f}: {change}"
        f" (at least {_plain(bound)} with {100 * confidence:.4g} % confidence),"
        f" {_plain(needed)} needed"
    )
    if number > 1:
        text += f"; it is comparison {number} with that model, and each asks for more confidence"
    return text


def _rows(settings: dict[str, Any], needed: float, candidate: Metrics) -> str:
    row, k = catalogue.METRICS[settings["metric"]], settings["k"]
    name, heading = row.reported_name(k), row.reported_heading(k)
    rows, users, enough = (
        candidate.get(f"{name}_improvement_{part}") for part in ("rows", "users", "rows_to_tell")
    )
    text = f"{heading} was compared on {rows or 0:.0f} test rows of {users or 0:.0f} users,"
    text += f" {needed:.0f} rows are needed"
    return text + (f"; about {enough:,.0f} would decide" if enough else "")


def _plain(number: float) -> str:
    """Two digits that say something, and no exponent: 0.00005, -0.0012."""
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    return np.format_float_positional(number, precision=2, fractional=False, trim="-")
