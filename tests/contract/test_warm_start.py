"""A new model begins from the served one: weights follow their ids and values, wherever they go."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.contract import problems
from tfx_recommender.trainer import export
from tfx_recommender.trainer.architectures import ensemble, model
from tfx_recommender.trainer.architectures.factors import FactorsHead
from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
from tfx_recommender.trainer.fitting import batches, losses, warm_start, weight_labels
from tfx_recommender.trainer.fitting.fit import Fitter, Untrained
from tfx_recommender.trainer.fitting.head import Head, Tensor
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.fitting.problem import Catalogue, EntityShape, EntityTable, Problem
from tfx_recommender.trainer.fitting.settings import RankingTraining
from tfx_recommender.trainer.fitting.warm_start import HeadName
from tfx_recommender.trainer.recommender import Recommender

WORLD = problems.catalogue()
ROWS = problems.interactions()
# Yesterday a tenth of today's users and items was unknown; today all have other places.
OLD = {"user": np.arange(27), "item": np.arange(18)}
NEW = {"user": np.arange(30)[::-1], "item": np.roll(np.arange(20), 7)}


def part(
    entities: EntityTable, shape: EntityShape, chosen: np.ndarray, turn: int
) -> tuple[EntityTable, EntityShape]:
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
    users, user_shape = part(WORLD.users, WORLD.user_shape, chosen["user"], turn)
    items, item_shape = part(WORLD.items, WORLD.item_shape, chosen["item"], turn)
    return Catalogue(users, items, user_shape, item_shape)


def problem(chosen: dict[str, np.ndarray], turn: int, rows: Interactions) -> Problem:
    """The ratings among the chosen; a fifth held out."""
    known = np.isin(rows.user, chosen["user"]) & np.isin(rows.item, chosen["item"])
    user = np.argsort(chosen["user"])[np.searchsorted(np.sort(chosen["user"]), rows.user[known])]
    item = np.argsort(chosen["item"])[np.searchsorted(np.sort(chosen["item"]), rows.item[known])]
    held_out = np.flatnonzero(known) % 5 == 0  # the same ones in every world
    train, validation = (
        Interactions(user[at], item[at], rows.known_rating()[known][at])
        for at in (~held_out, held_out)
    )
    return Problem(world(chosen, turn), train, validation, 0, seed=0)


def save(path: Path, rating: Head | None, preference: Head, to_fit: Problem) -> str:
    """Exports a model of these heads."""
    rows, catalogue = to_fit.train, to_fit.catalogue
    recommender = Recommender(rating, preference, 3.0, 1.0, (1.0, 5.0))
    known = problems.ratings(catalogue.users.raw_ids[rows.user], catalogue.items.raw_ids[rows.item])
    export.export(str(path), recommender, catalogue, problems.COLUMNS, None, rows, known, {})
    return str(path)


def untrained(
    architecture: str, to_fit: Problem, values: Callable[[tuple[int, ...]], np.ndarray]
) -> tuple[Head, Head, list[tuple[HeadName, list[Tensor]]]]:
    """Both heads, and the weights of each head that is trained, set to values of their shapes."""
    rating, preference, fitter = problems.heads_of(architecture, to_fit)
    trained: list[tuple[HeadName, list[Tensor]]] = []
    for loss in fitter.losses:
        weights = built(loss, to_fit)
        for variable in weights:
            variable.assign(values(variable.shape))
        trained.append(("preference" if isinstance(loss, losses.Ranking) else "rating", weights))
    return rating, preference, trained


def built(loss: losses.Loss, to_fit: Problem) -> list[Tensor]:
    """The trainable weights of a loss; they come to be when it sees a batch."""
    drawn = batches.Batches(to_fit.train, to_fit, RankingTraining(), loss.by_user, 0)
    loss(drawn.gather(*(part[0] for part in drawn.draw(0))))
    return loss.trainable_variables


def old_row(kind: str, size: int, old: Problem, new: Problem) -> list[int]:
    """For each entry of an axis in the new model, its place in the old model."""
    if not kind:
        return [*range(size)]
    before, after = (weight_labels.of(to_fit.catalogue)[kind].tolist() for to_fit in (old, new))
    unknown = [label for label in before if label.startswith(b"\0")]
    return [before.index(label if label in before else unknown[0]) for label in after]


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_every_trainable_weight_starts_from_the_served_one_of_the_same_ids_and_values(
    architecture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    old, new = problem(OLD, 0, ROWS), problem(NEW, 1, ROWS)
    rating, preference, served = untrained(architecture, old, lambda size: rng.normal(size=size))
    start = warm_start.Start(save(tmp_path / "served", rating, preference, old), new.catalogue)
    # Half of a weight is its own start, which is 0 here; half of the served weight remains.
    *_, trained = untrained(architecture, new, np.zeros)
    assert any(name == "preference" for name, _ in trained)
    lengths = {len(labels) for labels in weight_labels.of(new.catalogue).values()}
    for (name, before), (_, after) in zip(served, trained, strict=True):
        assert start.carry_over(name, after) == len(after) > 0
        for was, variable in zip(before, after, strict=True):
            kinds = weight_labels.axis_kinds(variable)
            # No layer of these models is as wide as a vocabulary is long.
            assert [size in lengths for size in variable.shape] == [kind != "" for kind in kinds]
            places = [
                old_row(kind, size, old, new)
                for kind, size in zip(kinds, variable.shape, strict=True)
            ]
            np.testing.assert_allclose(
                np.array(variable), np.array(was)[np.ix_(*places)] / 2, rtol=1e-6
            )
    assert "warm start" not in capsys.readouterr().err


def test_the_two_problems_of_these_tests_number_everything_otherwise() -> None:
    before, after = (
        weight_labels.of(problem(chosen, turn, ROWS).catalogue)
        for chosen, turn in ((OLD, 0), (NEW, 1))
    )
    for kind in ("user", "item", "user.gender", "item.genres", "user.", "item."):
        assert before[kind].tolist() != after[kind].tolist()


def test_a_weight_of_other_ids_than_declared_is_not_exported(tmp_path: Path) -> None:
    to_fit = problem(OLD, 0, ROWS)
    rating, preference, [*_, (_, weights)] = untrained("mf", to_fit, np.zeros)
    weight_labels.declare(weights[0], "item")  # the users' embeddings
    with pytest.raises(ValueError, match=r"length 28 is declared as 'item'.*item \(19\)"):
        save(tmp_path / "served", rating, preference, to_fit)


def test_each_member_of_an_ensemble_starts_from_its_own_predecessor(tmp_path: Path) -> None:
    to_fit = problem(OLD, 0, ROWS)
    members = []
    for value in (2.0, 4.0):
        values = functools.partial(np.full, fill_value=value)
        _, preference, _ = untrained("mf", to_fit, values)
        members.append(preference)
    path = save(tmp_path / "served", None, ensemble.of(members), to_fit)
    start = warm_start.Start(path, to_fit.catalogue)
    *_, [(_, weights)] = untrained("mf", to_fit, np.zeros)
    for member, value in enumerate((1.0, 2.0, 1.0)):  # there is no third one: the first again
        for weight in weights:
            weight.assign(np.zeros(weight.shape))
        assert start.of(member)("preference", weights) == len(weights)
        for weight in weights:
            np.testing.assert_array_equal(np.array(weight), value)


class Keepsake(tf.Module):
    """What models keep that version 0.2.0 exported: a name for each weight, no kinds of axes."""

    def __init__(self, weights: list[Tensor], to_fit: Problem) -> None:
        super().__init__()
        labels = weight_labels.of(to_fit.catalogue)
        kinds = [weight_labels.axis_kinds(weight) for weight in weights]
        names = [">".join(filter(None, axes)) or "kernel" for axes in kinds]
        assert "user.>item." in names
        index = {"labels": [*labels], "weights": {"rating": [], "preference": names}}
        self.index = tf.Variable(json.dumps(index), trainable=False)
        self.labels = [tf.Variable(values, trainable=False) for values in labels.values()]
        self.rating: list[Tensor] = []
        self.preference = [weight.value for weight in weights]


def test_a_model_that_version_0_2_0_exported_is_started_from(tmp_path: Path) -> None:
    to_fit = problem(OLD, 0, ROWS)
    *_, (_, weights) = untrained("wide_deep", to_fit, np.ones)[-1]
    served = tf.Module()
    served.keepsake = Keepsake(weights, to_fit)
    tf.saved_model.save(served, str(tmp_path / "served"))
    *_, (_, weights) = untrained("wide_deep", to_fit, np.zeros)[-1]
    start = warm_start.Start(str(tmp_path / "served"), to_fit.catalogue)
    assert start.carry_over("preference", weights) == len(weights)
    for weight in weights:
        np.testing.assert_array_equal(np.array(weight), 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["rating", "preference"])
def test_it_needs_at_most_half_of_the_epochs_of_a_cold_start(
    which: HeadName, tmp_path: Path
) -> None:
    rows = problems.two_tastes()
    how = {"epochs": 30, "patience": 30, "batch_size": 64, "learning_rate": 0.003}

    def fit(to_fit: Problem, start: warm_start.Start | None) -> tuple[Head, list[float]]:
        settings = getattr(ARCHITECTURES["wide_deep"], which)
        config = settings.model_validate({"training": how, "l2": 0.001})
        fitter = Fitter(1, start.carry_over if start else None)
        fit_head = {"rating": model.fit_rating, "preference": model.fit_preference}[which]
        head = fit_head("wide_deep", config, to_fit, fitter)
        return head, [held_out for _, held_out in fitter.curves[0]]

    old, new = problem(OLD, 0, rows), problem(NEW, 1, rows)
    head, _ = fit(old, None)
    sizes = old.catalogue.user_shape.ids, old.catalogue.item_shape.ids
    empty = FactorsHead(*(np.zeros((size, 1), np.float32) for size in sizes))
    rating, preference = (head, empty) if which == "rating" else (empty, head)
    path = save(tmp_path / "served", rating, preference, old)
    _, cold = fit(new, None)
    _, warm = fit(new, warm_start.Start(path, new.catalogue))
    epochs = cold.index(min(cold)) + 1
    assert min(warm[: epochs // 2]) <= min(cold)


def test_a_model_of_another_kind_lends_nothing_and_training_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to_fit = problem(OLD, 0, ROWS)
    rating, preference, _ = untrained("mf", to_fit, np.ones)
    start = warm_start.Start(
        save(tmp_path / "served", rating, preference, to_fit), to_fit.catalogue
    )
    *_, (_, weights) = untrained("two_tower", to_fit, np.zeros)[-1]
    assert start.carry_over("preference", weights) == 0
    assert not any(np.any(weight) for weight in weights)
    assert "another preference head, so training starts cold" in capsys.readouterr().err


def test_weights_of_another_size_start_cold_and_training_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to_fit = problem(OLD, 0, ROWS)
    rating, preference, _ = untrained("mf", to_fit, np.ones)
    start = warm_start.Start(
        save(tmp_path / "served", rating, preference, to_fit), to_fit.catalogue
    )
    other = Untrained(0)
    config = ARCHITECTURES["mf"].preference.model_validate({"embedding_size": 3})
    model.fit_preference("mf", config, to_fit, other)
    (loss,) = other.losses
    assert start.carry_over("preference", built(loss, to_fit)) == 2  # the biases
    told = capsys.readouterr().err
    assert "2 of 4 weights of the preference head have another shape" in told
    assert "(28, 3)" in told
