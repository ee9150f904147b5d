"""What a process must see to before it hands a Beam pipeline (2.77) to an engine."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from tfx_recommender.foundation.errors import UserError

_SECONDS = 10.0


def prepare(arguments: Iterable[str]) -> None:
    """Does nothing where no engine is named.

    Args:
      arguments: Beam's pipeline options.

    Raises:
      UserError: the engine's job server does not answer.
    """
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    endpoint = given.get("--job_endpoint")
    if endpoint is not None:
        _require_answer(endpoint)
        if given.get("--environment_type") == "LOOPBACK":
            _call_back_by_loopback_alone()


def _require_answer(endpoint: str) -> None:
    """Beam itself waits five minutes for it, and then names nothing."""
    host, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"beam.job_endpoint: no job server answers at {endpoint} ({error}); start the engine's,"
            " or set beam.runner: in_process"
        ) from None


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
