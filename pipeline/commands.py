"""What the commands do, once the arguments are known. Heavy imports happen inside."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

from rich.console import Console

from tfx_recommender.components import served_models
from tfx_recommender.components.errors import BadDataError, UserError
from tfx_recommender.pipeline import pipeline_root, world
from tfx_recommender.pipeline.config import Config
from tfx_recommender.pipeline.screen import Progress, chatter_to
from tfx_recommender.trainer.search_space import SearchSpace


def run(config: Config, verbose: bool, rebase_baseline: bool) -> None:
    """Runs the whole pipeline, prints the result table and writes `summary.json`."""
    if not served_models.in_bucket(config.serving_directory):
        pipeline_root.require_writable("serving_root", config.serving_directory)
    with (
        pipeline_root.exclusive(config.root),
        chatter_to(_log(config.root, verbose)) as console,
    ):
        for line in served_models.remarks(config.serving_directory):
            console.print(line, highlight=False, markup=False)
        summary = _run_locked(config, Progress(console), rebase_baseline)
    from tfx_recommender.pipeline import outcome

    # Without a terminal rich would fold everything to 80 columns.
    outcome.show(config, summary, Console(width=None if sys.stdout.isatty() else 120))


def _run_locked(config: Config, progress: Progress, rebase_baseline: bool) -> dict[str, Any]:
    served = served_models.served(config.serving_directory)
    if served is not None and not rebase_baseline:
        world.require_comparable(config.data, config.split, served)
    artifacts = pipeline_root.artifact_root(config.root)
    with progress.step("starting TFX"):
        from tfx_recommender.pipeline import dag, local_runner, outcome

    record = local_runner.Run(local_runner.new_run_id())
    summary_path = os.path.join(config.root, pipeline_root.SUMMARY_FILE)
    store = local_runner.Store(pipeline_root.store_path(config.root))
    try:
        store.fail_unfinished()
        found = world.observe(config.data, config.serving_directory, served, rebase_baseline)
        local_runner.run(
            dag.create_pipeline(config, found, artifacts),
            store,
            progress,
            record,
            parallel_nodes=config.parallel_nodes,
        )
        summary = outcome.summarise(config, record, store, found.served_digest)
    except BaseException as error:
        status = "bad_data" if isinstance(error, BadDataError) else "failed"
        outcome.write(summary_path, outcome.failure(record, status, str(error)))
        store.fail_unfinished()
        raise
    outcome.write(summary_path, summary)
    return summary


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
            from tfx_recommender.pipeline import dag, local_runner, tuning

        record = local_runner.Run(local_runner.new_run_id())
        store = local_runner.Store(pipeline_root.store_path(config.root))
        store.fail_unfinished()
        found = world.observe(config.data, config.serving_directory, None, False)
        artifacts = pipeline_root.artifact_root(config.root)
        pipeline = dag.create_tuning(config, space, trials, found, artifacts)
        local_runner.run(pipeline, store, progress, record, parallel_nodes=config.parallel_nodes)
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
            from tfx_recommender.pipeline import dag, local_runner
        local_runner.run(
            dag.create_pipeline(config, pipeline_root=pipeline_root.artifact_root(root)),
            local_runner.Store(pipeline_root.store_path(root)),
            progress,
            local_runner.Run(local_runner.new_run_id()),
            until="DataGate",
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
