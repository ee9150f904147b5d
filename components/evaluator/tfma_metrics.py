"""The metrics of `catalogue.py` as TFMA (0.52) computes them.

A row of TFMA stands for all rows of the test split that are in the same slices, because TFMA takes
the same time for a long row as for a short one. A row has lists: the labels, and for each model

- `rating`, clipped to the scale, and the `decile` of that prediction among all rows, 1 to 10
  (rows of events have neither, and no rating metrics);
- `rank` and `sampled_rank` of the items (0 is the top; NOT_RANKED: the label is below the relevance
  threshold; NOT_SAMPLED: it is not, but the user is not in the sample of ranked users; NaN: a score
  was NaN);
- `recommended`: for each user whose first ranked row is among these, the first K items as positions
  in the catalogue, NO_ITEM where none is left, NO_SCORE for lists made of NaN scores;
- `catalogue_size`, one number.

Metrics that share their sums share one Beam combiner per model. A metric is NaN where no row
counts; NaN passes no gate.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis import constants, types
from tensorflow_model_analysis.metrics import metric_types, metric_util

from tfx_recommender.components.evaluator import catalogue
from tfx_recommender.components.evaluator.predictions import (
    BASELINE,
    CATALOGUE_SIZE,
    DECILE,
    NO_ITEM,
    NO_SCORE,
    NOT_RANKED,
    NOT_SAMPLED,
    RANK,
    RATING,
    RECOMMENDED,
)


class CatalogueMetric(tfma.metrics.Metric):
    """A metric of the catalogue.

    TFMA looks for a class of this name among its own first, so it must have none.
    """

    def __init__(self, metric: str, k: int, statistic: str, name: str) -> None:
        """Makes the computations from the arguments in the EvalConfig.

        Args:
          metric: a key of `catalogue.METRICS`.
          k: K.
          statistic: the method of the metric that gives the value: `estimate`, `lower_bound` or
            `gain_lower_bound`; of metrics of lists it is always `value`.
          name: under which TFMA reports it.
        """
        row = catalogue.METRICS[metric]
        if isinstance(row, catalogue.RatingMetric):
            computations = _computations(_of_ratings(row, statistic))
        elif isinstance(row, catalogue.RankingMetric):
            computations = _computations(_of_ranks(row, k, statistic))
        elif isinstance(row, catalogue.ListMetric):
            computations = _computations(_of_lists(row))
        else:
            raise TypeError(f"{metric}: is of no kind that TFMA can be given")
        super().__init__(
            metric_util.merge_per_key_computations(computations),
            metric=metric,
            k=k,
            statistic=statistic,
            name=name,
        )


class _RowTerms(metric_types.Preprocessor):
    """Turns a row into terms for one model's combiner: once, before the row goes to its slices."""

    def __init__(self, model: str, name: str | None = None) -> None:
        """TFMA runs preprocessors of the same name once; the default is the name of the class."""
        super().__init__(name)
        self.model = model

    def predicted(self, extracts: types.Extracts, output: str, model: str = "") -> np.ndarray:
        """Predictions [rows] of a model; "": of this one."""
        return extracts[constants.PREDICTIONS_KEY][model or self.model][output].ravel()


class _SumCombineFn(beam.CombineFn):
    """The sum of vectors."""

    def __init__(self, key: metric_types.MetricKey) -> None:
        self.key = key

    def create_accumulator(self) -> np.ndarray:
        return np.zeros(())

    def add_input(self, accumulator: np.ndarray, element: np.ndarray) -> np.ndarray:
        return accumulator + element

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        return sum(accumulators, self.create_accumulator())

    def extract_output(self, accumulator: np.ndarray) -> metric_types.MetricsDict:
        return {self.key: accumulator}


class _RatingTerms(_RowTerms):
    """The terms of `catalogue.RatingSums`."""

    def process(self, extracts: types.Extracts) -> Iterator[np.ndarray]:
        yield catalogue.rating_terms(
            self.predicted(extracts, RATING),
            extracts[constants.LABELS_KEY][self.model].ravel(),
            self.predicted(extracts, DECILE),
        )


class _RankTerms(_RowTerms):
    """The terms of `catalogue.RankSums`."""

    def __init__(self, model: str, row: catalogue.RankingMetric, k: int) -> None:
        super().__init__(model, f"{row.name}_terms_at_{k}")
        self.row, self.k = row, k

    def process(self, extracts: types.Extracts) -> Iterator[np.ndarray]:
        rank = self.predicted(extracts, RANK)
        # NaN is neither.
        is_ranked = ~((rank == NOT_RANKED) | (rank == NOT_SAMPLED))
        own, baseline = (
            self.predicted(extracts, self.row.rank, model)[is_ranked] for model in ("", BASELINE)
        )
        terms = self.row.terms(own, baseline, self.k)
        yield np.append(terms, np.count_nonzero(rank == NOT_SAMPLED))


class _Recommendations(NamedTuple):
    """The number of lists that contain each item; NO_SCORE is counted as an item."""

    catalogue_size: int
    times: Counter[int]


class _RecommendationTerms(_RowTerms):
    """A row's lists and the catalogue's size; nothing for rows without lists."""

    def process(self, extracts: types.Extracts) -> Iterator[tuple[list[int], int]]:
        recommended = self.predicted(extracts, RECOMMENDED)
        if recommended.size:
            (size,) = self.predicted(extracts, CATALOGUE_SIZE)
            yield recommended[recommended != NO_ITEM].tolist(), int(size)


class _RecommendationsCombineFn(beam.CombineFn):
    """_Recommendations: memory grows with the number of different items."""

    def __init__(self, key: metric_types.MetricKey) -> None:
        self.key = key

    def create_accumulator(self) -> _Recommendations:
        return _Recommendations(0, Counter())

    def add_input(
        self, accumulator: _Recommendations, element: tuple[list[int], int]
    ) -> _Recommendations:
        items, catalogue_size = element
        accumulator.times.update(items)
        return _Recommendations(catalogue_size, accumulator.times)

    def merge_accumulators(self, accumulators: Iterable[_Recommendations]) -> _Recommendations:
        size, times = 0, Counter[int]()
        for accumulator in accumulators:
            size = max(size, accumulator.catalogue_size)
            times.update(accumulator.times)
        return _Recommendations(size, times)

    def extract_output(self, accumulator: _Recommendations) -> metric_types.MetricsDict:
        return {self.key: accumulator}


Sums = TypeVar("Sums")
"""What a combiner makes of the rows: sums [terms], or recommendations."""


class _Parts(NamedTuple, Generic[Sums]):
    """How TFMA computes a metric, and its standard error if it has one.

    Attributes:
      source: name of the private metric that the combiner makes; TFMA computes it once, however
        many metrics are derived from it.
      terms: given a model, makes the combiner's input of a row.
      combiner: makes the private metric.
      value: gives the metric's value, and perhaps its standard error.
    """

    source: str
    terms: Callable[[str], _RowTerms]
    combiner: type[beam.CombineFn]
    value: Callable[[Sums], tuple[float, ...]]


def _of_ratings(row: catalogue.RatingMetric, statistic: str) -> _Parts[np.ndarray]:
    estimate = getattr(row, statistic)

    def value(sums: np.ndarray) -> tuple[float, ...]:
        plain, of_decile = sums[:9].tolist(), sums[9:].tolist()
        return estimate(catalogue.RatingSums._make([*plain, of_decile]))

    return _Parts("_rating_sums", _RatingTerms, _SumCombineFn, value)


def _of_ranks(row: catalogue.RankingMetric, k: int, statistic: str) -> _Parts[np.ndarray]:
    estimate = getattr(row, statistic)
    return _Parts(
        f"_{row.name}_sums_at_{k}",
        lambda model: _RankTerms(model, row, k),
        _SumCombineFn,
        lambda sums: estimate(catalogue.RankSums(*sums.tolist())),
    )


def _of_lists(row: catalogue.ListMetric) -> _Parts[_Recommendations]:
    def value(recommendations: _Recommendations) -> tuple[float, ...]:
        size, times = recommendations
        if not times or NO_SCORE in times:
            return (math.nan,)
        return (row.value(size, np.array(list(times.values()), float)),)

    return _Parts("_recommendations", _RecommendationTerms, _RecommendationsCombineFn, value)


def _computations(parts: _Parts[Sums]) -> Callable[..., metric_types.MetricComputations]:
    """The function that TFMA calls to get the computations of a metric and its standard error."""

    def create(
        name: str, model_name: str = "", **unused: object
    ) -> metric_types.MetricComputations:
        private, *keys = (
            metric_types.MetricKey(name=key, model_name=model_name)
            for key in (parts.source, name, f"{name}_standard_error")
        )
        combiner = parts.combiner(private)
        return [
            metric_types.MetricComputation([private], [parts.terms(model_name)], combiner),
            metric_types.DerivedMetricComputation(
                keys, lambda metrics: dict(zip(keys, parts.value(metrics[private]), strict=False))
            ),
        ]

    return create
