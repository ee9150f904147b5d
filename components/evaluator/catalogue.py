"""All metrics, one class each. Needs only NumPy, so that the config can read it.

To add a metric, write a class of one of the three kinds here, put it into `METRICS`, and give
`Gates` (`pipeline/settings/config.py`) a field of its name if it may stop a model. TFMA's
EvalConfig, the summary, the result table and ModelSelector read this table.

- A `RatingMetric` is computed from sums over the test rows of predicted and actual ratings.
- A `RankingMetric` is the mean over test rows of a function of the item's rank.
- A `ListMetric` looks at the first K items of all users ("beyond accuracy").
"""

from __future__ import annotations

import abc
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from tfx_recommender.components.evaluator.predictions import (
    OF_LISTS,
    OF_RANKS,
    OF_RATINGS,
    RANK,
    SAMPLED_RANK,
)
from tfx_recommender.foundation import formulas

TFMA_MODULE = "tfx_recommender.components.evaluator.tfma_metrics"
"""Where TFMA finds the class below. By name: importing it brings TFMA and TensorFlow along."""
TFMA_CLASS = "CatalogueMetric"


class Metric(abc.ABC):
    """A figure by which models are compared.

    Attributes:
      name: its key in the config and in the summary (there with K, see `reported_name`).
      heading: in tables.
      better: which way is better; None: neither, as for a bias or a slope.
      at_k: whether it depends on K.
      needs: the predictions that it is computed from.
      is_compared: whether the main table shows it, with its standard error, and
        `evaluation.select_by` may name it.
    """

    name: ClassVar[str]
    heading: ClassVar[str]
    better: ClassVar[Literal["lower", "higher"] | None] = None
    at_k: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]]
    is_compared: ClassVar[bool] = False

    def reported_name(self, k: int) -> str:
        """The name that the summary carries: `rmse`, `hit_rate_at_10`."""
        return f"{self.name}_at_{k}" if self.at_k else self.name

    def reported_heading(self, k: int) -> str:
        """The heading of tables: `RMSE`, `HitRate@10`."""
        return f"{self.heading}@{k}" if self.at_k else self.heading


class RatingSums(NamedTuple):
    """Sums over rows; an error is the predicted minus the actual rating."""

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


def rating_terms(rating: np.ndarray, label: np.ndarray, decile: np.ndarray) -> np.ndarray:
    """`RatingSums` of rows [R] as one vector, `error_of_decile` last: float64 [19].

    Args:
      rating: predicted.
      label: actual.
      decile: of the prediction among all rows, 1 to 10.
    """
    rating, label = rating.astype(float), label.astype(float)
    error = rating - label
    square = error * error
    terms = [np.ones(len(error)), error, abs(error), square, square * square]
    terms += [rating, label, rating * rating, rating * label]
    return np.append(np.sum(terms, axis=1), np.bincount(decile - 1, error, minlength=10))


class RowMetric(Metric):
    """Made of a value of each row, so that two models compare row by row."""

    def of_mean(self, mean: np.ndarray) -> np.ndarray:
        """The metric, from the mean of its row values [...]."""
        return mean


class RatingMetric(Metric):
    """A metric of predicted ratings; events have none."""

    needs = OF_RATINGS

    @abc.abstractmethod
    def estimate(self, sums: RatingSums) -> tuple[float, ...]:
        """Its value, and its standard error if it has one."""


class ErrorMetric(RowMetric, RatingMetric):
    """A metric of how far each rating is missed."""

    @abc.abstractmethod
    def of_errors(self, error: np.ndarray) -> np.ndarray:
        """Its value in each row: errors [R] -> float64 [R]."""


class RankSums(NamedTuple):
    """Sums over ranked rows of a metric's row values."""

    rows: float
    value: float
    square: float


class RankingMetric(RowMetric):
    """The mean over test rows of a function of the rank of the row's item.

    Attributes:
      rank: the prediction that it ranks by, in the whole catalogue or among sampled negatives.
    """

    at_k = True
    needs = OF_RANKS
    rank: ClassVar[str] = RANK

    @abc.abstractmethod
    def of_rows(self, rank: np.ndarray, k: int) -> np.ndarray:
        """Its value in each row: ranks [R] -> float64 [R]."""

    def terms(self, rank: np.ndarray, k: int) -> np.ndarray:
        """`RankSums` of ranked rows [R] as one vector: float64 [3]."""
        value = self.of_rows(rank, k)
        return np.sum([np.ones(len(value)), value, value**2], axis=1)

    def estimate(self, sums: RankSums) -> tuple[float, ...]:
        """Its value and its standard error."""
        return formulas.mean(sums.rows, sums.value, sums.square)


class ListMetric(Metric):
    """A metric of the first K items of all users.

    In a slice, the lists of the users whose first ranked row is in the slice. So slices by a
    feature of users are exact; in other slices a user's list counts only in the slice of that row.
    """

    at_k = True
    needs = OF_LISTS

    @abc.abstractmethod
    def value(self, size: int, times: np.ndarray) -> float:
        """Its value.

        Args:
          size: number of items in the catalogue.
          times: number of lists that contain an item, for items in at least one list, float [n].
        """


class Rmse(ErrorMetric):
    """Root mean squared error of the rating."""

    name, heading, better, is_compared = "rmse", "RMSE", "lower", True

    def of_errors(self, error: np.ndarray) -> np.ndarray:
        """The squared error."""
        return error * error

    def of_mean(self, mean: np.ndarray) -> np.ndarray:
        """Its root; what rounding leaves below 0 is 0."""
        return np.sqrt(np.maximum(mean, 0.0))

    def estimate(self, sums: RatingSums) -> tuple[float, ...]:
        """Its value and its standard error."""
        mean = formulas.mean(sums.rows, sums.squared_error, sums.fourth_power)
        return formulas.root(*mean)


class Mae(ErrorMetric):
    """Mean absolute error of the rating."""

    name, heading, better, is_compared = "mae", "MAE", "lower", True

    def of_errors(self, error: np.ndarray) -> np.ndarray:
        """The absolute error."""
        return np.abs(error)

    def estimate(self, sums: RatingSums) -> tuple[float, ...]:
        """Its value and its standard error."""
        return formulas.mean(sums.rows, sums.absolute_error, sums.squared_error)


class HitRate(RankingMetric):
    """Share of relevant test rows whose item ranks among the first K of the catalogue."""

    name, heading, better, is_compared = "hit_rate", "HitRate", "higher", True

    def of_rows(self, rank: np.ndarray, k: int) -> np.ndarray:
        """1 where the item is among the first K, else 0; NaN where the rank is."""
        return formulas.hit(rank, k)


class Ndcg(RankingMetric):
    """Normalised discounted cumulative gain at K, one relevant item per row."""

    name, heading, better, is_compared = "ndcg", "NDCG", "higher", True

    def of_rows(self, rank: np.ndarray, k: int) -> np.ndarray:
        """1 / log2(rank + 2) where the item is among the first K, else 0; NaN where the rank is."""
        return formulas.gain(rank, k)


class SampledHitRate(HitRate):
    """HitRate@K among sampled negatives (He et al. 2017), for comparison with papers.

    Sampling can change the order of models (Krichene and Rendle 2020), so it has no gate.
    """

    name, heading, is_compared = "sampled_hit_rate", "sampled HitRate", False
    rank = SAMPLED_RANK


class SampledNdcg(Ndcg):
    """NDCG@K among sampled negatives; see `SampledHitRate`."""

    name, heading, is_compared = "sampled_ndcg", "sampled NDCG", False
    rank = SAMPLED_RANK


class RatingBias(RatingMetric):
    """Mean predicted minus mean actual rating (calibration in the large; 0 is best)."""

    name, heading = "rating_bias", "rating bias"

    def estimate(self, sums: RatingSums) -> tuple[float, ...]:
        """Its value and its standard error."""
        return formulas.mean(sums.rows, sums.error, sums.squared_error)


class CalibrationSlope(RatingMetric):
    """Slope of the regression of the actual on the predicted rating (Cox 1958; 1 is best).

    Below 1, predictions are too extreme; above 1, too close to the mean. NaN where all are equal.
    """

    name, heading = "calibration_slope", "calibration slope"

    def estimate(self, sums: RatingSums) -> tuple[float, ...]:
        """Its value."""
        return (
            formulas.slope(
                sums.rows, sums.rating, sums.label, sums.squared_rating, sums.rating_times_label
            ),
        )


class ExpectedCalibrationError(RatingMetric):
    """|mean predicted - mean actual rating| in each decile of the prediction, averaged over rows.

    Naeini, Cooper and Hauskrecht 2015, with a rating in place of a probability. 0 is best, but
    cannot be reached: with n rows per decile, chance alone gives about 0.8 standard deviations of
    the residuals / √n.
    """

    name, heading, better = "expected_calibration_error", "expected calibration error", "lower"

    def estimate(self, sums: RatingSums) -> tuple[float, ...]:
        """Its value."""
        return (sum(abs(error) for error in sums.error_of_decile) / sums.rows,)


class Coverage(ListMetric):
    """Share of the catalogue's items that are in at least one user's list (Ge et al. 2010)."""

    name, heading, better = "coverage", "coverage", "higher"

    def value(self, size: int, times: np.ndarray) -> float:
        """Between 0 and 1."""
        return len(times) / size


class Gini(ListMetric):
    """Gini coefficient of the number of lists that contain each item of the catalogue.

    0: all items equally often; 1: always the same item.
    """

    name, heading, better = "gini", "Gini", "lower"

    def value(self, size: int, times: np.ndarray) -> float:
        """Between 0 and 1."""
        return formulas.gini(size, times)


_ROWS: tuple[Metric, ...] = (
    Rmse(),
    Mae(),
    HitRate(),
    Ndcg(),
    SampledHitRate(),
    SampledNdcg(),
    RatingBias(),
    CalibrationSlope(),
    ExpectedCalibrationError(),
    Coverage(),
    Gini(),
)

METRICS = {row.name: row for row in _ROWS}
"""Name -> metric, in the order of the result tables."""


def available(has_ratings: bool) -> list[Metric]:
    """The metrics of ratings or of events, for which there are no rating metrics."""
    return [row for row in _ROWS if has_ratings or not isinstance(row, RatingMetric)]
