"""Deciles of rows."""

from __future__ import annotations

import numpy as np


def deciles(values: np.ndarray) -> np.ndarray:
    """The decile of each row by its value: 1 holds the smallest tenth of the rows, 10 the largest.

    Equal values are in the same decile, the lowest of those they would fall into. So a decile can
    be larger than a tenth, and any but the first can be empty.

    Args:
      values: [R]; NaN counts as larger than any number.

    Returns:
      int64 [R], from 1 to 10.
    """
    smaller = np.searchsorted(np.sort(values), values)
    return 1 + 10 * smaller // max(len(values), 1)
