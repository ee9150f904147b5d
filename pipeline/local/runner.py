"""Runs the DAG on this machine, with a SQLite metadata store."""

from __future__ import annotations

import os
import time
import types
from collections.abc import Mapping, Sequence
from concurrent import futures

from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher, partial_run_utils, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from tfx_recommender.foundation.errors import ConfigError
from tfx_recommender.pipeline.local import node_process
from tfx_recommender.pipeline.local.part import WHOLE, Part
from tfx_recommender.pipeline.local.screen import Progress
from tfx_recommender.pipeline.local.store import Store, files_of, whole_cached_files
from tfx_recommender.pipeline.local.summary import Run


def run(
    pipeline: Pipeline,
    store: Store,
    progress: Progress,
    record: Run,
    part: Part = WHOLE,
    parallel_nodes: int = 1,
    threads: int = 1,
    environment: Mapping[str, str] = types.MappingProxyType({}),
    profiles: str = "",
    beam: Sequence[str] = (),
) -> None:
    """Runs the nodes, each as soon as those before it are done.

    TFX's LocalDagRunner (1.21) runs one node after the other in one process, and neither tells
    which node runs nor which came from the cache.

    Args:
      pipeline: from `create_pipeline`.
      store: the metadata store.
      progress: told before and after each node.
      record: filled in as the run goes, so that it tells the truth after a failure too.
      part: which nodes, and how.
      parallel_nodes: how many nodes work at the same time, at most.
      threads: TensorFlow's, in each node.
      environment: variables that nodes are given.
      profiles: the folder for profiles.
      beam: Beam's pipeline options; none: the pipeline's own.

    Raises:
      ConfigError: `part` names a node that the pipeline does not have, or needs a run before this
        one.
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
    waiting = _chosen(ir, nodes, part, store)
    profiled = {part.profile: os.path.join(profiles, f"{part.profile}.pstats")}
    kind = node_process.InlineNodes if part.inline else node_process.NodeProcesses
    processes = kind(threads, environment, profiled if part.profile else {}, tuple(beam))

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
                    custom_executor_operators=node_process.operators(processes),
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
            files = {artifact.id: files_of(artifact.uri) for artifact in made}
            with processes.launching:
                store.write_down_files(files)
        progress.done(labels[node], record.node_seconds[node], "cached" if cached else "")

    if part.inline:  # in the main thread, which debuggers expect
        with whole_cached_files():
            for node in waiting:
                launch(node)
        return
    with whole_cached_files(), futures.ThreadPoolExecutor(parallel_nodes) as pool:
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


def _chosen(
    ir: pipeline_pb2.Pipeline,
    nodes: dict[str, pipeline_pb2.PipelineNode],
    part: Part,
    store: Store,
) -> list[str]:
    """The nodes to run, in order; where inputs come from an earlier run, the store is prepared."""
    for option, node in (("--until", part.until), ("--only", part.only)):
        if node and node not in nodes:
            raise ConfigError(f"{option} {node}: no such node; there are {', '.join(nodes)}")
    chosen = list(nodes)
    if part.only:
        partial_run_utils.mark_pipeline(ir, from_nodes=[part.only], to_nodes=[part.only])
        base = store.latest_run_of(_with_upstream(nodes, part.only) - {part.only})
        try:
            if base is None:
                raise LookupError
            with metadata.Metadata(store.connection) as handle:
                partial_run_utils.snapshot(handle, ir, base)
        except LookupError:
            raise ConfigError(
                f"--only {part.only}: no earlier run has made its inputs; run the"
                f" pipeline, or --until {part.only}"
            ) from None
        chosen = [part.only]
    elif part.until:
        needed = _with_upstream(nodes, part.until)
        chosen = [node for node in chosen if node in needed]
    if part.profile and part.profile not in chosen:
        raise ConfigError(f"--profile {part.profile}: is not run; these are: {', '.join(chosen)}")
    for node in {part.only, part.profile} - {""}:
        nodes[node].execution_options.caching_options.enable_cache = False
    return chosen


def _with_upstream(nodes: dict[str, pipeline_pb2.PipelineNode], node: str) -> set[str]:
    """A node and all that it depends on; `nodes` are in the order of the DAG."""
    needed = {node}
    for other in reversed(nodes):
        if other in needed:
            needed.update(nodes[other].upstream_nodes)
    return needed
