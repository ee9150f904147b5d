"""A new model begins from the served one: weights follow their ids and values, wherever they go."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract import problems
from tfx_recommender.trainer import export
from tfx_recommender.trainer.architectures import model
from tfx_recommender.trainer.architectures.factors import FactorsHead
from tfx_recommender.trainer.architectures.mf.settings import MatrixFactorization
from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
from tfx_recommender.trainer.architectures.two_tower.settings import TowersRanking
from tfx_recommender.trainer.fitting import batches, warm_start
from tfx_recommender.trainer.fitting.fit import Fitter, Untrained
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.fitting.problem import Catalogue, Entities, EntityShape, Problem
from tfx_recommender.trainer.fitting.settings import RankingTraining
from tfx_recommender.trainer.recommender import Recommender

WORLD = problems.catalogue()
ARCHITECTURE = "wide_deep"  # it has weights of every kind
HEADS = ARCHITECTURES[ARCHITECTURE]
# Yesterday a tenth of today's users and items was unknown; today all have other places.
OLD = {"user": np.arange(27), "item": np.arange(18)}
NEW = {"user": np.arange(30)[::-1], "item": np.roll(np.arange(20), 7)}


def part(side: str, entities: Entities, shape: EntityShape, chosen: np.ndarray, turn: int) -> Any:
    """Some users or items, in this order, their categories' values numbered otherwise."""
    rows, count = np.append(chosen, len(entities)), len(chosen)
    ((name, values),) = shape.categories.items()
    turned = np.roll(np.arange(len(values) - 1), turn)
    codes = entities.categories[name][rows]
    codes = np.where(codes < 0, -1, np.argsort(turned)[np.clip(codes, 0, len(turned) - 1)])
    return dataclasses.replace(
        entities,
        raw_ids=entities.raw_ids[chosen],
        index=np.arange(count + 1),
        numeric=entities.numeric[rows],
        categories={name: codes},
    ), dataclasses.replace(
        shape,
        ids=count + 1,
        vocabulary=count,
        categories={name: (*(values[n] for n in turned), values[-1])},
    )


def world(chosen: dict[str, np.ndarray], turn: int) -> Catalogue:
    users, user_shape = part("user", WORLD.users, WORLD.user_shape, chosen["user"], turn)
    items, item_shape = part("item", WORLD.items, WORLD.item_shape, chosen["item"], turn)
    return Catalogue(users, items, user_shape, item_shape)


def problem(chosen: dict[str, np.ndarray], turn: int, rows: Interactions) -> Problem:
    """The ratings among the chosen; a fifth held out."""
    known = np.isin(rows.user, chosen["user"]) & np.isin(rows.item, chosen["item"])
    user = np.argsort(chosen["user"])[np.searchsorted(np.sort(chosen["user"]), rows.user[known])]
    item = np.argsort(chosen["item"])[np.searchsorted(np.sort(chosen["item"]), rows.item[known])]
    held_out = np.flatnonzero(known) % 5 == 0  # the same ones in every world
    train, validation = (
        Interactions(user[at], item[at], rows.rating[known][at]) for at in (~held_out, held_out)
    )
    return Problem(world(chosen, turn), train, validation, 0, seed=0)


def save(path: Path, which: str, head: Any, to_fit: Problem) -> str:
    """Exports a model with this head; the other one has nothing to lend."""
    rows, catalogue = to_fit.train, to_fit.catalogue
    sizes = catalogue.user_shape.ids, catalogue.item_shape.ids
    other = FactorsHead(*(np.zeros((size, 1), np.float32) for size in sizes))
    heads = {"rating": other, "preference": other, which: head}
    recommender = Recommender(heads["rating"], heads["preference"], 3.0, 1.0, (1.0, 5.0))
    known = problems.ratings(catalogue.users.raw_ids[rows.user], catalogue.items.raw_ids[rows.item])
    export.export(str(path), recommender, catalogue, problems.COLUMNS, None, rows, known, {})
    return str(path)


def test_weights_follow_what_they_stand_for(tmp_path: Path) -> None:
    rows, rng = problems.interactions(), np.random.default_rng(0)
    heads = {}
    for name, chosen, turn in (("old", OLD, 0), ("new", NEW, 1)):
        to_fit = problem(chosen, turn, rows)
        fitter = Untrained(0)
        head = HEADS.model.fit_preference(HEADS.preference(), to_fit, fitter)
        (loss,) = fitter.losses
        drawn = batches.Batches(to_fit.train, to_fit, RankingTraining(), loss.by_user, 0)
        loss(drawn.gather(*(part[0] for part in drawn.draw(0))))  # makes the weights
        for variable in head.trainable_variables:
            # A cold model starts with 0 here, so that half of what is carried over remains.
            variable.assign(rng.normal(size=variable.shape) * (name == "old"))
        heads[name] = (head, to_fit)
    head, to_fit = heads["old"]
    path = save(tmp_path / "served", "preference", head, to_fit)
    head, to_fit = heads["new"]
    start = warm_start.Start(path, to_fit.catalogue)
    carried = start.carry_over("preference", head.trainable_variables)
    assert carried == len(head.trainable_variables)

    def weights(of: str, name: str, row: str, label: Any) -> Any:
        """What a model holds for a label, by a plain reading of names and vocabularies."""
        head, to_fit = heads[of]
        labels = warm_start.labels(to_fit.catalogue)[row].tolist()
        found = [v for v in head.trainable_variables if v.name == name]
        return [np.array(v)[labels.index(label)] for v in found] if label in labels else None

    # Ids: known ones bring their rows, new ones start as unknown ones did.
    for side in ("user", "item"):
        unknown = b"\0%d" % len(OLD[side])
        for label in warm_start.labels(to_fit.catalogue)[side]:
            old = weights("old", side, side, label) or weights("old", side, side, unknown)
            for a, b in zip(old, weights("new", side, side, label), strict=True):
                np.testing.assert_array_equal(a / 2, b)
    # Values of categories, and crosses of two categories.
    for value in (b"F", b"M", b"\0"):
        for a, b in zip(
            weights("old", "user.gender", "user.gender", value),
            weights("new", "user.gender", "user.gender", value),
            strict=True,
        ):
            np.testing.assert_array_equal(a / 2, b)
    (old_row,) = weights("old", "user.>item.", "user.", b"user.gender\0F")
    (new_row,) = weights("new", "user.>item.", "user.", b"user.gender\0F")
    columns = [warm_start.labels(heads[of][1].catalogue)["item."].tolist() for of in ("old", "new")]
    assert columns[0] != columns[1]
    for label in columns[0]:
        assert old_row[columns[0].index(label)] / 2 == new_row[columns[1].index(label)]


@pytest.mark.slow
@pytest.mark.parametrize("which", ["rating", "preference"])
def test_it_needs_at_most_half_of_the_epochs_of_a_cold_start(which: str, tmp_path: Path) -> None:
    rows = problems.two_tastes()
    how = {"epochs": 30, "patience": 30, "batch_size": 64, "learning_rate": 0.003}
    fitted = {}

    def fit(to_fit: Problem, start: Any) -> tuple[Any, list[float]]:
        config = getattr(HEADS, which)(training=how, l2=0.001)
        fitter = Fitter(1, start and start.carry_over)
        fit_head = {"rating": model.fit_rating, "preference": model.fit_preference}[which]
        head = fit_head(ARCHITECTURE, config, to_fit, fitter)
        return head, [held_out for _, held_out in fitter.curves[0]]

    old = problem(OLD, 0, rows)
    head, _ = fit(old, None)
    path = save(tmp_path / "served", which, head, old)
    new = problem(NEW, 1, rows)
    _, fitted["cold"] = fit(new, None)
    _, fitted["warm"] = fit(new, warm_start.Start(path, new.catalogue))
    best = min(fitted["cold"])
    epochs = fitted["cold"].index(best) + 1
    assert min(fitted["warm"][: epochs // 2]) <= best


def test_a_model_of_another_kind_lends_nothing(tmp_path: Path) -> None:
    old = problem(OLD, 0, problems.interactions())
    head = ARCHITECTURES["mf"].model.fit_preference(MatrixFactorization(), old, Untrained(0))
    path = save(tmp_path / "served", "preference", head, old)
    other = ARCHITECTURES["two_tower"].model.fit_preference(TowersRanking(), old, Untrained(0))
    before = [np.array(variable) for variable in other.trainable_variables]
    start = warm_start.Start(path, old.catalogue)
    assert start.carry_over("preference", other.trainable_variables) == 0
    for was, variable in zip(before, other.trainable_variables, strict=True):
        np.testing.assert_array_equal(was, np.array(variable))
