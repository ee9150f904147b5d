"""Every kind of node of the DAG, a row each: what a runner must know of it, whichever runner.

To add a node, write its module in `components/`, add a line to `dag.py` and a row here. The
local runner's preload, the entry point of the containers and the Kubeflow compiler read this table.
A node without a row is refused by name when the DAG is built.

Neither TFX nor TensorFlow is imported: a container that starts looks up its one executor here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfx_recommender.foundation.errors import ConfigError

WORLD = "World"

# Execution properties by which TFX (1.21) imports what they name.
_CODE = (
    *("custom_executor_spec", "module_file", "module_path", "preprocessing_fn", "run_fn"),
    *("stats_options_updater_fn", "trainer_fn", "tuner_fn"),
)


@dataclasses.dataclass(frozen=True)
class NodeKind:
    """One kind of node; a node's id is its kind, or its kind, a hyphen and what distinguishes it.

    Attributes:
      name: as in the node's id.
      executor: dotted path of the class that does the work; None: only `World`, which is a task
        of compiled pipelines and no TFX component.
      imports: modules that the executor imports while it works, for the local runner to import
        once for all nodes.
      code: execution property -> the function whose dotted path it holds.
      uses_beam: whether its work is a Beam pipeline.
      is_cached: whether Kubeflow Pipelines may answer from its cache. Its key holds a step's
        inputs alone, so what a step reads elsewhere must be named by an input.
      is_retried: whether repeating it after a failure is harmless.
      reads_data: whether it opens the data files.
      reads_serving: whether it opens the serving place to read.
      writes_serving: whether it opens the serving place to write.
      trains: whether it is a part of the pipeline that trains and pushes.
      searches: whether it is a part of the search for hyperparameters.
    """

    name: str
    executor: str | None
    imports: tuple[str, ...] = ()
    code: dict[str, str] = dataclasses.field(default_factory=dict)
    uses_beam: bool = False
    is_cached: bool = True
    is_retried: bool = True
    reads_data: bool = False
    reads_serving: bool = False
    writes_serving: bool = False
    trains: bool = True
    searches: bool = False


_OURS = "tfx_recommender.components"
_ROWS = (
    NodeKind(
        WORLD,
        None,
        is_cached=False,
        reads_data=True,
        reads_serving=True,
        searches=True,
    ),
    NodeKind(
        "RatingsExampleGen",
        f"{_OURS}.ratings_example_gen.component.RatingsExampleGen_Executor",
        imports=(
            f"{_OURS}.ratings_example_gen.dataset",
            f"{_OURS}.ratings_example_gen.example_file",
        ),
        reads_data=True,
        searches=True,
    ),
    NodeKind(
        "StatisticsGen",
        "tfx.components.statistics_gen.executor.Executor",
        uses_beam=True,
        searches=True,
    ),
    NodeKind(
        "ExampleValidator",
        "tfx.components.example_validator.executor.Executor",
        searches=True,
    ),
    # A second verdict on the same data is the same verdict.
    NodeKind("DataGate", f"{_OURS}.data_gate.DataGate_Executor", is_retried=False, searches=True),
    NodeKind(
        "Transform",
        "tfx.components.transform.executor.Executor",
        imports=("tfx_recommender.transform.preprocessing",),
        code={"preprocessing_fn": "tfx_recommender.transform.preprocessing.preprocessing_fn"},
        uses_beam=True,
        searches=True,
    ),
    # It reads the serving place, and its input `served_digest` says what it reads there. Were it
    # never cached, no Evaluator would be: KFP knows an artifact by the id of its execution.
    NodeKind(
        "ServedBaseline",
        f"{_OURS}.served_baseline.ServedBaseline_Executor",
        imports=(f"{_OURS}.first_baseline",),
        reads_serving=True,
    ),
    NodeKind(
        "Trainer",
        "tfx.components.trainer.executor.GenericExecutor",
        imports=("tfx_recommender.trainer.run_fn",),
        code={"run_fn": "tfx_recommender.trainer.run_fn.run_fn"},
    ),
    NodeKind(
        "Evaluator",
        f"{_OURS}.evaluator.component.Evaluator_Executor",
        imports=(f"{_OURS}.evaluator.comparison", f"{_OURS}.evaluator.tfma_metrics"),
        uses_beam=True,
    ),
    NodeKind("ModelSelector", f"{_OURS}.model_selector.ModelSelectorExecutor"),
    # A second push would be a second version.
    NodeKind(
        "Pusher",
        f"{_OURS}.pusher.Pusher_Executor",
        is_cached=False,
        is_retried=False,
        writes_serving=True,
    ),
    NodeKind(
        "Tuner",
        "tfx.components.tuner.executor.Executor",
        code={"tuner_fn": "tfx_recommender.trainer.tuner_fn.tuner_fn"},
        trains=False,
        searches=True,
    ),
    NodeKind(
        "TunedConfig",
        f"{_OURS}.tuned_config.TunedConfigExecutor",
        trains=False,
        searches=True,
    ),
)

NODE_KINDS = {row.name: row for row in _ROWS}
"""Kind -> row, in the order of the DAG."""


def kind_of(node: str) -> NodeKind:
    """The kind of a node: that of `Trainer-two-tower` is `Trainer`.

    Raises:
      LookupError: the table has no such row.
    """
    name = node.partition("-")[0]
    if name not in NODE_KINDS:
        raise LookupError(f"node {node}: pipeline/nodes.py has no row {name!r}; add one")
    return NODE_KINDS[name]


def require_known_code(node: str, exec_properties: Mapping[str, Any]) -> None:
    """Refuses execution properties that would have TFX import something else than the row says.

    A compiled pipeline is a file that others may have changed; no path in it is imported unless
    this table knows it.

    Raises:
      ConfigError: names the property.
    """
    known = kind_of(node).code
    for name in sorted({*_CODE, *known}):
        value = exec_properties.get(name)
        if value and value != known.get(name):
            expected = f"only {known[name]!r} may be imported" if name in known else "none is known"
            raise ConfigError(
                f"{node}: {name} names {value!r}, and {expected} here; compile the pipeline anew"
            )
