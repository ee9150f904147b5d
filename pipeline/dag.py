"""The whole DAG on one screen; every runner builds it by `create_pipeline`."""

from __future__ import annotations

import json
from typing import Any

from tfx.components.example_validator.component import ExampleValidator
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.components.trainer.component import Trainer
from tfx.components.transform.component import Transform
from tfx.components.tuner.component import Tuner
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import trainer_pb2, transform_pb2

from tfx_recommender.components.data_gate import DataGate
from tfx_recommender.components.evaluator.component import Evaluator
from tfx_recommender.components.model_selector import ModelSelector
from tfx_recommender.components.pusher import Pusher
from tfx_recommender.components.ratings_example_gen.component import RatingsExampleGen
from tfx_recommender.components.served_baseline import ServedBaseline
from tfx_recommender.components.tuned_config import TunedConfig
from tfx_recommender.pipeline import quality_gate
from tfx_recommender.pipeline.nodes import kind_of
from tfx_recommender.pipeline.settings.beam import Beam
from tfx_recommender.pipeline.settings.config import Config, node_id, tuner_id
from tfx_recommender.pipeline.world import World, push_record
from tfx_recommender.trainer.search_space import SearchSpace
from tfx_recommender.transform.features import SPLITS, TEST, TRAIN, TRAIN_ENTITIES, VALIDATION

# In-process, whatever the config says: TFX's cache key holds these arguments, and where Beam
# computes changes no result. Who executes a node puts the config's arguments in their place.
BEAM_ARGUMENTS = Beam().arguments()


def create_pipeline(
    config: Config, world: World | None = None, pipeline_root: str | None = None
) -> Pipeline:
    """Builds the pipeline that trains, compares and pushes.

    Args:
      config: what to build.
      world: the state of data and serving place; the Kubeflow compiler puts marks in its place.
      pipeline_root: where artifacts go; the config's `root` unless given.
    """
    world = world or World()
    scale = config.data.columns().rating_range
    nodes = _prepare(config, world)
    examples, _, _, data_gate, transform = nodes
    rows, schema = examples.outputs["examples"], examples.outputs["schema_artifact"]

    baseline = ServedBaseline(
        examples=rows,
        serving_directory=config.serving_directory,
        served_digest=world.served_digest,
        **({} if scale is None else {"rating_min": scale[0], "rating_max": scale[1]}),
    )
    # Data flow alone would let it start before the gate has passed.
    baseline.add_upstream_node(data_gate)
    nodes.append(baseline)
    candidates: dict[str, Any] = {}
    for name in config.models.chosen():
        trainer = Trainer(
            **kind_of("Trainer").code,
            examples=rows,
            transform_graph=transform.outputs["transform_graph"],
            schema=schema,
            train_args=trainer_pb2.TrainArgs(splits=[TRAIN]),
            eval_args=trainer_pb2.EvalArgs(splits=[VALIDATION, TEST, TRAIN_ENTITIES]),
            base_model=baseline.outputs["model"] if config.warm_start else None,
            custom_config=_trainer_config(config, name),
        ).with_id(node_id("Trainer", name))
        evaluator = Evaluator(
            examples=rows,
            model=trainer.outputs["model"],
            baseline=baseline.outputs["model"],
            eval_config=quality_gate.eval_config(config),
            relevance_threshold=config.relevance_threshold,
            k=config.evaluation.k,
            ranked_users=config.evaluation.ranked_users or 0,
            comparison=world.comparison,
        ).with_id(node_id("Evaluator", name))
        nodes += [trainer, evaluator]
        candidates |= {
            f"model_{name}": trainer.outputs["model"],
            f"blessing_{name}": evaluator.outputs["blessing"],
            f"evaluation_{name}": evaluator.outputs["evaluation"],
        }

    selector = ModelSelector(
        candidates,
        metric=config.select_by.reported_name(config.evaluation.k),
        lower_is_better=config.select_by.better == "lower",
        served_digest=world.served_digest,
        withdrawn=world.withdrawn,
    )
    pusher = Pusher(
        model=selector.outputs["champion"],
        blessing=selector.outputs["blessing"],
        serving_directory=config.serving_directory,
        destination_state=world.destination_state,
        record=json.dumps(push_record(config.data, config.split)),
        withdrawn=json.dumps(sorted(world.withdrawn)),
        destination_digest=world.destination_digest,
        comparison=world.comparison,
    )
    return _pipeline(config, [*nodes, selector, pusher], pipeline_root)


def create_tuning(
    config: Config, space: SearchSpace, trials: int, world: World, pipeline_root: str
) -> Pipeline:
    """Builds the pipeline that searches hyperparameters, behind the same first nodes.

    Args:
      config: what to build.
      space: what may be tried.
      trials: how many per head.
      world: as in `create_pipeline`.
      pipeline_root: as there.
    """
    nodes = _prepare(config, world)
    examples, *_, transform = nodes
    found: dict[str, Any] = {}
    for name, head in config.tuned_heads(space):
        settings = _trainer_config(config, name)
        tuner = Tuner(
            **kind_of("Tuner").code,
            examples=examples.outputs["examples"],
            transform_graph=transform.outputs["transform_graph"],
            schema=examples.outputs["schema_artifact"],
            train_args=trainer_pb2.TrainArgs(splits=[TRAIN]),
            eval_args=trainer_pb2.EvalArgs(splits=[VALIDATION, TRAIN_ENTITIES]),
            custom_config={
                "architecture": name,
                "head": head,
                "settings": settings[head],
                "ranges": space.model_dump(mode="json", exclude_unset=True)[name][head],
                "trials": trials,
                "k": config.evaluation.k,
                **{key: settings[key] for key in ("columns", "oov_buckets", "seed")},
            },
        )
        nodes.append(tuner.with_id(tuner_id(name, head)))
        found |= {f"{key}_{name}_{head}": channel for key, channel in tuner.outputs.items()}
    return _pipeline(config, [*nodes, TunedConfig(found)], pipeline_root)


def _prepare(config: Config, world: World) -> list[Any]:
    """The nodes up to Transform: checked examples and a transform graph.

    RatingsExampleGen, StatisticsGen, ExampleValidator, DataGate, Transform.
    """
    examples = RatingsExampleGen(
        data=config.data.to_json(),
        split=config.split.model_dump_json(),
        relevance_threshold=config.relevance_threshold,
        fingerprint=world.data_fingerprint,
    )
    rows = examples.outputs["examples"]
    schema = examples.outputs["schema_artifact"]
    # Of all users and items once: what a rating may be, ingestion has seen to in every row.
    statistics = StatisticsGen(
        examples=rows, schema=schema, exclude_splits=[*SPLITS, TRAIN_ENTITIES]
    )
    anomalies = ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema)
    data_gate = DataGate(anomalies=anomalies.outputs["anomalies"])
    transform = Transform(
        examples=rows,
        schema=schema,
        **kind_of("Transform").code,
        splits_config=transform_pb2.SplitsConfig(analyze=[TRAIN_ENTITIES], transform=[]),
        materialize=False,
        disable_statistics=True,
        disable_analyzer_cache=True,
        custom_config={
            "columns": config.data.columns().to_dict(),
            "vocabulary": config.vocabulary.model_dump(),
        },
    )
    transform.add_upstream_node(data_gate)  # data flow alone would not wait for it
    return [examples, statistics, anomalies, data_gate, transform]


def _pipeline(config: Config, nodes: list[BaseNode], pipeline_root: str | None) -> Pipeline:
    for node in nodes:
        known, executor = kind_of(node.id).executor, node.executor_spec.class_path
        if executor != known:
            raise LookupError(
                f"node {node.id}: runs {executor}, and its row in pipeline/nodes.py says {known}"
            )
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=pipeline_root or config.root,
        components=nodes,
        enable_cache=True,
        beam_pipeline_args=BEAM_ARGUMENTS,
    )


def _trainer_config(config: Config, architecture: str) -> dict[str, Any]:
    model = config.models.chosen()[architecture]
    return {
        "architecture": architecture,
        "rating": None if model.rating is None else model.rating.model_dump(mode="json"),
        "preference": model.preference.model_dump(mode="json"),
        "ensemble": model.ensemble,
        "columns": config.data.columns().to_dict(),
        "oov_buckets": config.vocabulary.oov_buckets,
        "seed": config.seed,
        "card": {"pipeline": config.name, "split": config.split.model_dump(mode="json")},
    }
