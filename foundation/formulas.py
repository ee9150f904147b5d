"""The formulas of all metrics, each written once. NumPy only.

Ranks start at 0, the top. NaN gives NaN, so a score that is no number cannot improve a metric.
"""

from __future__ import annotations

import math

import numpy as np


def hit(rank: np.ndarray, k: int) -> np.ndarray:
    """1 where an item ranks among the first `k`, else 0: float64, of the shape of `rank`.

    The mean over rows is HitRate@K.
    """
    return np.where(np.isnan(rank), rank, rank < k)


def gain(rank: np.ndarray, k: int) -> np.ndarray:
    """1 / log2(rank + 2) among the first `k`, else 0: float64, of the shape of `rank`.

    The mean over rows is NDCG@K with one relevant item per row, whose ideal gain is 1 (Järvelin
    and Kekäläinen 2002).
    """
    return hit(rank, k) / np.log2(rank + 2.0)


def rmse(predicted: np.ndarray, actual: np.ndarray) -> float:
    """Root of the mean squared error of ratings [R]."""
    return math.sqrt(np.mean((predicted - actual) ** 2, dtype=np.float64))


def mean(count: float, total: float, squares: float) -> tuple[float, float]:
    """A mean and its standard error, from count, sum and sum of squares; NaN if count is 0."""
    if count == 0:
        return math.nan, math.nan
    average = total / count
    return average, math.sqrt(max(squares / count - average * average, 0.0) / count)


def root(average: float, error: float) -> tuple[float, float]:
    """The root of a mean, and its standard error by the delta method."""
    value = math.sqrt(average)
    return value, error / (2 * value) if value else 0.0


def slope(count: float, x: float, y: float, xx: float, xy: float) -> float:
    """Slope of the regression of y on x, from their sums; NaN if all x are equal."""
    variance = count * xx - x**2
    covariance = count * xy - x * y
    # A smaller variance is rounding error: all x are equal.
    is_spread = variance > 1e-9 * count * xx
    return covariance / variance if is_spread else math.nan


def gini(size: int, times: np.ndarray) -> float:
    """Gini coefficient of the number of times that each of `size` items is recommended.

    0: all equally often. Shani and Gunawardana 2011, including the items that are never
    recommended; NaN if size is 1.

    Args:
      size: number of items.
      times: number of times, for the items that are recommended at all, in any order.
    """
    if size == 1:
        return math.nan
    # Items that are never recommended come first, and add nothing to the sum.
    place = np.arange(size - len(times), size) + 1
    return float(np.sum((2 * place - size - 1) * np.sort(times)) / ((size - 1) * times.sum()))
