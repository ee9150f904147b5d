"""The verdict of an evaluation: metrics of both models, and the reasons of failed gates.

It is extracted from TFMA's files into JSON, because reading those needs TFMA and takes seconds.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from tfx_recommender.components.evaluator.predictions import BASELINE, CANDIDATE

if TYPE_CHECKING:
    from tensorflow_model_analysis.proto import config_pb2, validation_result_pb2

_FILE = "verdict.json"
_NUMBER = "doubleValue"

SliceKey = tuple[tuple[str, str], ...]
"""((feature, value), …); () is all rows."""


class _Slice(TypedDict):
    """A model's metrics on some rows: `slice` names them, as `SliceKey`; null: not finite."""

    slice: Sequence[tuple[str, str]]
    metrics: dict[str, float | None]


class _Verdict(TypedDict):
    """What `verdict.json` holds: slices of both models, all rows first, and what the gates say."""

    candidate: list[_Slice]
    baseline: list[_Slice]
    reasons: list[str]
    comparisons: list[str]
    proved_better: bool


def write(evaluation_uri: str, config: config_pb2.EvalConfig, against: str) -> bool:
    """Writes `verdict.json` beside TFMA's files; returns whether every gate passed.

    It holds `reasons`; `comparisons`, a sentence for each gate that compares; `proved_better`,
    false where a metric is only not worse than that of the last model that was proved better; and
    for `candidate` and `baseline` a list, all rows first, of `slice` ([feature, value] pairs) and
    `metrics` (name -> number; null where it is not finite).

    Args:
      evaluation_uri: the folder of TFMA's files.
      config: the EvalConfig, its comparisons numbered.
      against: what to call the baseline in sentences.
    """
    import tensorflow_model_analysis as tfma

    from tfx_recommender.components.evaluator import sentences

    def slices(model: str) -> list[_Slice]:
        result = tfma.load_eval_result(evaluation_uri, model_name=model)
        return [
            {"slice": key, "metrics": _finite(outputs[""][""])}
            for key, outputs in sorted(result.slicing_metrics, key=lambda slice: slice[0])
        ]

    validation = tfma.load_validation_result(evaluation_uri)
    candidate, baseline = slices(CANDIDATE), slices(BASELINE)
    own = candidate[0]["metrics"]
    said = sentences.of(config, against, own, baseline[0]["metrics"])
    verdict: _Verdict = {
        "candidate": candidate,
        "baseline": baseline,
        "reasons": _reasons(validation, said),
        "comparisons": [
            text for name, text in said.items() if name.endswith(sentences.LOWER_BOUND)
        ],
        "proved_better": sentences.is_proved_better(config, own),
    }
    with open(os.path.join(evaluation_uri, _FILE), "w", encoding="utf-8") as file:
        json.dump(verdict, file, indent=2, allow_nan=False)
    return validation.validation_ok


def metrics_of(evaluation_uri: str, model: str) -> dict[str, float]:
    """A model's metrics on all rows, by name (NaN where TFMA has none).

    Args:
      evaluation_uri: of a ModelEvaluation artifact.
      model: `candidate` or `baseline`.
    """
    return sliced_metrics_of(evaluation_uri, model).get((), {})


def sliced_metrics_of(evaluation_uri: str, model: str) -> dict[SliceKey, dict[str, float]]:
    """A model's metrics on each slice, by name (NaN where TFMA has none), in order of slices."""
    verdict = _read(evaluation_uri)
    return {
        tuple((feature, value) for feature, value in entry["slice"]): {
            name: math.nan if value is None else value for name, value in entry["metrics"].items()
        }
        for entry in (verdict["candidate"] if model == CANDIDATE else verdict["baseline"])
    }


def reasons(evaluation_uri: str) -> list[str]:
    """Why the candidate is not blessed, one line per failed gate; empty if it is blessed."""
    return _read(evaluation_uri)["reasons"]


def comparisons(evaluation_uri: str) -> list[str]:
    """How the candidate compares with the baseline, a line for each gate that asks."""
    return _read(evaluation_uri)["comparisons"]


def is_proved_better(evaluation_uri: str) -> bool:
    """Whether every metric that may be not worse is proved better than the anchor's."""
    return _read(evaluation_uri)["proved_better"]


def _read(evaluation_uri: str) -> _Verdict:
    with open(os.path.join(evaluation_uri, _FILE), encoding="utf-8") as file:
        return json.load(file)


def _finite(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float | None]:
    numbers = {name: float(value.get(_NUMBER, math.nan)) for name, value in metrics.items()}
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _reasons(validation: validation_result_pb2.ValidationResult, said: dict[str, str]) -> list[str]:
    if validation.validation_ok:
        return []
    lines = []
    for one in validation.metric_validations_per_slice:
        place = ", ".join(
            f"{key.column} {key.bytes_value.decode()}" for key in one.slice_key.single_slice_keys
        )
        for failure in one.failures:
            text = said.get(failure.metric_key.name) or _reason(failure)
            lines.append(text + (f" (slice {place})" if place else ""))
    for missing in validation.missing_slices:
        lines.append(f"no test row in slice {', '.join(missing.feature_keys)}")
    return lines or ["no metric could be checked"]


def _reason(failure: validation_result_pb2.ValidationFailure) -> str:
    name = failure.metric_key.name
    value = failure.metric_value.double_value.value
    if not failure.HasField("metric_value") or math.isnan(value):
        return f"{name} is not a number"
    bound = failure.metric_threshold.value_threshold
    if bound.HasField("upper_bound") and value > bound.upper_bound.value:
        return f"{name} {value:.4f} is above the bound {bound.upper_bound.value:g}"
    return f"{name} {value:.4f} is below the bound {bound.lower_bound.value:g}"
