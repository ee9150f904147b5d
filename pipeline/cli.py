"""`tfx-recommender`: the command line. Parses, calls `commands`, turns errors into exit codes."""

from __future__ import annotations

import os
import signal
import sys
import types
from typing import TYPE_CHECKING, NoReturn

import click

from tfx_recommender.foundation.errors import ConfigError, UserError

if TYPE_CHECKING:
    from tfx_recommender.pipeline.settings.config import Config

CONFIG = click.argument("config_path", metavar="CONFIG", type=click.Path())
SET = click.option(
    "--set",
    "overrides",
    metavar="KEY.PATH=VALUE",
    multiple=True,
    help="Replaces one setting of the config; @FILE: every one in that file. May be given"
    " several times.",
)
_VERBOSE = click.option(
    "-v", "--verbose", is_flag=True, help="Shows the output of TFX and TensorFlow."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Trains, compares and serves recommenders.

    Exit codes: 0 finished (pushed, or rightly not), 2 bad config or arguments, 3 bad data,
    130 interrupted, 143 stopped by SIGTERM, 1 anything else.
    """


@cli.command()
@CONFIG
@SET
@_VERBOSE
@click.option(
    "--rebase-baseline",
    is_flag=True,
    help="Compares with biases and popularity instead of the served model, once; needed after"
    " the split settings were changed.",
)
@click.option("--until", default="", metavar="NODE", help="Runs NODE and what it depends on.")
@click.option(
    "--only", default="", metavar="NODE", help="Runs NODE alone, on what the last run made."
)
@click.option(
    "--inline",
    is_flag=True,
    help="Runs nodes in this process, one after the other: breakpoint() and debuggers work.",
)
@click.option(
    "--profile", default="", metavar="NODE", help="Writes ROOT/profiles/NODE.pstats (cProfile)."
)
def run(
    config_path: str,
    overrides: tuple[str, ...],
    verbose: bool,
    rebase_baseline: bool,
    until: str,
    only: str,
    inline: bool,
    profile: str,
) -> None:
    """Runs the whole pipeline, from ratings to a pushed model."""
    if until and only:
        raise ConfigError("--only: give this or --until, not both")
    config = load(config_path, overrides)
    from tfx_recommender.pipeline import commands
    from tfx_recommender.pipeline.local import slim_imports
    from tfx_recommender.pipeline.local.part import Part

    if not inline:
        slim_imports.launch_only()
    commands.run(config, verbose, rebase_baseline, Part(until, only, inline, profile))


@cli.command()
@CONFIG
@SET
@_VERBOSE
def validate(config_path: str, overrides: tuple[str, ...], verbose: bool) -> None:
    """Checks the config and the data; trains nothing."""
    config = load(config_path, overrides)
    from tfx_recommender.pipeline import commands
    from tfx_recommender.pipeline.local import slim_imports

    slim_imports.launch_only()
    commands.validate(config, verbose)


@cli.command()
@CONFIG
@SET
@click.option("--to", type=int, help="The version to serve again; by default the one before.")
def rollback(config_path: str, overrides: tuple[str, ...], to: int | None) -> None:
    """Serves an earlier version from now on; it becomes the baseline."""
    config = load(config_path, overrides)
    from tfx_recommender.pipeline import commands

    commands.rollback(config, to)


@cli.command()
@CONFIG
@SET
@_VERBOSE
@click.option("--user", "users", multiple=True, required=True, help="A user id.")
@click.option(
    "--liked", multiple=True, help="An item they like, as of now; tells of unknown users too."
)
@click.option("-k", default=10, show_default=True, type=click.IntRange(1), help="How many items.")
def recommend(
    config_path: str,
    overrides: tuple[str, ...],
    verbose: bool,
    users: tuple[str, ...],
    liked: tuple[str, ...],
    k: int,
) -> None:
    """Asks the served model what these users may like and have not rated."""
    config = load(config_path, overrides)
    from tfx_recommender.pipeline import commands

    commands.recommend(config, users, liked, k, verbose)


@cli.command()
@CONFIG
@SET
@_VERBOSE
@click.option(
    "--trials", default=20, show_default=True, type=click.IntRange(1), help="Per searched head."
)
@click.option(
    "--search-space",
    "space_path",
    metavar="FILE",
    type=click.Path(),
    help="What may be tried; by default what pipeline/search-space.yaml says.",
)
@click.option(
    "-o", "--out", type=click.Path(), help="The overlay; by default CONFIG with .tuned.yaml."
)
def tune(
    config_path: str,
    overrides: tuple[str, ...],
    verbose: bool,
    trials: int,
    space_path: str | None,
    out: str | None,
) -> None:
    """Searches hyperparameters on the validation split; the best go to an overlay.

    Use them by: run CONFIG --set @OVERLAY
    """
    settings = load(config_path, overrides)
    from tfx_recommender.pipeline.settings import config_file

    space = config_file.load_search_space(space_path or config_file.SEARCH_SPACE)
    from tfx_recommender.pipeline import commands
    from tfx_recommender.pipeline.local import slim_imports

    slim_imports.launch_only()
    out = out or f"{os.path.splitext(config_path)[0]}.tuned.yaml"
    commands.tune(settings, space, trials, out, verbose)


@cli.command()
@click.option("--port", required=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. Whoever reaches it executes code here.",
)
def beam_workers(port: int, host: str) -> None:
    """Executes our code for an engine of Beam (beam.environment: external), until it is stopped."""
    from tfx_recommender.pipeline.local import beam_workers as workers

    workers.serve(host, port)


_TO = click.option("--to", default="data", show_default=True, help="The folder to put it in.")
_SEED = click.option("--seed", default=0, show_default=True, type=click.IntRange(0))


@cli.group()
def data() -> None:
    """Fetches a known data set, or generates one, into a folder of its name."""


@data.command()
@_TO
def movielens_100k(to: str) -> None:
    """MovieLens-100k: 100,000 ratings of films, with metadata."""
    from tfx_recommender.datasets import sources

    sources.fetch("movielens-100k", to)


@data.command()
@_TO
@_SEED
def libimseti_like(to: str, seed: int) -> None:
    """Generates 17 million ratings with the statistics of LibimSeTi."""
    from tfx_recommender.datasets import sources, synthetic_ratings

    sources.generate("libimseti-like", to, synthetic_ratings.Size(seed=seed))


@data.command()
@_TO
@_SEED
@click.option("--users", required=True, type=click.IntRange(2))
@click.option("--items", required=True, type=click.IntRange(2))
@click.option("--ratings", required=True, type=click.IntRange(2))
def synthetic(to: str, seed: int, users: int, items: int, ratings: int) -> None:
    """Generates ratings of any size with the statistics of LibimSeTi."""
    from tfx_recommender.datasets import sources, synthetic_ratings

    sources.generate("synthetic", to, synthetic_ratings.Size(users, items, ratings, seed))


def load(path: str, overrides: tuple[str, ...]) -> Config:
    """Reads the config before anything heavier is imported, so a mistake is reported at once."""
    from tfx_recommender.pipeline.settings import config_file

    return config_file.load(path, overrides)


def main() -> NoReturn:
    """The entry point: every user error is one line on standard error."""
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    try:
        cli.main(standalone_mode=False)
    except UserError as error:
        _fail(str(error), error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except Exception as error:
        _fail(f"{type(error).__name__}: {error}; run again with -v for the whole story", 1)
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"tfx-recommender: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _exit_on_sigterm(number: int, frame: types.FrameType | None) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
