"""Writes durations of steps inside a node to its log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    """Writes a line to standard error once the work inside is done: `what`, and its seconds.

    Args:
      what: the step in the past tense, as in "fitted the ranking head".
    """
    wall, processor = time.monotonic(), time.process_time()
    yield
    wall, processor = time.monotonic() - wall, time.process_time() - processor
    print(
        f"tfx-recommender: {what} in {wall:.2f} s ({processor:.2f} s of processor time)",
        file=sys.stderr,
        flush=True,
    )
