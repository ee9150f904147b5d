"""Imports what executes nodes, once: each node's process starts as a copy of one that did.

Nothing here may use TensorFlow or Beam: importing them starts no thread of theirs, so the process
may be copied; using them would.
"""

# ruff: noqa: F401 - imported for those who come later
import gc

from tfx_recommender.pipeline.local import slim_imports

with slim_imports.executors():
    import tfx.components.example_validator.executor
    import tfx.components.statistics_gen.executor
    import tfx.components.trainer.executor
    import tfx.components.transform.executor
    import tfx.orchestration.portable.beam_executor_operator
    import tfx.orchestration.portable.python_executor_operator

    import tfx_recommender.components.evaluator.comparison
    import tfx_recommender.components.evaluator.tfma_metrics
    import tfx_recommender.components.first_baseline
    import tfx_recommender.components.model_selector
    import tfx_recommender.components.pusher
    import tfx_recommender.components.ratings_example_gen.component
    import tfx_recommender.components.served_baseline
    import tfx_recommender.components.tuned_config
    import tfx_recommender.trainer.run_fn
    import tfx_recommender.transform.preprocessing
    from tfx_recommender.pipeline.local import beam_memo

beam_memo.install()
# A collection in a copy would write to, and so really copy, the memory of all that was imported.
gc.freeze()
