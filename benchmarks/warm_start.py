"""How many epochs a warm start saves on MovieLens-100k; prints a table.

    .venv/bin/python -m benchmarks.warm_start

Yesterday's model knows nine tenths of the users and of the items, today's all. Both learn from the
train rows of the accuracy benchmark's `90-10`, less its validation, and are judged on that. A cold
start's best validation loss is what the warm one has to reach.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import tensorflow as tf

from benchmarks.accuracy import ours, protocols
from tfx_recommender.foundation.settings import Settings
from tfx_recommender.trainer import export
from tfx_recommender.trainer.architectures import model
from tfx_recommender.trainer.architectures.factors import FactorsHead
from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
from tfx_recommender.trainer.fitting import warm_start
from tfx_recommender.trainer.fitting.fit import Fitter
from tfx_recommender.trainer.fitting.head import Head
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.fitting.problem import Problem
from tfx_recommender.trainer.fitting.settings import history_length
from tfx_recommender.trainer.input_data import SplitRows
from tfx_recommender.trainer.recommender import Recommender
from tfx_recommender.transform.features import Columns

# The settings of pipeline/configs/movielens-100k.yaml.
RANKS: dict[str, Any] = {"l2": 0.01, "training": {"batch_size": 4096, "learning_rate": 0.01}}
HEADS: list[tuple[str, str, dict[str, Any]]] = [
    ("mf", "preference", RANKS),
    ("mlp", "preference", RANKS | {"training": RANKS["training"] | {"negatives": 512}}),
    (
        "mlp",
        "rating",
        {"l2": 0.02, "dropout": 0.3, "training": {"batch_size": 2048, "learning_rate": 0.005}},
    ),
    ("hybrid", "preference", {}),
]
SEED = 1


@click.command()
@click.option("--data", default="data/movielens-100k", show_default=True, help="MovieLens-100k.")
def main(data: str) -> None:
    """Prints epochs to the cold start's best validation loss, cold and warm."""
    tf.config.experimental.enable_op_determinism()
    known = protocols.load(Path(data))
    (split,) = protocols.splits("90-10", known)
    inner = protocols.validation(split, known)
    rng = np.random.default_rng(SEED)
    old_user, old_item = (
        np.isin(np.arange(size), rng.permutation(size)[: size * 9 // 10])
        for size in (protocols.USERS, protocols.ITEMS)
    )

    def old(rows: np.ndarray) -> np.ndarray:
        return rows[old_user[known.user[rows]] & old_item[known.item[rows]]]

    click.echo("| model | head | best, cold | epochs | best, warm | epochs to the cold one's |")
    click.echo("|---|---|---|---|---|---|")
    for architecture, kind, settings in HEADS:
        config = getattr(ARCHITECTURES[architecture], kind).model_validate(settings)
        before = _problem(known, old(inner.train), old(inner.held_out), config)
        today = _problem(known, inner.train, inner.held_out, config)
        head, _ = _fit(architecture, kind, config, before, None)
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/model"
            _export(path, head, kind, before)
            start = warm_start.Start(path, today.catalogue)
            _, cold = _fit(architecture, kind, config, today, None)
            _, warm = _fit(architecture, kind, config, today, start)
        best = min(cold)
        reached = [epoch for epoch, loss in enumerate(warm, 1) if loss <= best]
        click.echo(
            f"| {architecture} | {kind} | {best:.4f} | {cold.index(best) + 1} | {min(warm):.4f}"
            f" | {reached[0] if reached else f'not in {len(warm)}'} |"
        )


def _problem(
    known: protocols.MovieLens, train: np.ndarray, held_out: np.ndarray, config: Settings
) -> Problem:
    names = ("user", "item", "rating", "time")
    arrays = {name: getattr(known, name) for name in protocols.MovieLens.__dataclass_fields__}
    arrays |= {f"train_{name}": getattr(known, name)[train] for name in names}
    arrays |= {f"held_out_{name}": getattr(known, name)[held_out] for name in names}
    catalogue = ours.catalogue_of(arrays)

    def interactions(part: str) -> Interactions:
        user, item = ours.positions(arrays, part, catalogue)
        return Interactions(user, item, arrays[f"{part}_rating"], arrays[f"{part}_time"])

    length = history_length(config)
    return Problem(catalogue, interactions("train"), interactions("held_out"), length, SEED)


def _fit(
    architecture: str, kind: str, config: Settings, problem: Problem, start: warm_start.Start | None
) -> tuple[Head, list[float]]:
    """The fitted head, and the validation loss of each epoch."""
    fitter = Fitter(SEED, None if start is None else start.carry_over)
    fit_head = {"rating": model.fit_rating, "preference": model.fit_preference}[kind]
    head = fit_head(architecture, config, problem, fitter)
    return head, [validation for _, validation in fitter.curves[0]]


def _export(path: str, head: Head, kind: str, problem: Problem) -> None:
    """A SavedModel of this head, the other one empty."""
    catalogue = problem.catalogue
    shapes = catalogue.user_shape, catalogue.item_shape
    empty = FactorsHead(*(np.zeros((shape.ids, 1), np.float32) for shape in shapes))
    rating, preference = (head, empty) if kind == "rating" else (empty, head)
    recommender = Recommender(rating, preference, 3.0, 1.0, ours.RANGE)
    columns = Columns(*ours.RANGE, has_timestamp=True)
    ids = (
        pa.array(side.raw_ids[rows].tolist(), pa.binary()).dictionary_encode()
        for side, rows in (
            (catalogue.users, problem.train.user),
            (catalogue.items, problem.train.item),
        )
    )
    export.export(path, recommender, catalogue, columns, None, problem.train, SplitRows(*ids), {})


if __name__ == "__main__":
    main()
