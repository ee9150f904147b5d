"""What models are compared on, as TFMA metrics.

A row brings its predictions along:

- `rating`, clipped to the scale, and the `decile` of that prediction among all rows, 1 to 10
  (rows of events have neither, and metrics of ratings are not asked for);
- `rank` and `sampled_rank` of its item (0 is the top; -1: this row's item is not ranked, because
  its rating is below the relevance threshold; NaN: a score was NaN);
- on one row of each user that has a ranked one, `recommended`: the user's first K items as
  positions in the catalogue, -1 where no item is left; on the other rows nothing;
- `catalogue_size`.

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
    CATALOGUE_SIZE,
    DECILE,
    NO_ITEM,
    NOT_RANKED,
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

    def predicted(self, extracts: types.Extracts, output: str) -> float:
        """One of the model's predictions."""
        return extracts[constants.PREDICTIONS_KEY][self.model][output].item()


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
        rating = self.predicted(extracts, RATING)
        label = extracts[constants.LABELS_KEY][self.model].item()
        error = rating - label
        square = error * error
        errors = [0.0] * 10
        errors[int(self.predicted(extracts, DECILE)) - 1] = error
        moments = (rating, label, rating * rating, rating * label)
        yield np.array([1.0, error, abs(error), square, square * square, *moments, *errors])


class _RankSums(NamedTuple):
    """Sums over ranked rows: hits and gains within the first K. A hit is its own square."""

    rows: float
    hit: float
    gain: float
    squared_gain: float
    sampled_hit: float
    sampled_gain: float
    squared_sampled_gain: float


class _RankTerms(_RowTerms):
    """The terms of _RankSums."""

    def __init__(self, model: str, k: int) -> None:
        super().__init__(model)
        self.k = k

    def process(self, extracts: types.Extracts) -> Iterator[np.ndarray]:
        rank = self.predicted(extracts, RANK)
        if rank == NOT_RANKED:
            yield np.zeros(7)
            return
        if math.isnan(rank):
            yield np.full(7, math.nan)
            return
        sampled_rank = self.predicted(extracts, SAMPLED_RANK)
        yield np.array([1.0, *self._hit_and_gain(rank), *self._hit_and_gain(sampled_rank)])

    def _hit_and_gain(self, rank: float) -> tuple[float, float, float]:
        gain = 1.0 / math.log2(rank + 2.0) if rank < self.k else 0.0
        return float(rank < self.k), gain, gain * gain


class _Recommendations(NamedTuple):
    """How often each item is in a user's list; NO_ITEM stands for lists made of NaN scores."""

    catalogue_size: int
    times: Counter[int]


class _RecommendationTerms(_RowTerms):
    """A row's list and the catalogue's size; nothing of rows that bring no list."""

    def process(self, extracts: types.Extracts) -> Iterator[tuple[list[int], int]]:
        recommended = extracts[constants.PREDICTIONS_KEY][self.model][RECOMMENDED]
        if recommended.size:
            items = recommended[recommended != NO_ITEM].tolist()
            is_broken = math.isnan(self.predicted(extracts, RANK))
            yield [NO_ITEM] if is_broken else items, int(self.predicted(extracts, CATALOGUE_SIZE))


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
        if not times or NO_ITEM in times:
            return (math.nan,)
        return (value(size, np.sort(np.array(list(times.values()), float))),)

    return _derived("_recommendations", _RecommendationTerms, _RecommendationsCombineFn, of_all)


def _mean(count: float, total: float, squares: float) -> tuple[float, float]:
    """The mean and its standard error."""
    if count == 0:
        return math.nan, math.nan
    mean = total / count
    return mean, math.sqrt(max(squares / count - mean * mean, 0.0) / count)


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
