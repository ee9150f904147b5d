"""Executes each node in a process of its own, several at a time.

TFX's launcher works with the metadata store, in this process. What it calls an executor operator
hands the executor's work to a new process. That process is a copy of one that has imported
TensorFlow and Beam and used neither (`preload.py`), so it starts at once. When it ends, its memory
is free again.
"""

from __future__ import annotations

import contextlib
import cProfile
import dataclasses
import functools
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.message import Message
from tfx.orchestration.portable import base_executor_operator, data_types
from tfx.proto.orchestration import (
    executable_spec_pb2,
    execution_invocation_pb2,
    execution_result_pb2,
)

from tfx_recommender.foundation.errors import BadDataError, ConfigError, UserError

_USER_ERRORS = {error.__name__: error for error in (UserError, ConfigError, BadDataError)}


class NodeError(Exception):
    """A node failed; the log tells where."""


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a node's process used while it executed the node, without imports.

    Attributes:
      seconds: wall time.
      processor_seconds: of all its threads.
      memory: peak resident bytes, including the imported modules, which processes share.
    """

    seconds: float
    processor_seconds: float
    memory: int


class NodeProcesses:
    """The processes of one run.

    Attributes:
      usage: node id -> what its process has used, of those that ended by themselves.
      launching: the lock of the metadata store; an operator releases it while its node executes.
    """

    def __init__(
        self,
        threads: int,
        environment: Mapping[str, str],
        profiles: Mapping[str, str],
        beam: tuple[str, ...],
    ) -> None:
        """Starts no process yet.

        Args:
          threads: of TensorFlow, in each process.
          environment: variables that each process is given.
          profiles: node -> the file to write a profile of its work to.
          beam: pipeline options of the nodes that use Beam; none: those of the pipeline.
        """
        self.usage: dict[str, Usage] = {}
        self.launching = threading.Lock()
        self._environment = {**environment, **_thread_variables(threads)}
        self._profiles = profiles
        self._beam = beam
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tfx_recommender.pipeline.local.preload"])
        self._running: set[multiprocessing.process.BaseProcess] = set()
        self._stopped = False

    def execute(self, node: str, spec: Message, execution: Message) -> bytes:
        """Executes a node; `launching` must be held.

        Args:
          node: its id.
          spec: TFX's PythonClassExecutableSpec or BeamExecutableSpec.
          execution: TFX's ExecutionInvocation.

        Returns:
          TFX's ExecutorOutput, serialized.

        Raises:
          UserError: the node raised one.
          NodeError: the node raised anything else, or its process died.
        """
        if self._stopped:
            raise NodeError(f"{node}: the run was stopped")
        answer, sender = self._context.Pipe(duplex=False)
        with _duplicate(1) as output, _duplicate(2) as errors, sender:
            task = _Task(
                node,
                type(spec).__name__,
                spec.SerializeToString(),
                execution.SerializeToString(),
                self._environment,
                self._profiles.get(node),
                self._beam,
            )
            process = self._context.Process(
                target=_execute, args=(task, sender, output, errors), name=node
            )
            with without_main():
                process.start()
        self._running.add(process)
        self.launching.release()
        try:
            result, failure, usage = answer.recv()
            if usage is not None:
                self.usage[node] = usage
        except EOFError:
            process.join()
            result, failure = b"", ("", _death(process.exitcode))
        finally:
            self.launching.acquire()
            self._running.discard(process)
        process.join()
        if failure:
            name, message = failure
            if name in _USER_ERRORS:
                raise _USER_ERRORS[name](message)
            raise NodeError(f"{node}: {message}")
        return result

    def stop(self) -> None:
        """Kills the running nodes; none starts any more."""
        with self.launching:
            self._stopped = True
            for process in self._running:
                process.kill()


def operators(nodes: NodeProcesses | InlineNodes) -> dict[type[Message], Any]:
    """What TFX's `Launcher` takes as `custom_executor_operators`."""
    operator = functools.partial(_Operator, nodes)
    return {
        executable_spec_pb2.PythonClassExecutableSpec: operator,
        executable_spec_pb2.BeamExecutableSpec: operator,
    }


class _Operator(base_executor_operator.BaseExecutorOperator):
    """One node's executor, for TFX's launcher."""

    SUPPORTED_EXECUTOR_SPEC_TYPE = [
        executable_spec_pb2.PythonClassExecutableSpec,
        executable_spec_pb2.BeamExecutableSpec,
    ]
    SUPPORTED_PLATFORM_CONFIG_TYPE: list[type] = []

    def __init__(
        self,
        processes: NodeProcesses | InlineNodes,
        executor_spec: Message,
        platform_config: Message | None = None,
    ) -> None:
        super().__init__(executor_spec, platform_config)
        self._processes = processes

    def run_executor(
        self, execution_info: data_types.ExecutionInfo
    ) -> execution_result_pb2.ExecutorOutput:
        node = execution_info.pipeline_node.node_info.id
        output = self._processes.execute(node, self._executor_spec, execution_info.to_proto())
        return execution_result_pb2.ExecutorOutput.FromString(output)


@contextlib.contextmanager
def _duplicate(descriptor: int) -> Any:
    """A file descriptor in a form that can be sent to another process."""
    with multiprocessing.connection.Connection(os.dup(descriptor)) as duplicate:
        yield duplicate


def _death(exit_code: int | None) -> str:
    if exit_code == -signal.SIGKILL:
        return (
            "its process was killed; if that was for want of memory, lower parallel_nodes or"
            " train on fewer data"
        )
    return f"its process ended with exit code {exit_code}; the log may tell more"


@dataclasses.dataclass(frozen=True)
class _Task:
    """What a node's process is told.

    Attributes:
      node: its id.
      kind: name of the message that `spec` is.
      spec: TFX's PythonClassExecutableSpec or BeamExecutableSpec, serialized.
      execution: TFX's ExecutionInvocation, serialized.
      environment: variables to set.
      profile: the file to write a profile to; None: none is made.
      beam: Beam's pipeline options, where the node uses it; none: those of `spec`.
    """

    node: str
    kind: str
    spec: bytes
    execution: bytes
    environment: Mapping[str, str]
    profile: str | None
    beam: tuple[str, ...]


def _execute(
    task: _Task,
    answer: multiprocessing.connection.Connection,
    output: multiprocessing.connection.Connection,
    errors: multiprocessing.connection.Connection,
) -> None:
    """What a node's process does."""
    threading.Thread(target=die_with_parent, daemon=True).start()
    for descriptor, connection in ((1, output), (2, errors)):
        os.dup2(connection.fileno(), descriptor)
    # TFX and absl take the command line's arguments for theirs.
    sys.argv = sys.argv[:1]
    try:
        result, usage = _work(task)
        failure = None
    except BaseException as error:
        traceback.print_exc()
        known = type(error).__name__ in _USER_ERRORS
        message = str(error) if known else f"{type(error).__name__}: {error}"
        result, usage, failure = b"", None, (type(error).__name__, message)
    answer.send((result, failure, usage))
    answer.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # Neither TensorFlow's nor Beam's threads are waited for.
    os._exit(0)


def _work(task: _Task) -> tuple[bytes, Usage]:
    """Executes a node in this process: TFX's ExecutorOutput, serialized, and what that used."""
    start, started = time.monotonic(), time.process_time()
    for name, value in task.environment.items():
        os.environ.setdefault(name, value)
    from tfx.orchestration.portable import beam_executor_operator, python_executor_operator

    from tfx_recommender.pipeline.local import beam_engine, preload

    preload.require()
    operators: dict[str, Any] = {
        "PythonClassExecutableSpec": python_executor_operator.PythonExecutorOperator,
        "BeamExecutableSpec": beam_executor_operator.BeamExecutorOperator,
    }
    invocation = execution_invocation_pb2.ExecutionInvocation.FromString(task.execution)
    spec = getattr(executable_spec_pb2, task.kind).FromString(task.spec)
    beam = task.beam if task.kind == "BeamExecutableSpec" else ()
    if beam:
        del spec.beam_pipeline_args_placeholders[:]
        for argument in beam:
            spec.beam_pipeline_args_placeholders.add().value.string_value = argument
    operator = operators[task.kind](spec)
    with beam_engine.prepared(beam), _profiled(task.profile):
        executed = operator.run_executor(data_types.ExecutionInfo.from_proto(invocation))
    usage = Usage(
        seconds=time.monotonic() - start,
        processor_seconds=time.process_time() - started,
        memory=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    )
    print(
        f"tfx-recommender: {task.node}: {usage.processor_seconds:.1f} s of processor time,"
        f" {usage.memory / 2**20:.0f} MiB of memory at most",
        file=sys.stderr,
    )
    return executed.SerializeToString(), usage


@contextlib.contextmanager
def _profiled(path: str | None) -> Iterator[None]:
    """Writes a profile of the work inside, in the format of Python's `pstats`."""
    if path is None:
        yield
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        yield
    finally:
        profiler.disable()
        profiler.dump_stats(path)


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Keeps a new process from importing the program that starts it.

    Python (3.11) would import `__main__` in each new process; without a guard in it a script that
    runs the pipeline would run it again.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _thread_variables(threads: int) -> dict[str, str]:
    # TensorFlow's threads wait for work by turning in circles, which takes it from other nodes.
    return {f"TF_NUM_{kind}_THREADS": str(threads) for kind in ("INTRAOP", "INTEROP")}


class InlineNodes:
    """Executes nodes in this process, one after the other: `breakpoint()` and debuggers work.

    The attributes are those of `NodeProcesses`.
    """

    def __init__(
        self,
        threads: int,
        environment: Mapping[str, str],
        profiles: Mapping[str, str],
        beam: tuple[str, ...],
    ) -> None:
        self.usage: dict[str, Usage] = {}
        self.launching = threading.RLock()
        self._environment = {**environment, **_thread_variables(threads)}
        self._profiles = profiles
        self._beam = beam

    def execute(self, node: str, spec: Message, execution: Message) -> bytes:
        """Executes a node; returns TFX's ExecutorOutput, serialized."""
        task = _Task(
            node,
            type(spec).__name__,
            spec.SerializeToString(),
            execution.SerializeToString(),
            self._environment,
            self._profiles.get(node),
            self._beam,
        )
        result, self.usage[node] = _work(task)
        return result

    def stop(self) -> None:
        """Nothing runs that could be stopped."""


def die_with_parent() -> None:
    """Ends a node's process when its run has ended, however that ended."""
    run = multiprocessing.parent_process()
    assert run is not None
    run.join()
    os._exit(1)
