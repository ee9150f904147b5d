"""What a process that fits models does: jobs come in, answers and seconds go out.

A job is a line of JSON on standard input: `split` (a file of `protocols.save`), `task` ("rating" or
"ranking"), `model`, `settings`, `seed` and `answer` (the file to write). Imports are done by then,
so what is timed runs from arrays in memory to the fitted model, tracing and compilation included.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Arrays = Mapping[str, np.ndarray]


class Fitted(NamedTuple):
    """A fitted model.

    Attributes:
      passes: how often fitting went over the ratings; 0 where that means nothing.
      answer: ratings of the pairs held out, [R], or preferences for all items, [943, 1682].
    """

    passes: int
    answer: Callable[[], np.ndarray]


def serve(fit: Callable[[Arrays, str, str, dict[str, Any], int], Fitted]) -> None:
    """Answers every job; `fit` takes arrays, task, model, settings and seed."""
    for line in sys.stdin:
        job = json.loads(line)
        with np.load(job["split"]) as file:
            arrays = dict(file)
        wall, cpu = time.perf_counter(), time.process_time()
        fitted = fit(arrays, job["task"], job["model"], job["settings"], job["seed"])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        np.savez(
            job["answer"],
            answer=fitted.answer(),
            seconds=wall,
            cpu_seconds=cpu,
            passes=fitted.passes,
        )
