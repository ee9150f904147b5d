"""What a process sees to that hands a Beam pipeline (2.77) to an engine."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from tfx_recommender.foundation.errors import UserError

_SECONDS = 10.0
_HERE = ("localhost", "127.0.0.1", "::1")


@contextlib.contextmanager
def prepared(arguments: Iterable[str]) -> Iterator[None]:
    """For as long as a Beam pipeline runs; does nothing where no engine is named.

    Args:
      arguments: Beam's pipeline options.

    Raises:
      UserError: the engine does not answer, or no more.
    """
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    endpoint = given.get("--job_endpoint")
    if endpoint is None:
        yield
        return
    import grpc

    _require_answer("beam.job_endpoint", endpoint, "start the engine's job server")
    if given.get("--environment_type") == "LOOPBACK":
        _call_back_by_loopback_alone()
    elif given.get("--environment_type") == "EXTERNAL":
        pool = given.get("--environment_config", "")
        # Elsewhere the engine may see it, and we not. Prism itself would die of it.
        if _host(endpoint) in _HERE and _host(pool) in _HERE:
            _require_answer("beam.worker_pool", pool, "start tfx-recommender beam-workers")
    try:
        yield
    except grpc.RpcError as error:
        reason = getattr(error, "details", str)()
        raise UserError(
            f"the engine at {endpoint} broke off ({reason}); its own log may tell more, and that of"
            " its workers"
        ) from error


def _require_answer(key: str, address: str, remedy: str) -> None:
    """Beam itself waits for it, and then names nothing."""
    try:
        port = int(address.rpartition(":")[2])
        socket.create_connection((_host(address), port), _SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"{key}: nothing answers at {address} ({error}); {remedy}, or set beam.runner:"
            " in_process"
        ) from None


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _call_back_by_loopback_alone() -> None:
    """Whoever reaches the port of Beam's LOOPBACK workers executes code in them; Beam opens it on
    every address of the machine."""
    import grpc
    from apache_beam.runners.worker import worker_pool_main

    def server(*args: Any, **kwargs: Any) -> grpc.Server:
        made = grpc.server(*args, **kwargs)
        add = made.add_insecure_port
        made.add_insecure_port = lambda address: add(address.replace("[::]:", "localhost:"))
        return made

    worker_pool_main.grpc = _Replaced(grpc, server=server)


class _Replaced:
    """A module with some names replaced, for one user of it."""

    def __init__(self, module: Any, **names: Any) -> None:
        self._module = module
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)
