"""A pipeline's metadata store, and whether the artifacts that it knows are still whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import stat
from collections.abc import Iterator
from concurrent import futures
from typing import Any

from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.portable import cache_utils

from tfx_recommender.pipeline.local import pipeline_root

_FILES_PROPERTY = "files"


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
        """Names the cause of "aborted": another process keeps reading the store."""
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
        """Keeps what `files_of` says of artifacts, by id, for later runs to compare with."""
        with self.open() as store:
            artifacts = store.get_artifacts_by_id(list(files))
            for artifact in artifacts:
                contents = json.dumps(files[artifact.id])
                artifact.custom_properties[_FILES_PROPERTY].string_value = contents
            store.put_artifacts(artifacts)

    def latest_run_of(self, nodes: set[str]) -> str | None:
        """The id of the last run in which all these nodes ended well; None if there is none.

        A run of one node (`--only`) has only that node and what it depends on.
        """
        state = metadata_store_pb2.Execution
        with self.open() as store:
            runs = store.get_contexts_by_type("pipeline_run")
            for run in sorted(runs, key=lambda run: run.create_time_since_epoch, reverse=True):
                ended = set()
                for execution in store.get_executions_by_context(run.id):
                    if execution.last_known_state in (state.COMPLETE, state.CACHED):
                        ended |= {
                            context.name.rpartition(".")[2]
                            for context in store.get_contexts_by_execution(execution.id)
                        }
                if nodes <= ended:
                    return run.name
        return None

    def is_cached(self, execution_id: int) -> bool:
        """Whether an execution took its result from an earlier one."""
        with self.open() as store:
            (execution,) = store.get_executions_by_id([execution_id])
        return execution.last_known_state == metadata_store_pb2.Execution.CACHED


@contextlib.contextmanager
def whole_cached_files() -> Iterator[None]:
    """Lets TFX reuse an artifact only if its files are as its node wrote them.

    TFX (1.21) only checks that the artifact's folder exists. A lost, truncated or changed file
    would fail this run and all later ones, or be trained on. Here such an artifact is marked as
    deleted, and its node executes again.
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
    return expected.items() <= files_of(artifact.uri).items()


def files_of(folder: str) -> dict[str, str]:
    """SHA-256 of each regular file below a folder, by its path in it."""

    def digest(path: pathlib.Path) -> str:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    paths = [path for path in pathlib.Path(folder).rglob("*") if stat.S_ISREG(path.lstat().st_mode)]
    with futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        names = [str(path.relative_to(folder)) for path in paths]
        return dict(zip(names, pool.map(digest, paths), strict=True))
