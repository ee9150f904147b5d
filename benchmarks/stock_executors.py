"""Imports what executes stock TFX's nodes, as `pipeline/local/preload.py` does for ours.

Only names are needed here; nothing of TensorFlow or Beam may be used (see there).
"""

# ruff: noqa: F401 - imported for those who come later
import gc

import tfx.components.evaluator.executor
import tfx.components.example_gen.csv_example_gen.executor
import tfx.components.example_validator.executor
import tfx.components.pusher.executor
import tfx.components.schema_gen.import_schema_gen.executor
import tfx.components.statistics_gen.executor
import tfx.components.trainer.executor
import tfx.components.transform.executor
import tfx.orchestration.portable.beam_executor_operator
import tfx.orchestration.portable.python_executor_operator

import benchmarks.stock

gc.freeze()
