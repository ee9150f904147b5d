"""What runs in each step's container: code, never a compiled file, names Python paths."""

from __future__ import annotations

WORLD = "World"

# The executor of each kind of node. A node's kind is its id up to the first hyphen.
EXECUTORS = {
    "RatingsExampleGen": (
        "tfx_recommender.components.ratings_example_gen.component.RatingsExampleGen_Executor"
    ),
    "StatisticsGen": "tfx.components.statistics_gen.executor.Executor",
    "ExampleValidator": "tfx.components.example_validator.executor.Executor",
    "DataGate": "tfx_recommender.components.data_gate.DataGate_Executor",
    "ServedBaseline": "tfx_recommender.components.served_baseline.ServedBaseline_Executor",
    "Transform": "tfx.components.transform.executor.Executor",
    "Trainer": "tfx.components.trainer.executor.GenericExecutor",
    "Evaluator": "tfx_recommender.components.evaluator.component.Evaluator_Executor",
    "ModelSelector": "tfx_recommender.components.model_selector._Executor",
    "Pusher": "tfx_recommender.components.pusher.Pusher_Executor",
    "Tuner": "tfx.components.tuner.executor.Executor",
    "TunedConfig": "tfx_recommender.components.tuned_config.TunedConfigExecutor",
}
# Nodes whose work is a Beam pipeline.
BEAM = frozenset({"StatisticsGen", "Transform", "Evaluator"})


def kind(node: str) -> str:
    """`Trainer-mf` is a `Trainer`."""
    return node.partition("-")[0]
