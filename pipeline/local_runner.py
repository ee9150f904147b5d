"""Runs the DAG in this process, on Beam's in-process runner and a SQLite metadata store."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Iterator

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from tfx_recommender.pipeline.screen import Progress


@dataclasses.dataclass
class Run:
    """What happened, also when a node failed.

    Attributes:
      run_id: names the run in the metadata store.
      node_seconds: node id -> wall seconds, in the order they ran.
      cached_nodes: nodes whose result came from an earlier run.
      executions: node id -> execution id in the metadata store.
    """

    run_id: str
    node_seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    cached_nodes: list[str] = dataclasses.field(default_factory=list)
    executions: dict[str, int] = dataclasses.field(default_factory=dict)


class Store:
    """A pipeline's metadata store."""

    def __init__(self, path: str) -> None:
        self.connection = metadata.sqlite_metadata_connection_config(path)

    @contextlib.contextmanager
    def open(self) -> Iterator[metadata_store.MetadataStore]:
        """The raw ML Metadata API."""
        with metadata.Metadata(self.connection) as handle:
            yield handle.store

    def fail_unfinished(self) -> None:
        """Marks executions failed that a dead process left running (call under the lock)."""
        state = metadata_store_pb2.Execution
        with self.open() as store:
            unfinished = [
                execution
                for execution in store.get_executions()
                if execution.last_known_state in (state.RUNNING, state.NEW)
            ]
            for execution in unfinished:
                execution.last_known_state = state.FAILED
            if unfinished:
                store.put_executions(unfinished)

    def outputs(self, execution_id: int) -> dict[str, metadata_store_pb2.Artifact]:
        """Output key -> artifact of an execution that has one artifact per key."""
        with self.open() as store:
            events = [
                event
                for event in store.get_events_by_execution_ids([execution_id])
                if event.type == metadata_store_pb2.Event.OUTPUT
            ]
            artifacts = store.get_artifacts_by_id([event.artifact_id for event in events])
        by_id = {artifact.id: artifact for artifact in artifacts}
        return {event.path.steps[0].key: by_id[event.artifact_id] for event in events}

    def is_cached(self, execution_id: int) -> bool:
        """Whether an execution took its result from an earlier one."""
        with self.open() as store:
            (execution,) = store.get_executions_by_id([execution_id])
        return execution.last_known_state == metadata_store_pb2.Execution.CACHED


def run(
    pipeline: Pipeline, store: Store, progress: Progress, record: Run, until: str | None = None
) -> None:
    """Runs all nodes in topological order, as TFX's LocalDagRunner (1.21) does.

    TFX's own runner neither tells which node runs nor which came from the cache.

    Args:
      pipeline: from `create_pipeline`.
      store: the metadata store.
      progress: told before and after each node.
      record: filled in as the run goes, so that it tells the truth after a failure too.
      until: the last node to run; None: all.

    Raises:
      Exception: whatever a node raised; nothing after that node was started.
    """
    ir: pipeline_pb2.Pipeline = compiler.Compiler().compile(pipeline)
    runtime_parameter_utils.substitute_runtime_parameter(
        ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: record.run_id}
    )
    deployment = runner_utils.extract_local_deployment_config(ir)
    for number, node in enumerate(ir.nodes, start=1):
        node_id = node.pipeline_node.node_info.id
        label = f"[{number}/{len(ir.nodes)}] {node_id}"
        start = time.monotonic()
        try:
            with progress.step(label):
                info = launcher.Launcher(
                    pipeline_node=node.pipeline_node,
                    mlmd_connection=metadata.Metadata(store.connection),
                    pipeline_info=ir.pipeline_info,
                    pipeline_runtime_spec=ir.runtime_spec,
                    executor_spec=runner_utils.extract_executor_spec(deployment, node_id),
                    custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
                ).launch()
        finally:
            record.node_seconds[node_id] = round(time.monotonic() - start, 3)
        assert info is not None, node_id
        record.executions[node_id] = info.execution_id
        cached = store.is_cached(info.execution_id)
        if cached:
            record.cached_nodes.append(node_id)
        progress.done(label, record.node_seconds[node_id], "cached" if cached else "")
        if node_id == until:
            return


def new_run_id() -> str:
    """A run id that sorts by time."""
    return datetime.datetime.now(datetime.UTC).isoformat()
