"""RMSE, MAE, HitRate@K and NDCG@K as TFMA metrics, each with its standard error.

A row brings its predictions along: `rating` (clipped to the scale) and `rank` (0 is the top;
-1: this row's item is not ranked, because its rating is below the relevance threshold). All
four are means over rows of some value, so one Beam combiner serves them.

The class names must not be those of TFMA's own metrics: it looks there first, whatever module
a config names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types, metric_util

RATING = "rating"
RANK = "rank"
NOT_RANKED = -1

# (label, rating, rank) -> the value to average, or None where the row does not count.
RowValue = Callable[[float, float, float], float | None]


class _MeanCombineFn(beam.CombineFn):
    """Count, sum and sum of squares of a value of each row."""

    def __init__(
        self,
        row_value: RowValue,
        key: metric_types.MetricKey,
        error_key: metric_types.MetricKey,
        root: bool,
    ) -> None:
        self.row_value = row_value
        self.key = key
        self.error_key = error_key
        self.root = root

    def create_accumulator(self) -> np.ndarray:
        return np.zeros(3)

    def add_input(
        self, accumulator: np.ndarray, element: metric_types.StandardMetricInputs
    ) -> np.ndarray:
        name = self.key.model_name
        label = element.get_labels(name)
        rating = element.get_predictions(name, RATING)
        rank = element.get_predictions(name, RANK)
        rows = zip(*(np.asarray(x, float).ravel() for x in (label, rating, rank)), strict=True)
        for row in rows:
            value = self.row_value(*row)
            if value is not None:
                accumulator += (1.0, value, value * value)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        return np.sum(list(accumulators), axis=0)

    def extract_output(self, accumulator: np.ndarray) -> metric_types.MetricsDict:
        count, total, squares = accumulator.tolist()
        if count == 0:
            return {self.key: math.nan, self.error_key: math.nan}
        mean = total / count
        error = math.sqrt(max(squares / count - mean * mean, 0.0) / count)
        if self.root:
            root = math.sqrt(mean)
            return {self.key: root, self.error_key: error / (2 * root) if root else 0.0}
        return {self.key: mean, self.error_key: error}


def _computations(
    row_value: RowValue, root: bool = False
) -> Callable[..., metric_types.MetricComputations]:
    def create(
        name: str,
        model_names: Iterable[str] = ("",),
        eval_config: Any = None,
        **unused: Any,
    ) -> metric_types.MetricComputations:
        computations = []
        for model_name in model_names:
            key = metric_types.MetricKey(name=name, model_name=model_name)
            error = metric_types.MetricKey(name=f"{name}_standard_error", model_name=model_name)
            computations.append(
                metric_types.MetricComputation(
                    keys=[key, error],
                    preprocessors=None,
                    combiner=_MeanCombineFn(row_value, key, error, root),
                )
            )
        return computations

    return create


def _ranked(rank: float, value: float) -> float | None:
    """`value`, NaN where the rank is NaN (a score was), None where the row is not ranked."""
    if math.isnan(rank):
        return math.nan
    return None if rank == NOT_RANKED else value


def _hit(rank: float, k: int) -> float:
    return float(rank < k)


def _gain(rank: float, k: int) -> float:
    return 1.0 / math.log2(rank + 2.0) if 0 <= rank < k else 0.0


class RatingRMSE(tfma.metrics.Metric):
    """Root of the mean squared error of the rating; its error by the delta method."""

    def __init__(self, name: str = "rmse") -> None:
        super().__init__(
            metric_util.merge_per_key_computations(
                _computations(lambda label, rating, rank: (rating - label) ** 2, root=True)
            ),
            name=name,
        )


class RatingMAE(tfma.metrics.Metric):
    """Mean absolute error of the rating."""

    def __init__(self, name: str = "mae") -> None:
        super().__init__(
            metric_util.merge_per_key_computations(
                _computations(lambda label, rating, rank: abs(rating - label))
            ),
            name=name,
        )


class CatalogueHitRate(tfma.metrics.Metric):
    """Share of relevant held-out rows whose item ranks among the first `k`."""

    def __init__(self, k: int, name: str) -> None:
        super().__init__(
            metric_util.merge_per_key_computations(
                _computations(lambda label, rating, rank: _ranked(rank, _hit(rank, k)))
            ),
            name=name,
            k=k,
        )


class CatalogueNDCG(tfma.metrics.Metric):
    """Normalised discounted cumulative gain at `k`, one relevant item per row.

    1 / log2(rank + 2) within the first `k`, else 0 (Järvelin and Kekäläinen 2002, with the
    ideal gain of a single relevant item, which is 1).
    """

    def __init__(self, k: int, name: str) -> None:
        super().__init__(
            metric_util.merge_per_key_computations(
                _computations(lambda label, rating, rank: _ranked(rank, _gain(rank, k)))
            ),
            name=name,
            k=k,
        )
