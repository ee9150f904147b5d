"""Runs the compiled pipeline in containers of this machine, by KFP's own local runner."""

from __future__ import annotations

import os
from typing import Any

from tfx_recommender.components.serving import served_models
from tfx_recommender.foundation.errors import BadDataError, ConfigError, UserError
from tfx_recommender.kubeflow import compiler
from tfx_recommender.pipeline.nodes import kind_of
from tfx_recommender.pipeline.settings.config import Config
from tfx_recommender.pipeline.settings.kubeflow import Kubeflow

# The image's user (kubeflow/Dockerfile).
_USER = 10001


def run(
    config: Config,
    image: str,
    arguments: dict[str, Any],
    search: compiler.Search | None = None,
) -> str:
    """Compiles and runs the pipeline, a container a step, on Docker or Podman.

    The steps see the data files, the serving folder and the run's artifacts at their own paths,
    and nothing else of this machine: no network, a read-only root, no capabilities; the serving
    folder is writable for the push step alone.

    Args:
      config: paths are this machine's; volumes of its `kubeflow` section are not used.
      image: name of the image, which this machine's engine has.
      arguments: pipeline parameter -> value.
      search: searches hyperparameters instead.

    Returns:
      The folder with the run's artifacts, one sub-folder per node.

    Raises:
      ConfigError: no engine answers, or it has no such image; the serving place is in a bucket.
      BadDataError: a step refused the data.
      UserError: a step failed; the message is the last line of its log.
    """
    if served_models.in_bucket(config.serving_directory):
        raise ConfigError(
            f"serving_root: {config.serving_root} cannot be reached from here, where steps have no"
            " network; give a folder: --set serving_root=FOLDER"
        )
    import docker
    from kfp import components, local
    from kfp.local import docker_task_handler

    image = _digest(image)
    settings = (config.kubeflow or Kubeflow(image=image)).model_copy(
        update={
            "image": image,
            **dict.fromkeys(("data_claim", "serving_claim", "serving_read_claim")),
        }
    )
    spec = compiler.compile_pipeline(config.model_copy(update={"kubeflow": settings}), search)
    root = os.path.join(config.root, "kubeflow")
    for folder in (root, config.serving_directory):
        os.makedirs(folder, exist_ok=True)
        if os.getuid() == 0:
            os.chown(folder, _USER, _USER)
    failures: list[UserError] = []

    class StepContainer(docker_task_handler.DockerTaskHandler):
        """KFP's own (2.16) mounts the same into all steps, and takes a container that vanished
        before it was asked for its exit code for a success."""

        def run(self) -> Any:
            node = self.full_command[self.full_command.index("--node") + 1]
            client = docker.from_env()
            container = client.containers.run(
                self.image,
                self.full_command,
                detach=True,
                volumes=self.get_volumes_to_mount(client),
                mounts=mounts(config, node),
                **self.runner.container_run_args,
            )
            try:
                tail = ""
                for chunk in container.logs(stream=True):
                    said = chunk.decode(errors="replace")
                    print(said, end="")
                    tail = (tail + said)[-10_000:]
                code = container.wait()["StatusCode"]
            finally:
                container.remove(force=True)
                client.close()
            if code:
                failures.append(_error(code, node, tail))
                return local.status.Status.FAILURE
            return local.status.Status.SUCCESS

    local.init(
        runner=local.DockerRunner(**container_arguments()),
        pipeline_root=root,
        raise_on_error=True,
    )
    before = set(os.listdir(root))
    # KFP has no other way to say which class runs a step.
    upstream = docker_task_handler.DockerTaskHandler
    docker_task_handler.DockerTaskHandler = StepContainer
    try:
        components.load_component_from_text(spec)(**arguments)
    except RuntimeError:
        if failures:
            raise failures[0] from None
        raise
    finally:
        docker_task_handler.DockerTaskHandler = upstream
    (folder,) = set(os.listdir(root)) - before
    return os.path.join(root, folder)


def container_arguments() -> dict[str, Any]:
    """How every step's container is isolated: docker-py's arguments."""
    import docker

    arguments: dict[str, Any] = {
        "network_mode": "none",
        "read_only": True,
        "tmpfs": {"/tmp": ""},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        # Podman's defaults may lie above what this machine allows.
        "ulimits": [
            docker.types.Ulimit(name="nofile", soft=1024, hard=4096),
            docker.types.Ulimit(name="nproc", soft=4096, hard=4096),
        ],
    }
    if os.getuid() != 0:  # root's folders are given to the image's user instead
        arguments["user"] = f"{os.getuid()}:{os.getgid()}"
    return arguments


def mounts(config: Config, node: str) -> list[Any]:
    """What a step's container sees of this machine besides the run's artifacts."""
    import docker

    def bind(path: str, read_only: bool) -> Any:
        return docker.types.Mount(path, path, type="bind", read_only=read_only)

    found, kind = [], kind_of(node)
    if kind.reads_data:
        entities = [file for file in (config.data.users, config.data.items) if file is not None]
        paths = [*config.data.interactions.paths, *(file.path for file in entities)]
        found += [bind(path, True) for path in paths]
    if kind.reads_serving or kind.writes_serving:
        found.append(bind(config.serving_directory, not kind.writes_serving))
    return found


def _digest(image: str) -> str:
    """The image's name by digest: KFP's cache, and our config, take no other."""
    import docker

    try:
        client = docker.from_env()
        found = client.images.get(image)
    except docker.errors.ImageNotFound:
        raise ConfigError(
            f"--image: the engine has no image {image!r}; make it: make image"
        ) from None
    except docker.errors.DockerException as error:
        raise ConfigError(
            f"no container engine answers at {os.environ.get('DOCKER_HOST', 'its usual socket')}"
            f" ({error}); start Docker, or `podman system service` and set DOCKER_HOST"
        ) from None
    name = image.partition("@")[0]
    name = name[: name.rindex(":")] if ":" in name.rpartition("/")[2] else name
    return next(iter(found.attrs["RepoDigests"]), f"{name}@{found.id}")


def _error(code: int, node: str, log: str) -> UserError:
    """A failed step's error: the last line of its log, and the exit code that it ended with."""
    last = (log.strip().splitlines() or [f"{node}: exit code {code}"])[-1]
    kinds = {kind.exit_code: kind for kind in (ConfigError, BadDataError)}
    return kinds.get(code, UserError)(last.removeprefix("tfx-recommender: "))
