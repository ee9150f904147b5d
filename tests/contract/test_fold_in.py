"""Strangers who name what they like: are they told what they would be told if they were known?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.contract import problems
from tfx_recommender.trainer import export
from tfx_recommender.trainer.architectures import ensemble
from tfx_recommender.trainer.architectures import model as architectures
from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
from tfx_recommender.trainer.fitting.fit import Fitter
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.fitting.problem import Catalogue, EntityShape, EntityTable, Problem
from tfx_recommender.trainer.recommender import Recommender
from tfx_recommender.transform.features import Columns


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["mf", "mf by gradients", "item_item", "two_tower"])
def test_a_stranger_who_names_liked_items_is_shown_what_goes_with_them(
    architecture: str, tmp_path: Path
) -> None:
    rows, half = problems.two_tastes(), problems.ITEMS // 2
    few = Interactions(*(column[::7] for column in (rows.user, rows.item, rows.known_rating())))
    to_fit = Problem(problems.catalogue(), rows, few, history=8, seed=0)
    training = {"epochs": 20, "patience": 20, "learning_rate": 0.05, "batch_size": 32}
    settings = {
        "mf": {},
        "mf by gradients": {"l2": 0.001, "training": training | {"loss": "softmax"}},
        "item_item": {},
        "two_tower": {"l2": 0.001, "training": training},
    }[architecture]
    name = architecture.partition(" ")[0]
    config = ARCHITECTURES[name].preference.model_validate(settings)
    head = architectures.fit_preference(name, config, to_fit, Fitter(0))
    model = Recommender(head, head, 3.0, 1.0, (1.0, 5.0))
    path = str(tmp_path / "model")
    known = problems.ratings(
        problems.catalogue().users.raw_ids[rows.user], problems.catalogue().items.raw_ids[rows.item]
    )
    export.export(path, model, to_fit.catalogue, problems.COLUMNS, None, rows, known, {})
    names = problems.catalogue().items.raw_ids
    liked = np.array([names[:2], names[half : half + 2]], object)
    answer = tf.saved_model.load(path).signatures["recommend"](
        user_id=tf.constant(["new", "new"]), k=tf.constant(5), liked_item_ids=tf.constant(liked)
    )
    first, second = answer["item_id"].numpy()
    assert set(first) <= set(names[2:half])
    assert set(second) <= set(names[half + 2 :])


def clusters(users: int, items: int, rng: np.random.Generator) -> np.ndarray:
    """Which items each user has, bool [users, items]: mostly those of one of eight tastes."""
    taste, trait = rng.integers(0, 8, users), rng.integers(0, 8, items)
    popularity = 1 / np.arange(1, items + 1) ** 0.5
    chance = popularity * np.where(taste[:, None] == trait, 1.0, 0.05)
    return rng.random((users, items)) < 3 * chance / chance.max()


@pytest.fixture(scope="module", params=["mf", "item_item", "ensemble"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A served model of half of the users, and what both halves have; the last item is asked for.

    Items are in random order, so the last one is anyone's.
    """
    tf.config.experimental.enable_op_determinism()
    rng, users, items = np.random.default_rng(0), 1200, 100
    order = rng.permutation(items)
    has = clusters(users, items, rng)[:, order]
    has = has[has.sum(axis=1) >= 3]
    pairs = [rng.permutation(np.flatnonzero(row)) for row in has]
    half = len(pairs) // 2
    user = np.repeat(np.arange(half), [len(row) - 1 for row in pairs[:half]])
    item = np.concatenate([row[:-1] for row in pairs[:half]])
    rows = Interactions(user, item, np.ones(len(user), np.float32))
    names = [
        f"{kind}{n}".encode() for kind, count in (("u", half), ("i", items)) for n in range(count)
    ]
    sides = [
        EntityTable(
            np.array(raw, object),
            np.arange(len(raw) + 1),
            np.zeros((len(raw) + 1, 0), np.float32),
            {},
        )
        for raw in (names[:half], names[half:])
    ]
    user_table, item_table = sides
    catalogue = Catalogue(
        user_table,
        item_table,
        EntityShape("user", len(user_table) + 1, len(user_table), 0, {}),
        EntityShape("item", len(item_table) + 1, len(item_table), 0, {}),
    )
    none = Interactions(user[:0], item[:0], rows.known_rating()[:0])
    problem = Problem(catalogue, rows, none, history=0, seed=0)
    name = "mf" if request.param == "ensemble" else request.param
    config = ARCHITECTURES[name].preference.model_validate(
        {"embedding_size": 16} if name == "mf" else {"regularization": 20}
    )
    members = 2 if request.param == "ensemble" else 1
    head = ensemble.of(
        [architectures.fit_preference(name, config, problem, Fitter(n)) for n in range(members)]
    )
    model = Recommender(head, head, 3.0, 1.0, (1.0, 5.0))
    path = str(tmp_path_factory.mktemp(request.param) / "model")
    known = problems.ratings(sides[0].raw_ids[user], sides[1].raw_ids[item])
    columns = Columns(1.0, 5.0, False, ())
    export.export(path, model, problem.catalogue, columns, None, rows, known, {})
    return tf.saved_model.load(path).signatures["recommend"], pairs, half


def recommend(world: Any, users: list[str], liked: list[list[str]], k: int = 10) -> Any:
    width = max(map(len, liked), default=0)
    padded = np.array([[*row, *[""] * (width - len(row))] for row in liked], object)
    answer = world[0](
        user_id=tf.constant(users),
        k=tf.constant(k),
        liked_item_ids=tf.constant(padded.reshape(len(users), width), tf.string),
    )
    return answer["item_id"].numpy(), answer["score"].numpy()


def test_a_stranger_is_told_what_it_would_be_told_if_it_were_known(world: Any) -> None:
    """HitRate@10 of who was never seen, within 5 % of that of the users of the train split."""
    _, pairs, half = world
    hits = {}
    for group, some in (("known", pairs[:half]), ("new", pairs[half:])):
        users = [f"u{n}" if group == "known" else "new" for n in range(len(some))]
        liked = [[] if group == "known" else [f"i{n}" for n in row[:-1]] for row in some]
        found, _ = recommend(world, users, liked)
        last = [f"i{row[-1]}".encode() for row in some]
        hits[group] = np.mean([item in row for item, row in zip(last, found, strict=True)])
    assert hits["known"] > 0.2
    assert hits["new"] > 0.95 * hits["known"]


def test_the_same_history_is_the_same_user(world: Any) -> None:
    """Folding in what a known user has gives the scores that it has, to single precision."""
    _, pairs, _ = world
    known = recommend(world, [f"u{n}" for n in range(20)], [[]] * 20)
    liked = [[f"i{n}" for n in row[:-1]] for row in pairs[:20]]
    for users in (["new"] * 20, [f"u{n}" for n in range(20)]):
        found = recommend(world, users, liked)
        np.testing.assert_allclose(found[1], known[1], rtol=1e-3, atol=1e-4)


def test_a_known_users_new_like_changes_what_it_is_told(world: Any) -> None:
    _, pairs, _ = world
    like = [[f"i{pairs[0][-1]}"]]
    known, _ = recommend(world, ["u0"], [[]], 100)
    told, _ = recommend(world, ["u0"], like, 100)
    stranger, _ = recommend(world, ["new"], [[f"i{n}" for n in pairs[0]]], 100)
    assert told.tolist() != known.tolist()
    np.testing.assert_array_equal(told[0, :50], stranger[0, :50])


def test_padding_unknown_ids_and_repetitions_change_no_answer(world: Any) -> None:
    plain = recommend(world, ["new"], [["i3", "i7"]])
    for liked in (["i3", "", "i7", "", ""], ["nobody", "i7", "i3"], ["i3", "i7", "i3", "i3"]):
        found = recommend(world, ["new"], [liked])
        assert found[0].tolist() == plain[0].tolist()
        np.testing.assert_allclose(found[1], plain[1], rtol=1e-4, atol=1e-6)
    # A neighbour in the batch neither.
    found = recommend(world, ["new", "u0", "new"], [["i3", "i7"], [], ["i1", "i2", "i5", "i9"]])
    assert found[0][0].tolist() == plain[0][0].tolist()
    alone = recommend(world, ["u0"], [[]])
    assert found[0][1].tolist() == alone[0][0].tolist()
