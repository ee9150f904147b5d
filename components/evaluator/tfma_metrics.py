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
- `user_code`, the number of the row's user, and `catalogue_size`, one number: both models' alike;
- `anchor_rating` and `anchor_rank`, where a policy asks for them: those of the last model that was
  proved better.

Metrics that share their sums share one Beam combiner per model. A metric is NaN where no row
counts; NaN passes no gate. What tells of both models, row by row, is reported for the candidate.
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

from tfx_recommender.components.evaluator import catalogue, evidence
from tfx_recommender.components.evaluator.predictions import (
    ANCHOR,
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
    USER,
)


class CatalogueMetric(tfma.metrics.Metric):
    """A metric of the catalogue.

    TFMA looks for a class of this name among its own first, so it must have none.
    """

    def __init__(
        self,
        metric: str,
        k: int,
        statistic: str,
        name: str,
        confidence: float = 0.95,
        candidates: int = 1,
        comparison: int = 1,
        difference: float = 0.0,
    ) -> None:
        """Makes the computations from the arguments in the EvalConfig.

        Args:
          metric: a key of `catalogue.METRICS`.
          k: K.
          statistic: `estimate`, the metric itself, or one of `_STATISTICS`.
          name: under which TFMA reports it.
          confidence: of all comparisons together, see `evidence.confidence`; for the statistics of
            `_STATISTICS` only, like all that follow.
          candidates: models of one night.
          comparison: its number, from 1.
          difference: see `evidence.Estimate.rows_to_tell`.
        """
        row = catalogue.METRICS[metric]
        if statistic in _STATISTICS and isinstance(row, catalogue.RowMetric):
            wanted = _Wanted(confidence, candidates, comparison, difference)
            computations = _computations(_of_pairs(row, k, statistic, wanted))
        elif isinstance(row, catalogue.RatingMetric):
            computations = _computations(_of_ratings(row))
        elif isinstance(row, catalogue.RankingMetric):
            computations = _computations(_of_ranks(row, k))
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
            confidence=confidence,
            candidates=candidates,
            comparison=comparison,
            difference=difference,
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
        is_ranked = _is_ranked(self.predicted(extracts, RANK))
        yield self.row.terms(self.predicted(extracts, self.row.rank)[is_ranked], self.k)


def _is_ranked(rank: np.ndarray) -> np.ndarray:
    """Which rows count; NaN does, for it is neither of the marks."""
    return ~((rank == NOT_RANKED) | (rank == NOT_SAMPLED))


class _PairTerms(_RowTerms):
    """Users' sums of both models' row values, as `evidence.py` adds them up; of a candidate only.

    A user who is not sampled comes along with no row.
    """

    def __init__(self, model: str, row: catalogue.RowMetric, k: int, against: str) -> None:
        super().__init__(model, f"{row.name}_{against}_pairs_at_{k}")
        self.row, self.k, self.against = row, k, against

    def both(self, extracts: types.Extracts, output: str) -> Iterator[np.ndarray]:
        """The candidate's prediction, and that of the model which it is compared with."""
        yield self.predicted(extracts, output)
        if self.against == ANCHOR:
            yield self.predicted(extracts, f"{ANCHOR}_{output}")
        else:
            yield self.predicted(extracts, output, self.against)

    def process(self, extracts: types.Extracts) -> Iterator[np.ndarray]:
        if self.model == BASELINE:
            return
        user = self.predicted(extracts, USER)
        if isinstance(self.row, catalogue.ErrorMetric):
            label = extracts[constants.LABELS_KEY][self.model].ravel().astype(float)
            own, baseline = (
                self.row.of_errors(rating.astype(float) - label)
                for rating in self.both(extracts, RATING)
            )
            yield evidence.user_parts(user, own, baseline)
        elif isinstance(self.row, catalogue.RankingMetric):
            rank = self.predicted(extracts, RANK)
            is_ranked = _is_ranked(rank)
            own, baseline = (
                self.row.of_rows(ranks[is_ranked], self.k)
                for ranks in self.both(extracts, self.row.rank)
            )
            yield evidence.user_parts(user[is_ranked], own, baseline)
            yield evidence.unseen_parts(user[rank == NOT_SAMPLED])


class _UserSumsCombineFn(beam.CombineFn):
    """Users' sums: memory grows with the number of users."""

    def __init__(self, key: metric_types.MetricKey) -> None:
        self.key = key

    def create_accumulator(self) -> list[np.ndarray]:
        return []

    def add_input(self, accumulator: list[np.ndarray], element: np.ndarray) -> list[np.ndarray]:
        return [*accumulator, element]

    def merge_accumulators(self, accumulators: Iterable[list[np.ndarray]]) -> list[np.ndarray]:
        return self.compact([part for parts in accumulators for part in parts])

    def compact(self, accumulator: list[np.ndarray]) -> list[np.ndarray]:
        return [evidence.of_users(np.concatenate(accumulator))] if accumulator else []

    def extract_output(self, accumulator: list[np.ndarray]) -> metric_types.MetricsDict:
        sums = self.compact(accumulator)
        return {self.key: sums[0] if sums else evidence.unseen_parts(np.array([]))}


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


class _Wanted(NamedTuple):
    """What is asked of evidence; see `evidence.confidence` and `Estimate.rows_to_tell`."""

    confidence: float = 0.95
    candidates: int = 1
    comparison: int = 1
    difference: float = 0.0


class _Paired(NamedTuple):
    """Users' sums of a metric's row values, and what is asked of them."""

    row: catalogue.RowMetric
    sums: np.ndarray
    wanted: _Wanted

    def itself(self) -> evidence.Estimate:
        """The candidate's metric; the users are some of those that the test split has."""
        unseen = evidence.share_unseen(self.sums)
        return evidence.estimate(self.sums, lambda n, own, _: self.row.of_mean(own / n), unseen)

    def improvement(self) -> evidence.Estimate:
        """How much better it is than the baseline's; the users stand for those of any day."""
        sign = -1 if self.row.better == "lower" else 1

        def statistic(n: np.ndarray, own: np.ndarray, baseline: np.ndarray) -> np.ndarray:
            return sign * (self.row.of_mean(own / n) - self.row.of_mean(baseline / n))

        return evidence.estimate(self.sums, statistic)

    @property
    def confidence(self) -> float:
        """Of one comparison of one candidate."""
        return evidence.confidence(*self.wanted[:3])


def _improvement(pairs: _Paired) -> tuple[float, ...]:
    found = pairs.improvement()
    return found.value, found.error


_STATISTICS: dict[str, Callable[[_Paired], tuple[float, ...]]] = {
    "lower_bound": lambda pairs: (pairs.itself().lower_bound(pairs.wanted.confidence),),
    "improvement": _improvement,
    "anchor_lower_bound": lambda pairs: (pairs.improvement().lower_bound(pairs.confidence),),
    "improvement_lower_bound": lambda pairs: (pairs.improvement().lower_bound(pairs.confidence),),
    "improvement_rows": lambda pairs: (pairs.improvement().rows,),
    "improvement_users": lambda pairs: (pairs.improvement().users,),
    "improvement_rows_to_tell": lambda pairs: (
        pairs.improvement().rows_to_tell(pairs.wanted.difference, pairs.confidence),
    ),
}


def _of_pairs(
    row: catalogue.RowMetric, k: int, statistic: str, wanted: _Wanted
) -> _Parts[np.ndarray]:
    against = ANCHOR if statistic == "anchor_lower_bound" else BASELINE
    return _Parts(
        f"_{row.name}_{against}_pairs_at_{k}",
        lambda model: _PairTerms(model, row, k, against),
        _UserSumsCombineFn,
        lambda sums: _STATISTICS[statistic](_Paired(row, sums, wanted)),
    )


def _of_ratings(row: catalogue.RatingMetric) -> _Parts[np.ndarray]:
    def value(sums: np.ndarray) -> tuple[float, ...]:
        plain, of_decile = sums[:9].tolist(), sums[9:].tolist()
        return row.estimate(catalogue.RatingSums._make([*plain, of_decile]))

    return _Parts("_rating_sums", _RatingTerms, _SumCombineFn, value)


def _of_ranks(row: catalogue.RankingMetric, k: int) -> _Parts[np.ndarray]:
    return _Parts(
        f"_{row.name}_sums_at_{k}",
        lambda model: _RankTerms(model, row, k),
        _SumCombineFn,
        lambda sums: row.estimate(catalogue.RankSums(*sums.tolist())),
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
