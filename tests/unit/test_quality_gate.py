"""M2, M3: TFMA's own validator, given our EvalConfig, stops a model at each gate alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import tfx.components  # noqa: F401 - must be imported before TFMA on older glibc
from google.protobuf import json_format
from tensorflow_model_analysis.evaluators import metrics_validator
from tensorflow_model_analysis.metrics.metric_types import MetricKey
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import config_util

from tests.conftest import EVENTS, write_config
from tfx_recommender.components.evaluator.predictions import BASELINE, CANDIDATE
from tfx_recommender.pipeline import quality_gate
from tfx_recommender.pipeline.settings import config, config_file

BOUNDS: dict[str, dict[str, Any]] = {
    "rmse": {"max": 1.0},
    "hit_rate": {"min": 0.2},
    "mae": {"max": 0.8, "policy": "better", "min_improvement": 0.01},
    "rating_bias": {"min": -0.1, "max": 0.1},
    "calibration_slope": {"min": 0.9, "max": 1.1},
    "expected_calibration_error": {"max": 0.05},
    "rmse_by_user_activity_decile": {"max": 1.5},
    "rmse_by_item_popularity_decile": {"max": 1.6},
    "ndcg": {"min": 0.1, "policy": "not_worse", "margin": 0.02},
    "coverage": {"min": 0.3},
    "gini": {"max": 0.9},
}
GOOD = {
    "rmse": 0.9,
    "rmse_improvement_lower_bound": 0.0001,
    "rmse_improvement_rows": 50,
    "hit_rate_at_5_improvement_lower_bound": 0.0001,
    "hit_rate_at_5_improvement_rows": 50,
    "mae_improvement_lower_bound": 0.01,
    "mae_improvement_rows": 50,
    "ndcg_at_5_improvement_lower_bound": -0.02,
    "ndcg_at_5_improvement_rows": 50,
    "ndcg_at_5_anchor_lower_bound": -0.02,
    "mae": 0.7,
    "rating_bias": 0.05,
    "calibration_slope": 1.0,
    "expected_calibration_error": 0.02,
    "hit_rate_at_5": 0.6,
    "ndcg_at_5": 0.2,
    "sampled_hit_rate_at_5": 0.6,
    "sampled_ndcg_at_5": 0.4,
    "coverage_at_5": 0.5,
    "gini_at_5": 0.8,
}
OF_EVIDENCE = [name for name in GOOD if "_improvement_" in name or "_anchor_" in name]

SliceKey = tuple[tuple[str, str], ...]


def failures(
    folder: Path,
    metrics: dict[str, float],
    slice_key: SliceKey = (),
    gates: dict[str, dict[str, Any]] = BOUNDS,
    ranked_users: int | None = None,
) -> list[str]:
    """What blocks a candidate with these metrics, by name."""
    overrides = [f"evaluation.gates.{name}={json.dumps(gate)}" for name, gate in gates.items()]
    if ranked_users is not None:
        overrides.append(f"evaluation.ranked_users={ranked_users}")
    loaded = config_file.load(str(folder / "config.yaml"), overrides)
    # What tfma.ExtractEvaluateAndWriteResults does with it first.
    eval_config = config_util.update_eval_config_with_defaults(
        json_format.Parse(quality_gate.eval_config(loaded), config_pb2.EvalConfig()),
        has_baseline=True,
    )
    values: dict[MetricKey, float] = {}
    for name, value in metrics.items():
        key = MetricKey(name=name, model_name=CANDIDATE)
        values |= {key: value, MetricKey(name=name, model_name=BASELINE): 0.0}
        # TFMA computes them from both models' values; a NaN makes a NaN.
        values[key.make_diff_key()] = 0 * value
    result = metrics_validator.validate_metrics((slice_key, values), eval_config)
    names = [
        failure.metric_key.name
        for validation in result.metric_validations_per_slice
        for failure in validation.failures
    ]
    assert result.validation_ok == (not names)
    return names


def test_every_gate_has_a_bound_here() -> None:
    assert set(BOUNDS) == set(config.Gates.model_fields)


def test_a_model_within_all_bounds_is_blessed(small: Path) -> None:
    assert failures(small, GOOD) == []
    assert failures(small, GOOD | {"rmse": 1.4}, (("user_activity_decile", "3"),)) == []


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (f"{metric}_at_5" if f"{metric}_at_5" in GOOD else metric, value)
        for metric, bounds in BOUNDS.items()
        if "decile" not in metric
        for value in (
            *(
                bounds[side] + step
                for side, step in (("max", 0.001), ("min", -0.001))
                if side in bounds
            ),
            math.nan,
            None,
        )
    ],
)
def test_m2_m3_each_gate_blocks_alone(small: Path, metric: str, value: float | None) -> None:
    """Beyond a bound, as a NaN, and when the metric is missing."""
    metrics: dict[str, Any] = GOOD | {metric: value}
    if value is None:
        del metrics[metric]
    assert set(failures(small, metrics)) == {metric}


@pytest.mark.parametrize("metric", OF_EVIDENCE)
@pytest.mark.parametrize("change", ["below", "NaN", "missing"])
def test_m2_m10_each_comparison_blocks_alone(small: Path, metric: str, change: str) -> None:
    """Under either policy: the bound of the improvement, and the rows that it rests on."""
    value = {"below": GOOD[metric] - (1 if metric.endswith("_rows") else 1e-6), "NaN": math.nan}
    metrics = {name: value.get(change) if name == metric else GOOD[name] for name in GOOD}
    given = {name: figure for name, figure in metrics.items() if figure is not None}
    assert failures(small, given) == [metric]


@pytest.mark.parametrize(
    ("decile", "rmse"),
    [
        ("user_activity_decile", 1.501),
        ("item_popularity_decile", 1.601),
        ("user_activity_decile", math.nan),
    ],
)
def test_m2_m3_the_worst_decile_blocks(small: Path, decile: str, rmse: float) -> None:
    for number in ("1", "10"):
        assert failures(small, GOOD | {"rmse": rmse}, ((decile, number),)) == ["rmse"]


@pytest.mark.parametrize(
    ("metrics", "slice_key", "blocking"),
    [
        ({}, (), set()),
        ({"hit_rate_at_5": 0.19}, (), {"hit_rate_at_5"}),
        ({"hit_rate_at_5": math.nan}, (), {"hit_rate_at_5"}),
        ({"hit_rate_at_5": None}, (), {"hit_rate_at_5"}),
        ({"gini_at_5": 0.91}, (), {"gini_at_5"}),
        ({"hit_rate_at_5": 0.0}, (("gender", "F"),), set()),
        ({"hit_rate_at_5": math.nan}, (("gender", "F"),), {"hit_rate_at_5"}),
    ],
)
def test_m2_m3_rankings_of_events_are_gated_alone(
    small: Path, metrics: dict[str, Any], slice_key: SliceKey, blocking: set[str]
) -> None:
    write_config(small, **EVENTS)
    of_rankings = {name: value for name, value in GOOD.items() if "_at_5" in name}
    given = {k: v for k, v in (of_rankings | metrics).items() if v is not None}
    bounds = {name: BOUNDS[name] for name in ("hit_rate", "ndcg", "coverage", "gini")}
    assert set(failures(small, given, slice_key, bounds)) == blocking


def test_the_sampled_protocol_gates_nothing(small: Path) -> None:
    nothing = {"sampled_hit_rate_at_5": math.nan, "sampled_ndcg_at_5": math.nan}
    assert failures(small, GOOD | nothing) == []


# Of a sample: what is estimated would block, were it not for the lower bounds that decide.
SAMPLED = GOOD | {
    "hit_rate_at_5": 0.0,
    "ndcg_at_5": 0.05,
    "hit_rate_at_5_lower_bound": 0.2,
    "ndcg_at_5_lower_bound": 0.1,
}


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("hit_rate_at_5_lower_bound", 0.199),
        ("ndcg_at_5_lower_bound", 0.099),
        ("ndcg_at_5", 0.31),
        *((name, bad) for name in sorted(SAMPLED.keys() - GOOD.keys()) for bad in (math.nan, None)),
    ],
)
def test_of_a_sample_of_users_the_confidence_bounds_decide(
    small: Path, metric: str, value: float | None
) -> None:
    gates = BOUNDS | {"ndcg": {"max": 0.3} | BOUNDS["ndcg"]}
    assert failures(small, SAMPLED, gates=gates, ranked_users=9) == []
    metrics: dict[str, Any] = SAMPLED | {metric: value}
    if value is None:
        del metrics[metric]
    assert failures(small, metrics, gates=gates, ranked_users=9) == [metric]
