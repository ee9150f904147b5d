"""M3, M6: every metric against its definition, on rows as TFMA hands them out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tfx.components  # noqa: F401 - must be imported before TFMA on older glibc
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.metrics import metric_types

from tfx_recommender.components.evaluator import catalogue, tfma_metrics
from tfx_recommender.components.evaluator.deciles import deciles
from tfx_recommender.components.evaluator.predictions import (
    BASELINE,
    NO_ITEM,
    NO_SCORE,
    NOT_RANKED,
)

MODEL = "candidate"


def metric_of(name: str, k: int = 10, statistic: str = "estimate", **evidence: Any) -> Any:
    """A metric of the catalogue as TFMA makes it; it reports under its own name."""
    return tfma_metrics.CatalogueMetric(name, k, statistic, name, **evidence)


def computed(metric: Any, rows: list[dict[str, Any]], wide: int = 3) -> dict[str, float]:
    """Runs a metric's computations as TFMA does, over two accumulators, and some rows as one."""
    computation, derived = metric.computations(model_names=[MODEL])
    combiner, (preprocessor,) = computation.combiner, computation.preprocessors
    accumulators = [combiner.create_accumulator() for _ in range(2)]
    for number, start in enumerate(range(0, len(rows), wide)):
        together = {
            name: np.concatenate([row[name] for row in rows[start : start + wide]])
            for name in rows[0]
        }
        if "catalogue_size" in together:
            together["catalogue_size"] = together["catalogue_size"][:1]
        of_other = [name for name in together if name.startswith("baseline_")]
        baseline = together | {name.removeprefix("baseline_"): together[name] for name in of_other}
        extracts = {
            constants.LABELS_KEY: {MODEL: together.get("label")},
            constants.PREDICTIONS_KEY: {MODEL: together, BASELINE: baseline},
        }
        for element in preprocessor.process(extracts):
            accumulators[number % 2] = combiner.add_input(accumulators[number % 2], element)
    private = combiner.extract_output(combiner.merge_accumulators(accumulators))
    return {key.name: value for key, value in derived.result(private).items()}


def rating_rows(label: list[float], rating: list[float]) -> list[dict[str, Any]]:
    decile = deciles(np.array(rating))
    return [
        {"label": [one], "rating": [other], "decile": [d]}
        for one, other, d in zip(label, rating, decile, strict=True)
    ]


numbers = st.floats(-10, 10).map(lambda number: round(number, 2))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=40))
def test_rating_metrics_equal_their_definitions(pairs: list[tuple[float, float]]) -> None:
    label, rating = (np.array(column) for column in zip(*pairs, strict=True))
    rows = rating_rows(list(label), list(rating))
    error = rating - label

    def standard_error(values: np.ndarray) -> float:
        return values.std() / math.sqrt(len(values))

    rmse = math.sqrt((error**2).mean())
    expected = {
        "rmse": rmse,
        "rmse_standard_error": standard_error(error**2) / (2 * rmse) if rmse else 0.0,
        "mae": np.abs(error).mean(),
        "mae_standard_error": standard_error(np.abs(error)),
        "rating_bias": error.mean(),
        "rating_bias_standard_error": standard_error(error),
        "expected_calibration_error": sum(
            (decile == d).mean() * abs(rating[decile == d].mean() - label[decile == d].mean())
            for decile in [deciles(rating)]
            for d in set(decile)
        ),
    }
    found = {
        **computed(metric_of("rmse"), rows),
        **computed(metric_of("mae"), rows),
        **computed(metric_of("rating_bias"), rows),
        **computed(metric_of("expected_calibration_error"), rows),
    }
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)
    slope = computed(metric_of("calibration_slope"), rows)["calibration_slope"]
    if len(set(rating)) == 1:
        assert math.isnan(slope)
    elif rating.std() > 0.1:
        assert slope == pytest.approx(np.polyfit(rating, label, 1)[0], rel=1e-5, abs=1e-5)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(NOT_RANKED, 30), min_size=1, max_size=20), st.integers(1, 40))
def test_m6_hit_rate_and_ndcg_equal_their_definitions(ranks: list[int], k: int) -> None:
    """Also for K beyond the catalogue; rows that are not ranked do not count."""
    rows = [
        {"rank": [rank], "sampled_rank": [rank // 2]}  # -1 // 2 is -1
        for rank in ranks
    ]
    for hit_rate, ndcg, of in (
        ("hit_rate", "ndcg", lambda rank: rank),
        ("sampled_hit_rate", "sampled_ndcg", lambda rank: rank // 2),
    ):
        ranked = np.array([of(rank) for rank in ranks if rank != NOT_RANKED])
        found = computed(metric_of(hit_rate, k), rows) | computed(metric_of(ndcg, k), rows)
        if not len(ranked):
            assert all(math.isnan(value) for value in found.values())
            continue
        hits = (ranked < k).astype(float)
        gains = hits / np.log2(ranked + 2.0)
        assert found == pytest.approx(
            {
                hit_rate: hits.mean(),
                f"{hit_rate}_standard_error": hits.std() / math.sqrt(len(hits)),
                ndcg: gains.mean(),
                f"{ndcg}_standard_error": gains.std() / math.sqrt(len(gains)),
            },
            abs=1e-7,
        )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 7), max_size=4, unique=True), min_size=1, max_size=10),
    st.integers(8, 12),
)
def test_coverage_and_gini_equal_their_definitions(lists: list[list[int]], size: int) -> None:
    """Lists may be short; rows that bring none change nothing."""
    rows = [
        {"rank": [0.0], "catalogue_size": [size], "recommended": [*items, NO_ITEM][:4]}
        for items in lists
    ]
    rows.insert(1, {"rank": [0.0], "catalogue_size": [size], "recommended": np.array([], int)})
    found = computed(metric_of("coverage"), rows) | computed(metric_of("gini"), rows)
    times = np.bincount([item for items in lists for item in items], minlength=size)
    if not times.any():
        assert math.isnan(found["coverage"])
        assert math.isnan(found["gini"])
        return
    # Half the relative mean absolute difference, over pairs of different items.
    gini = np.abs(times[:, None] - times).sum() / (2 * size * (size - 1) * times.mean())
    assert found == pytest.approx({"coverage": np.count_nonzero(times) / size, "gini": gini})


def test_gini_is_1_for_one_item_and_0_for_all_alike() -> None:
    def gini(*lists: list[int]) -> float:
        rows = [{"rank": [0.0], "catalogue_size": [4], "recommended": items} for items in lists]
        return computed(metric_of("gini"), rows)["gini"]

    assert gini([2], [2], [2]) == 1
    assert gini([0, 1], [2, 3]) == 0


def test_m3_nan_makes_every_metric_nan_that_it_touches() -> None:
    ratings = rating_rows([1.0, 2.0, 3.0], [1.0, math.nan, 2.0])
    lists = [
        {"rank": [rank], "sampled_rank": [rank], "catalogue_size": [5], "recommended": [item]}
        for rank, item in ((0.0, 3), (math.nan, NO_SCORE))
    ]
    for name, metric in catalogue.METRICS.items():
        rows = ratings if isinstance(metric, catalogue.RatingMetric) else lists
        assert math.isnan(computed(metric_of(name), rows)[name]), name
        if isinstance(metric, catalogue.RowMetric):
            for number, row in enumerate(rows):
                row["user_code"] = [number]
            for statistic in ("lower_bound", "improvement", "improvement_lower_bound"):
                assert math.isnan(computed(metric_of(name, 10, statistic), rows)[name]), statistic


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=50))
def test_deciles_are_tenths_of_the_rows_and_equal_values_share_one(values: list[int]) -> None:
    found = deciles(np.array(values))
    expected = [1 + 10 * sum(v < value for v in values) // len(values) for value in values]
    assert found.tolist() == expected
    assert found.min() == 1
    assert found.max() <= 10


def test_deciles_of_distinct_values_are_equally_large() -> None:
    found = deciles(np.random.default_rng(0).permutation(200))
    assert np.bincount(found).tolist() == [0, *[20] * 10]


def test_no_class_of_ours_has_the_name_of_one_of_tfmas() -> None:
    """TFMA would compute its own, whatever module the config names."""
    registered = metric_types.registered_metrics()
    assert "NDCG" in registered
    assert tfma_metrics.CatalogueMetric.__name__ not in registered
