"""Deciles of rows."""

from __future__ import annotations

import numpy as np


def deciles(values: np.ndarray) -> np.ndarray:
    """The decile of each row by its value: 1 holds the smallest tenth of the rows, 10 the largest.

    Equal values are in one decile, the lowest that any of them reaches: so deciles may be larger
    than a tenth, and some empty, but the first never is.

    Args:
      values: [R]; NaN counts as larger than any number.

    Returns:
      int64 [R], from 1 to 10.
    """
    smaller = np.searchsorted(np.sort(values), values)
    return 1 + 10 * smaller // max(len(values), 1)
