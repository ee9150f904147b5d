"""What models are compared on, as TFMA metrics.

A row of TFMA's is many rows of the test split, all that no slice tells apart: TFMA spends as long
on a row that says much as on one that says little. A row brings along lists: the labels, and of
each model

- `rating`, clipped to the scale, and the `decile` of that prediction among all rows, 1 to 10
  (rows of events have neither, and metrics of ratings are not asked for);
- `rank` and `sampled_rank` of the items (0 is the top; NOT_RANKED: the item does not count, for its
  rating is below the relevance threshold; NOT_SAMPLED: it does, but not all users are ranked, and
  this one is not; NaN: a score was NaN);
- `recommended`: for each user whose first ranked row is among these, the first K items as positions
  in the catalogue, NO_ITEM where none is left, NO_SCORE for lists made of NaN scores;
- `catalogue_size`, one number.

Metrics of a kind share their sums over rows, one Beam combiner per model and kind, and derive
their values from them, as TFMA's own do. A metric is NaN where no row counts; NaN passes no gate.

The class names must not be those of TFMA's own metrics: it looks there first, whatever module
a config names.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis import constants, types
from tensorflow_model_analysis.metrics import metric_types, metric_util

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
    SAMPLED_RANK,
)


class _RowTerms(metric_types.Preprocessor):
    """Makes of a row what one model's combiner adds up: once, before the row goes to its slices."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model

    def predicted(self, extracts: types.Extracts, output: str, model: str = "") -> np.ndarray:
        """Predictions, of this model if no other is named, [rows]."""
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


class _RatingSums(NamedTuple):
    """Sums over rows; an error is the predicted less the actual rating."""

    rows: float
    error: float
    absolute_error: float
    squared_error: float
    fourth_power: float
    rating: float
    label: float
    squared_rating: float
    rating_times_label: float
    error_of_decile: list[float]


class _RatingTerms(_RowTerms):
    """The terms of _RatingSums."""

    def process(self, extracts: types.Extracts) -> Iterator[np.ndarray]:
        rating = self.predicted(extracts, RATING).astype(float)
        label = extracts[constants.LABELS_KEY][self.model].ravel().astype(float)
        error = rating - label
        square = error * error
        terms = [np.ones(len(error)), error, abs(error), square, square * square]
        terms += [rating, label, rating * rating, rating * label]
        decile = self.predicted(extracts, DECILE) - 1
        yield np.append(np.sum(terms, axis=1), np.bincount(decile, error, minlength=10))


class _RankSums(NamedTuple):
    """Sums over ranked rows: hits and gains within the first K. A hit is its own square."""

    rows: float
    hit: float
    gain: float
    squared_gain: float
    sampled_hit: float
    sampled_gain: float
    squared_sampled_gain: float
    improvement: float
    squared_improvement: float
    unsampled_rows: float


class _RankTerms(_RowTerms):
    """The terms of _RankSums; a row's improvement is its hit less the baseline's."""

    def __init__(self, model: str, k: int) -> None:
        super().__init__(model)
        self.k = k

    def process(self, extracts: types.Extracts) -> Iterator[np.ndarray]:
        rank = self.predicted(extracts, RANK)
        # NaN is neither.
        is_ranked = ~((rank == NOT_RANKED) | (rank == NOT_SAMPLED))
        hit, gain = self._hit_and_gain(rank[is_ranked])
        of_sampled = self._hit_and_gain(self.predicted(extracts, SAMPLED_RANK)[is_ranked])
        baseline = self.predicted(extracts, RANK, BASELINE)[is_ranked]
        improvement = hit - self._hit_and_gain(baseline)[0]
        terms = [np.ones(len(hit)), hit, gain, gain * gain, *of_sampled, of_sampled[1] ** 2]
        terms += [improvement, improvement**2]
        yield np.append(np.sum(terms, axis=1), np.count_nonzero(rank == NOT_SAMPLED))

    def _hit_and_gain(self, rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hit = np.where(np.isnan(rank), rank, rank < self.k)
        return hit, hit / np.log2(rank + 2.0)


class _Recommendations(NamedTuple):
    """How often each item is in a user's list, and NO_SCORE."""

    catalogue_size: int
    times: Counter[int]


class _RecommendationTerms(_RowTerms):
    """A row's lists and the catalogue's size; nothing of rows that bring no list."""

    def process(self, extracts: types.Extracts) -> Iterator[tuple[list[int], int]]:
        recommended = self.predicted(extracts, RECOMMENDED)
        if recommended.size:
            (size,) = self.predicted(extracts, CATALOGUE_SIZE)
            yield recommended[recommended != NO_ITEM].tolist(), int(size)


class _RecommendationsCombineFn(beam.CombineFn):
    """_Recommendations: memory grows with how many different items are recommended."""

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


def _derived(
    source: str,
    terms: Callable[[str], _RowTerms],
    combiner: type[beam.CombineFn],
    value: Callable[[Any], tuple[float, ...]],
) -> Callable[..., metric_types.MetricComputations]:
    """The computations of a metric, and of its standard error if it has one.

    Args:
      source: name of the private metric that the combiner makes; TFMA computes it once, however
        many metrics are derived from it.
      terms: given a model, makes the combiner's input of a row.
      combiner: makes the private metric.
      value: gives the metric's value, and perhaps its standard error.
    """

    def create(name: str, model_name: str = "", **unused: Any) -> metric_types.MetricComputations:
        private, *keys = (
            metric_types.MetricKey(name=key, model_name=model_name)
            for key in (source, name, f"{name}_standard_error")
        )
        return [
            metric_types.MetricComputation([private], [terms(model_name)], combiner(private)),
            metric_types.DerivedMetricComputation(
                keys, lambda metrics: dict(zip(keys, value(metrics[private]), strict=False))
            ),
        ]

    return metric_util.merge_per_key_computations(create)


def _of_ratings(
    value: Callable[[_RatingSums], tuple[float, ...]],
) -> Callable[..., metric_types.MetricComputations]:
    return _derived(
        "_rating_sums",
        _RatingTerms,
        _SumCombineFn,
        lambda sums: value(_RatingSums(*sums[:9].tolist(), error_of_decile=sums[9:].tolist())),
    )


def _of_ranks(
    k: int, value: Callable[[_RankSums], tuple[float, ...]]
) -> Callable[..., metric_types.MetricComputations]:
    return _derived(
        f"_rank_sums_at_{k}",
        functools.partial(_RankTerms, k=k),
        _SumCombineFn,
        lambda sums: value(_RankSums(*sums.tolist())),
    )


def _of_recommendations(
    value: Callable[[int, np.ndarray], float],
) -> Callable[..., metric_types.MetricComputations]:
    def of_all(recommendations: _Recommendations) -> tuple[float, ...]:
        size, times = recommendations
        if not times or NO_SCORE in times:
            return (math.nan,)
        return (value(size, np.sort(np.array(list(times.values()), float))),)

    return _derived("_recommendations", _RecommendationTerms, _RecommendationsCombineFn, of_all)


def _mean(count: float, total: float, squares: float) -> tuple[float, float]:
    """The mean and its standard error."""
    if count == 0:
        return math.nan, math.nan
    mean = total / count
    return mean, math.sqrt(max(squares / count - mean * mean, 0.0) / count)


def _lower_bound(sums: _RankSums, total: float, squares: float) -> tuple[float]:
    """Lower end of the one-sided 95 % confidence interval of a mean over all rows, given a sample.

    With the correction for finite populations (Cochran 1977, eq. 2.20): where all rows are in the
    sample, it is their mean.
    """
    mean, error = _mean(sums.rows, total, squares)
    share = sums.unsampled_rows / max(1.0, sums.rows + sums.unsampled_rows)
    return (mean - 1.645 * error * math.sqrt(share),)


def _root(mean: float, error: float) -> tuple[float, float]:
    """The root of a mean, and its standard error by the delta method."""
    root = math.sqrt(mean)
    return root, error / (2 * root) if root else 0.0


def _slope(sums: _RatingSums) -> float:
    variance = sums.rows * sums.squared_rating - sums.rating**2
    covariance = sums.rows * sums.rating_times_label - sums.rating * sums.label
    # Below that it is rounding: all predictions are the same.
    is_spread = variance > 1e-9 * sums.rows * sums.squared_rating
    return covariance / variance if is_spread else math.nan


def _gini(size: int, times: np.ndarray) -> float:
    if size == 1:
        return math.nan
    # Items that are never recommended come first, and add nothing to the sum.
    place = np.arange(size - len(times), size) + 1
    return float(np.sum((2 * place - size - 1) * times) / ((size - 1) * times.sum()))


class RatingRMSE(tfma.metrics.Metric):
    """Root of the mean squared error of the rating."""

    def __init__(self, name: str) -> None:
        super().__init__(
            _of_ratings(lambda s: _root(*_mean(s.rows, s.squared_error, s.fourth_power))),
            name=name,
        )


class RatingMAE(tfma.metrics.Metric):
    """Mean absolute error of the rating."""

    def __init__(self, name: str) -> None:
        super().__init__(
            _of_ratings(lambda s: _mean(s.rows, s.absolute_error, s.squared_error)), name=name
        )


class RatingBias(tfma.metrics.Metric):
    """Mean predicted less mean actual rating (calibration in the large; 0 is best)."""

    def __init__(self, name: str) -> None:
        super().__init__(_of_ratings(lambda s: _mean(s.rows, s.error, s.squared_error)), name=name)


class RatingCalibrationSlope(tfma.metrics.Metric):
    """Slope of the regression of the actual on the predicted rating (Cox 1958; 1 is best).

    Below 1 predictions are too extreme, above 1 too timid; NaN where all are the same.
    """

    def __init__(self, name: str) -> None:
        super().__init__(_of_ratings(lambda s: (_slope(s),)), name=name)


class RatingExpectedCalibrationError(tfma.metrics.Metric):
    """|mean predicted - mean actual rating| in each decile of the prediction, averaged over rows.

    Naeini, Cooper and Hauskrecht 2015, with a rating in place of a probability. 0 is best, and
    out of reach: with n rows in a decile chance alone makes about 0.8 residual deviations / √n.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            _of_ratings(lambda s: (sum(abs(error) for error in s.error_of_decile) / s.rows,)),
            name=name,
        )


class CatalogueHitRate(tfma.metrics.Metric):
    """Share of relevant held-out rows whose item ranks among the first `k` of the catalogue."""

    def __init__(self, k: int, name: str) -> None:
        super().__init__(
            _of_ranks(k, lambda s: _mean(s.rows, s.hit, s.hit)),
            name=name,
            k=k,
        )


class CatalogueHitRateLowerBound(tfma.metrics.Metric):
    """Lower confidence bound of CatalogueHitRate where a sample of users is ranked.

    One-sided, 95 %; rows are taken for independent, which those of one user need not be.
    """

    def __init__(self, k: int, name: str) -> None:
        super().__init__(_of_ranks(k, lambda s: _lower_bound(s, s.hit, s.hit)), name=name, k=k)


class CatalogueHitRateGain(tfma.metrics.Metric):
    """Lower confidence bound, likewise, of CatalogueHitRate less the baseline's.

    Of the differences row by row: both models rank the same users.
    """

    def __init__(self, k: int, name: str) -> None:
        super().__init__(
            _of_ranks(k, lambda s: _lower_bound(s, s.improvement, s.squared_improvement)),
            name=name,
            k=k,
        )


class CatalogueNDCGLowerBound(tfma.metrics.Metric):
    """Lower confidence bound of CatalogueNDCG where a sample of users is ranked."""

    def __init__(self, k: int, name: str) -> None:
        super().__init__(
            _of_ranks(k, lambda s: _lower_bound(s, s.gain, s.squared_gain)), name=name, k=k
        )


class CatalogueNDCG(tfma.metrics.Metric):
    """Normalised discounted cumulative gain at `k`, one relevant item per row.

    1 / log2(rank + 2) within the first `k`, else 0 (Järvelin and Kekäläinen 2002, with the
    ideal gain of a single relevant item, which is 1).
    """

    def __init__(self, k: int, name: str) -> None:
        super().__init__(
            _of_ranks(k, lambda s: _mean(s.rows, s.gain, s.squared_gain)), name=name, k=k
        )


class SampledHitRate(tfma.metrics.Metric):
    """HitRate at `k` among sampled negatives (He et al. 2017), to compare with papers.

    Not to choose models by: sampling reorders them (Krichene and Rendle 2020).
    """

    def __init__(self, k: int, name: str) -> None:
        super().__init__(
            _of_ranks(k, lambda s: _mean(s.rows, s.sampled_hit, s.sampled_hit)), name=name, k=k
        )


class SampledNDCG(tfma.metrics.Metric):
    """NDCG at `k` among sampled negatives; see SampledHitRate."""

    def __init__(self, k: int, name: str) -> None:
        super().__init__(
            _of_ranks(k, lambda s: _mean(s.rows, s.sampled_gain, s.squared_sampled_gain)),
            name=name,
            k=k,
        )


class CatalogueCoverage(tfma.metrics.Metric):
    """Share of the catalogue that is in at least one user's list (Ge et al. 2010).

    Of all rows, or of a slice by a feature of users; in others a user's list is where the row
    lies that brings it along.
    """

    def __init__(self, name: str) -> None:
        super().__init__(_of_recommendations(lambda size, times: len(times) / size), name=name)


class RecommendationGini(tfma.metrics.Metric):
    """Gini coefficient of how often each item of the catalogue is recommended.

    0: all equally often; 1: always the same one (Shani and Gunawardana 2011, with the items that
    are never recommended). For slices see CatalogueCoverage.
    """

    def __init__(self, name: str) -> None:
        super().__init__(_of_recommendations(_gini), name=name)
