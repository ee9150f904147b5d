"""What the commands do, once the arguments are known. Heavy imports happen inside."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import tempfile
from typing import Any

from rich.console import Console

from tfx_recommender.components.ratings_example_gen.config import ROWS_IN_MEMORY
from tfx_recommender.components.serving import served_models
from tfx_recommender.foundation.errors import BadDataError, UserError
from tfx_recommender.pipeline import comparisons, world
from tfx_recommender.pipeline.local import pipeline_root, summary
from tfx_recommender.pipeline.local.part import WHOLE, Part
from tfx_recommender.pipeline.local.screen import Progress, chatter_to
from tfx_recommender.pipeline.settings.config import Config
from tfx_recommender.trainer.search_space import SearchSpace


def run(config: Config, verbose: bool, rebase_baseline: bool, part: Part = WHOLE) -> None:
    """Runs the pipeline, or a part of it, and prints the result table.

    `summary.json` describes every run, whatever ends it (see `local/summary.py`).
    """
    with pipeline_root.exclusive(config.root):
        record = summary.Run()
        summary.write(config.root, summary.without_models(record, "running"))
        before = None
        try:
            before = _newest_version(config)
            log = None if part.inline else _log(config.root, verbose)
            with chatter_to(log, plain=part.inline) as console:
                for line in served_models.remarks(config.serving_directory):
                    console.print(line, highlight=False, markup=False)
                result = _run_locked(config, Progress(console), record, rebase_baseline, part)
        except BaseException as error:
            status = "bad_data" if isinstance(error, BadDataError) else "failed"
            pushed = _newest_version(config)
            failed = summary.without_models(
                record, status, _cause(error), None if pushed == before else pushed
            )
            summary.write(config.root, failed)
            raise
        summary.write(config.root, result)
    out = Console(width=None if sys.stdout.isatty() else 120)  # rich would fold to 80 columns
    if not part.is_whole:
        out.print(f"{', '.join(record.executions)}: done", highlight=False, markup=False)
        return
    from tfx_recommender.pipeline.local import outcome

    outcome.show(config, result, out)


def _run_locked(
    config: Config, progress: Progress, record: summary.Run, rebase_baseline: bool, part: Part
) -> dict[str, Any]:
    """Returns the summary of the finished run."""
    if not served_models.in_bucket(config.serving_directory):
        pipeline_root.require_writable("serving_root", config.serving_directory)
    served = served_models.served(config.serving_directory)
    if served is not None and not rebase_baseline:
        world.require_comparable(config.data, config.split, served)
    artifacts = pipeline_root.artifact_root(config.root)
    with progress.step("starting TFX"):
        from tfx_recommender.pipeline import dag
        from tfx_recommender.pipeline.local import outcome
        from tfx_recommender.pipeline.local.store import Store

    store = Store(pipeline_root.store_path(config.root))
    store.fail_unfinished()
    try:
        found = world.observe(
            config.data, config.serving_directory, served, rebase_baseline, config.threads
        )
        compared_with = None if rebase_baseline else served
        night = comparisons.number(config.root, config, compared_with, found.data_fingerprint)
        found = dataclasses.replace(found, comparison=str(night))
        pipeline = dag.create_pipeline(config, found, artifacts)
        _execute(config, pipeline, store, progress, record, part)
    except BaseException:
        store.fail_unfinished()
        raise
    if not part.is_whole:
        return summary.without_models(record, "partial")
    return outcome.summarise(config, record, store, found.served_digest)


def _execute(
    config: Config,
    pipeline: Any,
    store: Any,
    progress: Progress,
    record: summary.Run,
    part: Part = WHOLE,
) -> None:
    from tfx_recommender.pipeline.local import runner

    runner.run(
        pipeline,
        store,
        progress,
        record,
        part,
        parallel_nodes=config.parallel_nodes,
        threads=config.threads,
        environment={ROWS_IN_MEMORY: str(config.data.rows_in_memory)},
        profiles=os.path.join(config.root, "profiles"),
        beam=config.beam.arguments(),
    )


def _newest_version(config: Config) -> int | None:
    """The served version; None where there is none, or where it cannot be asked for."""
    try:
        versions = served_models.versions(config.serving_directory)
    except UserError:
        return None
    return versions[-1] if versions else None


def _cause(error: BaseException) -> str:
    """Why a run ended, in one line."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted (Ctrl-C)"
    if isinstance(error, SystemExit):
        return "stopped by SIGTERM" if error.code == 128 + signal.SIGTERM else "stopped"
    return " ".join((str(error) or type(error).__name__).split())


def tune(config: Config, space: SearchSpace, trials: int, out: str, verbose: bool) -> None:
    """Searches hyperparameters and writes the best as an overlay of the config."""
    config.tuned_heads(space)  # refuses a search of nothing before TFX is imported
    pipeline_root.require_writable("--out", os.path.dirname(out) or ".")
    with (
        pipeline_root.exclusive(config.root),
        chatter_to(_log(config.root, verbose)) as console,
    ):
        progress = Progress(console)
        with progress.step("starting TFX"):
            from tfx_recommender.pipeline import dag
            from tfx_recommender.pipeline.local import tuning
            from tfx_recommender.pipeline.local.store import Store

        record = summary.Run()
        store = Store(pipeline_root.store_path(config.root))
        store.fail_unfinished()
        found = world.observe(config.data, config.serving_directory, None, False, config.threads)
        artifacts = pipeline_root.artifact_root(config.root)
        pipeline = dag.create_tuning(config, space, trials, found, artifacts)
        _execute(config, pipeline, store, progress, record)
        found_in = store.outputs(record.executions["TunedConfig"])["overlay"].uri
    tuning.show(found_in, Console(width=None if sys.stdout.isatty() else 120))
    tuning.write(found_in, out)
    Console(soft_wrap=True).print(f"use them by: --set @{out}", highlight=False, markup=False)


def validate(config: Config, verbose: bool) -> None:
    """Checks the config and the data as a run would, in a folder of its own; trains nothing."""
    with tempfile.TemporaryDirectory() as root, chatter_to(_log(root, verbose)) as console:
        progress = Progress(console)
        with progress.step("reading the data"):
            from tfx_recommender.components.ratings_example_gen import dataset

            # Mistakes in the files are told before TFX is imported.
            rows = dataset.read(config.data, config.split, config.relevance_threshold)
        with progress.step("starting TFX"):
            from tfx_recommender.pipeline import dag
            from tfx_recommender.pipeline.local import runner
            from tfx_recommender.pipeline.local.store import Store
        runner.run(
            dag.create_pipeline(config, pipeline_root=pipeline_root.artifact_root(root)),
            Store(pipeline_root.store_path(root)),
            progress,
            summary.Run(),
            Part(until="DataGate"),
            threads=config.threads,
        )
    for name, count in rows.counts().items():
        Console().print(f"{name.replace('_', ' '):<28}{count:>12}", highlight=False)


def _log(root: str, verbose: bool) -> str | None:
    return None if verbose else os.path.join(root, pipeline_root.LOG_FILE)


def rollback(config: Config, to: int | None) -> None:
    """Serves an earlier version again."""
    with pipeline_root.exclusive(config.root):
        now = served_models.rollback(config.serving_directory, to)
    Console().print(
        f"version {now.record['rollback_to']} is served again, as version {now.version};"
        " it is the baseline from now on",
        highlight=False,
    )


def recommend(
    config: Config, users: tuple[str, ...], liked: tuple[str, ...], k: int, verbose: bool
) -> None:
    """Asks the served model and prints its answer."""
    served = served_models.served(config.serving_directory)
    if served is None:
        raise UserError(
            f"{config.serving_directory}: nothing is served yet; run the pipeline first"
        )
    with (
        tempfile.TemporaryDirectory() as folder,
        chatter_to(None if verbose else os.devnull),
    ):
        import tensorflow as tf

        from tfx_recommender.components.ratings_example_gen import ratings_table

        path = os.path.join(folder, "model")
        served_models.fetch(served, path)
        model = tf.saved_model.load(path)
        answer = model.signatures["recommend"](
            user_id=tf.constant(users),
            k=tf.constant(k),
            liked_item_ids=tf.tile(tf.constant([liked], tf.string), [len(users), 1]),
        )
        titles = ratings_table.entity_titles(config.data.items) if config.data.items else {}
    out = Console(soft_wrap=True)
    for user, items, scores in zip(
        users, answer["item_id"].numpy(), answer["score"].numpy(), strict=True
    ):
        out.print(f"user {user} (version {served.version})", highlight=False, markup=False)
        for item, score in zip(items, scores, strict=True):
            name = item.decode()
            if name:
                title = titles.get(name, "")
                out.print(f"  {score:9.4f}  {name:<12} {title}", highlight=False, markup=False)
