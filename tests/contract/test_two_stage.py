"""Two stages: what is a candidate, how candidates are ranked, and what that costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.contract import problems
from tfx_recommender.trainer import export
from tfx_recommender.trainer.architectures import model as architecture
from tfx_recommender.trainer.architectures.factors import FactorsHead
from tfx_recommender.trainer.architectures.two_stage.model import TwoStageHead
from tfx_recommender.trainer.architectures.two_stage.settings import (
    MatrixFactorizationStage,
    MultilayerStage,
    TwoStageRanking,
)
from tfx_recommender.trainer.fitting.fit import Fitter
from tfx_recommender.trainer.fitting.head import (
    EntityBatch,
    Tensor,
    Vectors,
    score_all,
    score_pairs,
    shared,
)
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.fitting.problem import Problem
from tfx_recommender.trainer.recommender import Recommender

USERS, ITEMS, NUMBER = 6, 40, 7


class Stage(FactorsHead):
    """Remembers of how many items it was asked for the scores."""

    asked: int | None = None

    def interact(self, user: Vectors, item: Vectors, training: bool = False) -> Tensor:
        """As its parent."""
        self.asked = item[0].shape[1]
        return super().interact(user, item, training)


def batch(count: int) -> EntityBatch[Tensor]:
    """The first users, or items, without features."""
    return {"index": np.arange(count), "numeric": np.zeros((count, 0)), "categories": {}}


@pytest.fixture
def stages() -> tuple[Stage, Stage]:
    rng = np.random.default_rng(0)
    first, second = (
        Stage(*(rng.normal(size=(n, 1 + size)).astype(np.float32) for n in (USERS, ITEMS)))
        for size in (3, 5)
    )
    return first, second


@pytest.mark.parametrize("own_items", [False, True])
def test_the_best_of_the_first_stage_are_ranked_by_the_second(
    stages: tuple[Stage, Stage], own_items: bool
) -> None:
    head = TwoStageHead(*stages, NUMBER)
    users, items = batch(USERS), batch(ITEMS)
    first, second = (score_all(stage, users, items).numpy() for stage in stages)
    vectors = shared(head.item(items))
    if own_items:
        vectors = tf.nest.map_structure(lambda part: tf.repeat(part, USERS, axis=0), vectors)
    order = np.argsort(-head.interact(head.user(users), vectors).numpy(), axis=1)
    for user in range(USERS):
        by_first = np.argsort(-first[user])
        candidates = by_first[:NUMBER]
        expected = [*candidates[np.argsort(-second[user, candidates])], *by_first[NUMBER:]]
        assert order[user].tolist() == expected


def test_the_second_stage_scores_the_candidates_only(stages: tuple[Stage, Stage]) -> None:
    head = TwoStageHead(*stages, NUMBER)
    score_all(head, batch(USERS), batch(ITEMS))
    assert [stage.asked for stage in stages] == [ITEMS, NUMBER]


def test_one_item_gets_the_score_of_the_second_stage(stages: tuple[Stage, Stage]) -> None:
    head = TwoStageHead(*stages, NUMBER)
    pairs = score_pairs(head, batch(USERS), batch(USERS))
    second = score_pairs(stages[1], batch(USERS), batch(USERS))
    np.testing.assert_allclose(pairs, second, rtol=1e-6)


def test_a_name_stands_for_an_architecture_with_its_defaults() -> None:
    config = TwoStageRanking.model_validate(
        {"candidates": "mf", "ranking": {"architecture": "mlp", "l2": 0.5}}
    )
    assert config.candidates == MatrixFactorizationStage()
    assert config.ranking == MultilayerStage(l2=0.5)
    assert config.history == 0
    assert TwoStageRanking.model_validate({"candidates": "two_tower"}).history == 32
    with pytest.raises(ValueError, match="candidates"):
        TwoStageRanking.model_validate({"candidates": "mlp"})


@pytest.mark.slow
def test_what_is_recommended_is_what_the_evaluator_ranks(tmp_path: Path) -> None:
    rows, catalogue = problems.two_tastes(), problems.catalogue()
    few = Interactions(*(column[::7] for column in (rows.user, rows.item, rows.known_rating())))
    to_fit = Problem(catalogue, rows, few, history=8, seed=0)
    training = {"epochs": 12, "patience": 12, "learning_rate": 0.05, "batch_size": 32}
    stage = {"l2": 0.001, "training": training}
    config = TwoStageRanking.model_validate(
        {
            "candidates": {"architecture": "two_tower", **stage},
            "ranking": {"architecture": "mlp", **stage},
            "number": 8,
        }
    )
    head = architecture.fit_preference("two_stage", config, to_fit, Fitter(0))
    users, items = catalogue.users.raw_ids, catalogue.items.raw_ids
    known = problems.ratings(users[rows.user], items[rows.item])
    path = str(tmp_path / "model")
    model = Recommender(head, head, 3.0, 1.0, (1.0, 5.0))
    export.export(path, model, to_fit.catalogue, problems.COLUMNS, None, rows, known, {})
    served = tf.saved_model.load(path).signatures
    scores = served["preference"](user_id=tf.constant(users), item_id=tf.constant(items))
    scores = scores["preference"].numpy()
    scores[rows.user, rows.item] = -np.inf
    answer = served["recommend"](
        user_id=tf.constant(users), k=tf.constant(5), liked_item_ids=tf.fill([len(users), 0], "")
    )
    best = items[np.argsort(-scores, axis=1, kind="stable")[:, :5]]
    assert answer["item_id"].numpy().tolist() == best.tolist()
    half = problems.ITEMS // 2
    right = [set(got[:3]) <= set(items[half * (u % 2) :][:half]) for u, got in enumerate(best)]
    assert np.mean(right) > 0.9
