"""The `beam:` section of the config: where StatisticsGen, Transform and Evaluators compute."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tfx_recommender.foundation.settings import Settings

Address = Annotated[str, Field(pattern=r"^([A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}$")]
"""HOST:PORT."""

_OF_ALL = (
    # No worker takes packages from us. Where none is named TFX packs itself, 2 s a node.
    "--sdk_container_image=none",
    # Beam's own check of type hints says the same at a fraction of the cost.
    "--disable_beartype",
)
# Beam's limit of five minutes for an answer ends a job too, where the engine names it at once (as
# Prism does); whether the engine answers at all, `local/beam_engine.py` asks.
_NO_LIMIT = f"--job_server_timeout={30 * 24 * 3600}"
# Offline: since Beam 2.68 the DirectRunner first tries to download Prism.
_IN_PROCESS = ("--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner", *_OF_ALL)
# Beam's options that keys of the section stand for.
_KEYS = {
    "--runner": "runner",
    "--job_endpoint": "job_endpoint",
    "--environment_type": "environment",
    "--environment_config": "worker_pool",
    "--environment_options": "worker_pool",
}
# Runners of Beam (2.77) that download what they run on, and what to do instead.
_DOWNLOADERS = {
    "flink": "start Beam's job server beside Flink",
    "spark": "start Beam's job server beside Spark",
    "prism": "start prism by hand",
    "direct": "runner: in_process needs no download; or start prism by hand",
    "switchingdirect": "runner: in_process needs no download; or start prism by hand",
}


def require_startable(runner: str) -> None:
    """Refuses a runner that would download a program into the step and start it there.

    Args:
      runner: as Beam takes it: its name in any spelling, with or without `Runner`, or a path.

    Raises:
      ValueError: says what to do instead.
    """
    name = runner.rpartition(".")[2].lower().removesuffix("runner")
    if name in _DOWNLOADERS:
        java = " starts a Java job server and" if name in ("flink", "spark") else ""
        raise ValueError(
            f"{runner}{java} downloads a program first, which is neither pinned nor possible on a"
            f" closed network: {_DOWNLOADERS[name]}, and name it by its job endpoint HOST:PORT"
            " (PortableRunner)"
        )


def require_startable_runners(arguments: Iterable[str]) -> None:
    """`require_startable` for every runner that Beam's arguments name."""
    words = [word for argument in arguments for word in argument.split("=", 1)]
    for option, value in itertools.pairwise(words):
        if option == "--runner":
            require_startable(value)


class Beam(Settings):
    """Where StatisticsGen, Transform and Evaluators compute. Their results are the same wherever
    that is, so another place computes nothing anew in local runs."""

    runner: Literal["in_process", "portable"] = "in_process"
    """`in_process`: in the node's own process. `portable`: on an engine that is behind Beam's Job
    API (Flink's or Spark's job server, Prism)."""
    job_endpoint: Address | None = None
    """HOST:PORT of the engine's job server; of `portable` alone, and needed there."""
    environment: Literal["loopback", "external"] | None = None
    """Who executes our code for the engine. `loopback` (or null): the node's own process, where the
    engine is on this machine. `external`: `worker_pool`."""
    worker_pool: Address | None = None
    """HOST:PORT of `tfx-recommender beam-workers`, as the engine sees it."""
    options: tuple[str, ...] = ()
    """More pipeline options of Beam (`--name=value`), for the engine."""

    @field_validator("runner", mode="before")
    @classmethod
    def _check_runner(cls, runner: Any) -> Any:
        if isinstance(runner, str):
            require_startable(runner)
            if runner.lower().removesuffix("runner") == "dataflow":
                raise ValueError("Dataflow is for compiled pipelines: kubeflow.beam_arguments")
        return runner

    @field_validator("options")
    @classmethod
    def _check_options(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            name = option.partition("=")[0]
            if not name.startswith("--"):
                raise ValueError(f"{option!r}: write it as --name=value")
            if name in _KEYS:
                raise ValueError(f"{name}: the key beam.{_KEYS[name]} says that")
        return options

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.runner == "in_process":
            for key in ("job_endpoint", "environment", "worker_pool", "options"):
                if getattr(self, key):
                    raise ValueError(f"{key}: is for an engine; set beam.runner: portable")
            return self
        if self.job_endpoint is None:
            raise ValueError("job_endpoint: is missing: HOST:PORT of the engine's job server")
        if self.environment == "external" and self.worker_pool is None:
            raise ValueError("worker_pool: is missing: HOST:PORT of tfx-recommender beam-workers")
        if self.environment != "external" and self.worker_pool is not None:
            raise ValueError("worker_pool: is used by nothing; set beam.environment: external")
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether an engine calls back into the node's own process."""
        return self.runner == "portable" and self.environment != "external"

    def arguments(self) -> list[str]:
        """Beam's pipeline options; nothing else of this project knows any."""
        if self.runner == "in_process":
            return list(_IN_PROCESS)
        workers = ["--environment_type=LOOPBACK"]
        if self.environment == "external":
            workers = ["--environment_type=EXTERNAL", f"--environment_config={self.worker_pool}"]
        return [
            "--runner=PortableRunner", f"--job_endpoint={self.job_endpoint}", *workers,
            *_OF_ALL, _NO_LIMIT, *self.options,
        ]  # fmt: skip
