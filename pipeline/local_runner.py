"""Runs the DAG on this machine, with a SQLite metadata store."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import logging
import os
import pathlib
import stat
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import cache_utils, launcher, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from tfx_recommender.pipeline import node_process, pipeline_root
from tfx_recommender.pipeline.screen import Progress

_FILES_PROPERTY = "files"


@dataclasses.dataclass
class Run:
    """What happened, also when a node failed.

    Attributes:
      run_id: names the run in the metadata store.
      node_seconds: node id -> wall seconds, in the order they ended.
      cached_nodes: nodes whose result came from an earlier run.
      executions: node id -> execution id in the metadata store.
      usage: node id -> what its process has used, of those that executed.
    """

    run_id: str
    node_seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    cached_nodes: list[str] = dataclasses.field(default_factory=list)
    executions: dict[str, int] = dataclasses.field(default_factory=dict)
    usage: dict[str, node_process.Usage] = dataclasses.field(default_factory=dict)


class Store:
    """A pipeline's metadata store.

    All methods raise UserError if another process keeps the store from being written.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.connection = metadata.sqlite_metadata_connection_config(path)

    @contextlib.contextmanager
    def open(self) -> Iterator[metadata_store.MetadataStore]:
        """The raw ML Metadata API."""
        with self.naming_who_holds_it(), metadata.Metadata(self.connection) as handle:
            yield handle.store

    @contextlib.contextmanager
    def naming_who_holds_it(self) -> Iterator[None]:
        """ML Metadata says "aborted" where somebody reads the store all the time."""
        try:
            yield
        except errors.AbortedError:
            raise pipeline_root.store_in_use(self.path) from None

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

    def write_down_files(self, files: dict[int, dict[str, str]]) -> None:
        """Keeps what `_files` says of artifacts, by artifact id, for later runs to compare with."""
        with self.open() as store:
            artifacts = store.get_artifacts_by_id(list(files))
            for artifact in artifacts:
                contents = json.dumps(files[artifact.id])
                artifact.custom_properties[_FILES_PROPERTY].string_value = contents
            store.put_artifacts(artifacts)

    def is_cached(self, execution_id: int) -> bool:
        """Whether an execution took its result from an earlier one."""
        with self.open() as store:
            (execution,) = store.get_executions_by_id([execution_id])
        return execution.last_known_state == metadata_store_pb2.Execution.CACHED


def run(
    pipeline: Pipeline,
    store: Store,
    progress: Progress,
    record: Run,
    until: str | None = None,
    parallel_nodes: int = 1,
) -> None:
    """Runs all nodes, each as soon as those before it are done.

    TFX's LocalDagRunner (1.21) runs one node after the other in one process, and neither tells
    which node runs nor which came from the cache.

    Args:
      pipeline: from `create_pipeline`.
      store: the metadata store.
      progress: told before and after each node.
      record: filled in as the run goes, so that it tells the truth after a failure too.
      until: the last node to run; None: all.
      parallel_nodes: how many nodes work at the same time, at most.

    Raises:
      Exception: whatever a node raised. No node is started after that, and those that run are
        stopped.
    """
    ir: pipeline_pb2.Pipeline = compiler.Compiler().compile(pipeline)
    runtime_parameter_utils.substitute_runtime_parameter(
        ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: record.run_id}
    )
    deployment = runner_utils.extract_local_deployment_config(ir)
    nodes = {node.pipeline_node.node_info.id: node.pipeline_node for node in ir.nodes}
    labels = {node: f"[{number}/{len(nodes)}] {node}" for number, node in enumerate(nodes, 1)}
    waiting = list(nodes) if until is None else list(nodes)[: list(nodes).index(until) + 1]
    processes = node_process.NodeProcesses(parallel_nodes)

    def launch(node: str) -> None:
        start = time.monotonic()
        with progress.step(labels[node]), processes.launching, store.naming_who_holds_it():
            try:
                info = launcher.Launcher(
                    pipeline_node=nodes[node],
                    mlmd_connection=metadata.Metadata(store.connection),
                    pipeline_info=ir.pipeline_info,
                    pipeline_runtime_spec=ir.runtime_spec,
                    executor_spec=runner_utils.extract_executor_spec(deployment, node),
                    custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node),
                    custom_executor_operators=processes.operators(),
                ).launch()
            finally:
                record.node_seconds[node] = round(time.monotonic() - start, 3)
                record.usage.update(processes.usage)
            assert info is not None, node
            record.executions[node] = info.execution_id
            cached = store.is_cached(info.execution_id)
            if cached:
                record.cached_nodes.append(node)
        if node in processes.usage:
            with processes.launching:
                made = store.outputs(info.execution_id).values()
            files = {artifact.id: _files(artifact.uri) for artifact in made}
            with processes.launching:
                store.write_down_files(files)
        progress.done(labels[node], record.node_seconds[node], "cached" if cached else "")

    with _whole_cached_files(), futures.ThreadPoolExecutor(parallel_nodes) as pool:
        running: dict[futures.Future[None], str] = {}
        try:
            while waiting or running:
                unfinished = {*waiting, *running.values()}
                ready = [n for n in waiting if unfinished.isdisjoint(nodes[n].upstream_nodes)]
                for node in ready[: parallel_nodes - len(running)]:
                    waiting.remove(node)
                    running[pool.submit(launch, node)] = node
                for done in futures.wait(running, return_when=futures.FIRST_COMPLETED).done:
                    del running[done]
                    done.result()
        except BaseException:
            processes.stop()
            raise


@contextlib.contextmanager
def _whole_cached_files() -> Iterator[None]:
    """Lets TFX reuse an artifact only if its files are those that its node has left.

    TFX (1.21) looks no further than whether the artifact's folder is there. So a file that was
    lost, cut or changed would fail this run and all that follow, or be trained on. Here such an
    artifact is marked as deleted, and its node executes again.
    """
    get_cached_outputs = cache_utils.get_cached_outputs

    def get_whole_outputs(metadata_handle: metadata.Metadata, cache_context: Any) -> Any:
        while outputs := get_cached_outputs(metadata_handle, cache_context):
            artifacts = [one.mlmd_artifact for several in outputs.values() for one in several]
            damaged = [one for one in artifacts if not _is_whole(one)]
            if not damaged:
                break
            for artifact in damaged:
                logging.warning("%s: is damaged and will be made anew", artifact.uri)
                artifact.state = metadata_store_pb2.Artifact.DELETED
            metadata_handle.store.put_artifacts(damaged)
        return outputs

    cache_utils.get_cached_outputs = get_whole_outputs
    try:
        yield
    finally:
        cache_utils.get_cached_outputs = get_cached_outputs


def _is_whole(artifact: metadata_store_pb2.Artifact) -> bool:
    """Whether all files are there that were written down; one without a list is not trusted."""
    if _FILES_PROPERTY not in artifact.custom_properties:
        return False
    expected = json.loads(artifact.custom_properties[_FILES_PROPERTY].string_value)
    return expected.items() <= _files(artifact.uri).items()


def _files(folder: str) -> dict[str, str]:
    """SHA-256 of each regular file below a folder, by its path in it."""

    def digest(path: pathlib.Path) -> str:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    paths = [path for path in pathlib.Path(folder).rglob("*") if stat.S_ISREG(path.lstat().st_mode)]
    with futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        names = [str(path.relative_to(folder)) for path in paths]
        return dict(zip(names, pool.map(digest, paths), strict=True))


def new_run_id() -> str:
    """A run id that sorts by time."""
    return datetime.datetime.now(datetime.UTC).isoformat()
