"""`tfx-recommender kubeflow …`: the command line's part for clusters; and its entry point."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import click
import yaml

from tfx_recommender.foundation.errors import ConfigError
from tfx_recommender.pipeline import cli as pipeline_cli

if TYPE_CHECKING:
    from tfx_recommender.kubeflow.compiler import Search
    from tfx_recommender.kubeflow.service import Service
    from tfx_recommender.pipeline.settings.config import Config

_ACCOUNT = click.option(
    "--service-account", help="The Kubernetes service account that the run's pods use."
)
_VERSION = click.option(
    "--version", help="Name of the pipeline version; by default made of its content."
)
_PARAMETER = click.option(
    "--parameter",
    "parameters",
    metavar="NAME=VALUE",
    multiple=True,
    help="Sets a pipeline parameter, the value as YAML; may be given several times.",
)


def _searchable(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command `search`: None, or what the search for hyperparameters is to try."""

    @functools.wraps(command)
    def call(*given: Any, trials: int | None, space_path: str | None, **own: Any) -> None:
        if space_path and not trials:
            raise ConfigError("--search-space: give --trials too, to search instead of training")
        search = None
        if trials:
            from tfx_recommender.pipeline.settings import config_file

            search = config_file.load_search_space(space_path or config_file.SEARCH_SPACE), trials
        command(*given, search=search, **own)

    for option in (
        click.option(
            "--search-space",
            "space_path",
            metavar="FILE",
            type=click.Path(),
            help="What the search may try; by default what pipeline/search-space.yaml says.",
        ),
        click.option(
            "--trials",
            type=click.IntRange(1),
            help="Searches hyperparameters instead of training: trials per searched head.",
        ),
    ):
        call = option(call)
    return call


def _for_service(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command its config, and a function that connects to the KFP service."""

    @functools.wraps(command)
    def call(
        config_path: str,
        overrides: tuple[str, ...],
        host: str,
        token: str | None,
        namespace: str | None,
        **own: Any,
    ) -> None:
        def connect() -> Service:
            from tfx_recommender.kubeflow.service import Service

            return Service(host, token, namespace)

        command(pipeline_cli.load(config_path, overrides), connect, **own)

    for option in (
        click.option("--namespace", help="Your namespace, where KFP serves many."),
        click.option("--token", envvar="KFP_TOKEN", help="Bearer token (or KFP_TOKEN)."),
        click.option("--host", required=True, help="URL of Kubeflow Pipelines."),
        pipeline_cli.SET,
        pipeline_cli.CONFIG,
    ):
        call = option(call)
    return call


@pipeline_cli.cli.group()
def kubeflow() -> None:
    """Compiles for Kubeflow Pipelines, runs, deploys and schedules there."""


@kubeflow.command("compile")
@pipeline_cli.CONFIG
@pipeline_cli.SET
@_searchable
@click.option("-o", "--output", required=True, type=click.Path(), help="The file to write.")
def compile_(
    config_path: str, overrides: tuple[str, ...], output: str, search: Search | None
) -> None:
    """Compiles the pipeline; the same config gives the same bytes. Needs no cluster."""
    spec = _compiled(pipeline_cli.load(config_path, overrides), search)
    try:
        with open(output, "w", encoding="utf-8") as file:
            file.write(spec)
    except OSError as error:
        raise ConfigError(f"--output {output}: cannot be written ({error.strerror})") from None


@kubeflow.command("run-local")
@pipeline_cli.CONFIG
@pipeline_cli.SET
@_PARAMETER
@_searchable
@click.option("--image", default="localhost/tfx-recommender", show_default=True)
def run_local(
    config_path: str,
    overrides: tuple[str, ...],
    parameters: tuple[str, ...],
    image: str,
    search: Search | None,
) -> None:
    """Runs the compiled pipeline in containers of this machine (Docker or Podman)."""
    config = pipeline_cli.load(config_path, overrides)
    from tfx_recommender.kubeflow import local_runner

    values = _parameters(config, parameters, search)
    folder = local_runner.run(config, image, values, search)
    click.echo(folder)


@kubeflow.command()
@_for_service
@_ACCOUNT
@_VERSION
@_PARAMETER
@_searchable
@click.option("--wait", is_flag=True, help="Tells which steps have ended, to the run's end.")
def submit(
    config: Config,
    connect: Callable[[], Service],
    service_account: str | None,
    version: str | None,
    parameters: tuple[str, ...],
    wait: bool,
    search: Search | None,
) -> None:
    """Uploads the pipeline and starts a run; prints the run's id."""
    values = _parameters(config, parameters, search)
    service = connect()
    spec = _compiled(config, search)
    uploaded = service.upload(config.name, spec, version)
    run = service.submit(config.name, uploaded, values, service_account, _pipeline_root(config))
    click.echo(run)
    if wait:
        service.follow(run, _steps(spec), lambda line: click.echo(line, err=True))


@kubeflow.command()
@_for_service
@_ACCOUNT
@_VERSION
@_PARAMETER
@click.option(
    "--cron", required=True, help="Six fields, seconds first, in UTC: '0 0 3 * * *' is 3:00 UTC."
)
@click.option("--max-concurrency", default=1, show_default=True, type=click.IntRange(1, 10))
@click.option(
    "--catchup/--no-catchup", default=False, help="Whether runs missed meanwhile are made up for."
)
def schedule(
    config: Config,
    connect: Callable[[], Service],
    service_account: str | None,
    version: str | None,
    parameters: tuple[str, ...],
    cron: str,
    max_concurrency: int,
    catchup: bool,
) -> None:
    """Uploads the pipeline and runs it on a schedule; prints the schedule's id."""
    if len(cron.split()) != 6:
        raise ConfigError(
            f"--cron {cron!r}: has {len(cron.split())} fields; KFP takes six: second, minute, hour,"
            " day, month, weekday"
        )
    values = _parameters(config, parameters)
    service = connect()
    uploaded = service.upload(config.name, _compiled(config), version)
    click.echo(
        service.schedule(
            config.name,
            uploaded,
            cron,
            values,
            max_concurrency,
            catchup,
            service_account,
            _pipeline_root(config),
        )
    )


@kubeflow.command()
@_for_service
def schedules(config: Config, connect: Callable[[], Service]) -> None:
    """Lists the pipeline's schedules; their times are in UTC."""
    for made in connect().schedules(config.name):
        state = "enabled" if made.enabled else "disabled"
        click.echo(f"{made.name}  {made.cron}  {state}  {made.id}")


@kubeflow.command()
@_for_service
def unschedule(config: Config, connect: Callable[[], Service]) -> None:
    """Removes the pipeline's schedule; a run in progress goes on."""
    count = connect().unschedule(config.name)
    click.echo(f"{count} taken away", err=True)


@kubeflow.command("serving-patch")
@pipeline_cli.CONFIG
@pipeline_cli.SET
@click.option("--name", default="tfx-recommender", show_default=True, help="The InferenceService.")
def serving_patch(config_path: str, overrides: tuple[str, ...], name: str) -> None:
    """Prints the patch that points KServe at what a bucket's manifest names as served."""
    from tfx_recommender.components.serving import served_models

    uri = served_models.storage_uri(pipeline_cli.load(config_path, overrides).serving_directory)
    patch = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {"predictor": {"model": {"storageUri": uri}}},
    }
    click.echo(yaml.safe_dump(patch, sort_keys=False), nl=False)


def _compiled(config: Config, search: Search | None = None) -> str:
    from tfx_recommender.kubeflow import compiler, spec_check

    spec = compiler.compile_pipeline(config, search)
    spec_check.require_supported(spec)
    return spec


def _steps(spec: str) -> frozenset[str]:
    """The names of a compiled pipeline's tasks."""
    document = next(yaml.load_all(spec, Loader=yaml.CSafeLoader))
    return frozenset(document["root"]["dag"]["tasks"])


def _pipeline_root(config: Config) -> str | None:
    return config.kubeflow.pipeline_root if config.kubeflow else None


def _parameters(
    config: Config, given: tuple[str, ...], search: Search | None = None
) -> dict[str, Any]:
    """Pipeline parameters as typed values; refuses what the pipeline does not have."""
    from tfx_recommender.kubeflow import compiler

    known = {
        parameter.name: type(parameter.default)
        for parameter in compiler.run_parameters(config, search)
    }
    values = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals or name not in known:
            raise ConfigError(
                f"--parameter {pair}: write NAME=VALUE; the names are {', '.join(sorted(known))}"
            )
        value = yaml.safe_load(text)
        if known[name] is float and type(value) is int:
            value = float(value)
        if type(value) is not known[name]:
            raise ConfigError(f"--parameter {pair}: must be of type {known[name].__name__}")
        values[name] = value
    return values


def main() -> NoReturn:
    """The command line's entry point: the local commands and ours."""
    pipeline_cli.main()
