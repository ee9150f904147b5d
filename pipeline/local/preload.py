"""Imports what executes nodes, once: each node's process starts as a copy of one that did.

Nothing here may use TensorFlow or Beam: importing them starts no thread of theirs, so the process
may be copied; using them would.
"""

from __future__ import annotations

import gc
import importlib
import traceback

from tfx_recommender.pipeline.local import slim_imports
from tfx_recommender.pipeline.nodes import NODE_KINDS

_OPERATORS = (
    "tfx.orchestration.portable.beam_executor_operator",
    "tfx.orchestration.portable.python_executor_operator",
)
# keras-tuner, which Tuner needs, is slow to import, and few runs are searches.
_LATER = frozenset({"Tuner"})


def _import_all() -> None:
    with slim_imports.executors():
        for module in _OPERATORS:
            importlib.import_module(module)
        for row in NODE_KINDS.values():
            if row.executor is None or row.name in _LATER:
                continue
            for module in (row.executor.rpartition(".")[0], *row.imports):
                importlib.import_module(module)
        from tfx_recommender.pipeline.local import beam_memo

        beam_memo.install()


def require() -> None:
    """Raises RuntimeError, with the reason, unless everything was imported.

    CPython's `forkserver` (3.11) passes over an ImportError of what it is told to import.
    """
    if _failure:
        raise RuntimeError(f"what executes nodes cannot be imported: {_failure}")


_failure = ""
try:
    _import_all()
except Exception as error:
    traceback.print_exc()
    _failure = f"{type(error).__name__}: {error}"
# A collection in a copy would write to, and so really copy, the memory of all that was imported.
gc.freeze()
