"""M8: the one suite that every architecture passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.contract import problems
from tfx_recommender.trainer import run_fn
from tfx_recommender.trainer.architectures import model
from tfx_recommender.trainer.architectures.mlp.settings import MultilayerRanking, MultilayerRating
from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
from tfx_recommender.trainer.architectures.two_stage.model import TwoStageHead
from tfx_recommender.trainer.fitting import losses
from tfx_recommender.trainer.fitting.fit import Fitter, fit
from tfx_recommender.trainer.fitting.head import shared
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.fitting.problem import Problem
from tfx_recommender.trainer.fitting.settings import RankingTraining
from tfx_recommender.trainer.recommender import Recommender

TRAINING = RankingTraining.model_validate({**problems.FAST, "negatives": 16})


@pytest.fixture(scope="module")
def rows() -> Interactions:
    return problems.interactions()


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def fitted(request: pytest.FixtureRequest, rows: Interactions) -> tuple[Any, Any]:
    """Both heads of each architecture, fitted as `run_fn` does."""
    tf.config.experimental.enable_op_determinism()
    rating, preference, _ = problems.heads_of(request.param, rows, fitter=Fitter(3))
    return rating, preference


def test_m8_both_losses_fall(fitted: tuple[Any, Any], rows: Interactions) -> None:
    rating, preference = fitted
    to_fit, batch = problems.problem(rows), problems.batch(rows, np.arange(len(rows)))
    squared = losses.SquaredError(rating, to_fit.rating_mean, to_fit.rating_scale)
    assert float(squared(batch)) < 0.9  # 1 is what the mean alone gives
    softmax = losses.Softmax(preference, sampled=True)
    assert float(softmax(batch)) < 0.95 * np.log(1 + problems.ITEMS)  # what ignorance gives


def test_m8_scoring_a_catalogue_equals_scoring_pairs(
    fitted: tuple[Any, Any], rows: Interactions
) -> None:
    """Of two stages only candidates have the score that a pair alone gets, so all are."""
    if isinstance(fitted[1], TwoStageHead):
        candidates, ranking = fitted[1].heads
        fitted = fitted[0], TwoStageHead(candidates, ranking, problems.ITEMS + 1)
    recommender = problems.recommender(*fitted, rows)
    one = problems.batch(rows, np.arange(12))
    pairs = recommender.prefer(one["user"], one["item"]).numpy()
    crossed = recommender.prefer_all(one["user"], one["item"]).numpy()
    np.testing.assert_allclose(np.diag(crossed), pairs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_without_validation_every_epoch_is_run_and_the_last_weights_stay(
    rows: Interactions,
) -> None:
    _, loss = problems.losses_of("mf", rows)
    none = Interactions(rows.user[:0], rows.item[:0], rows.known_rating()[:0])
    to_fit = Problem(problems.catalogue(), rows, none, history=8, seed=7)
    impatient = TRAINING.model_copy(update={"patience": 1})
    assert len(fit(loss, to_fit, impatient, seed=3)) == TRAINING.epochs
    after = float(loss(problems.batch(rows, np.arange(len(rows)))))
    assert after < 0.95 * np.log(1 + problems.ITEMS)  # what the first weights give


@pytest.mark.slow
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_m8_it_overfits_twenty_rows(architecture: str, rows: Interactions) -> None:
    few = Interactions(rows.user[:20], rows.item[:20], rows.known_rating()[:20])
    # Forty copies: as many optimizer steps in an epoch, and no doubt left about a rating.
    many = Interactions(
        *(np.tile(column, 40) for column in (few.user, few.item, few.known_rating()))
    )
    rating, *_ = problems.losses_of(architecture, many, plain=True)
    how = TRAINING.model_copy(update={"batch_size": 20})
    fit(rating, problems.problem(many), how, seed=3)
    assert float(rating(problems.batch(many, np.arange(20)))) < 0.02


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_m8_the_order_within_a_batch_does_not_matter_and_gradients_are_finite(
    architecture: str, rows: Interactions
) -> None:
    order = np.arange(64)
    for loss in problems.losses_of(architecture, rows, plain=True):
        values = []
        for chosen in (order, order[::-1]):
            with tf.GradientTape() as tape:
                value = loss(problems.batch(rows, chosen), training=True)
            values.append(float(value))
            for gradient in tape.gradient(value, loss.trainable_variables):
                assert np.isfinite(tf.convert_to_tensor(gradient).numpy()).all()
        assert values[0] == pytest.approx(values[1], rel=1e-5)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_m11_no_shape_of_data_makes_a_score_a_loss_or_a_gradient_that_is_not_finite(
    architecture: str,
) -> None:
    extremes = problems.extremes()
    catalogue, user = extremes.catalogue, extremes.train.user
    first, last = np.unique(user, return_index=True)[1], np.append(np.flatnonzero(np.diff(user)), 0)
    batch = problems.batch(extremes, np.concatenate([first, last]))
    for loss in problems.losses_of(architecture, extremes):
        with tf.GradientTape() as tape:
            value = loss(batch, training=True) + sum(loss.losses)
        assert np.isfinite(float(value))
        for gradient in tape.gradient(value, loss.trainable_variables):
            assert np.isfinite(tf.convert_to_tensor(gradient).numpy()).all()
        everyone = loss.head.user(catalogue.users.batch())
        everything = shared(loss.head.item(catalogue.items.batch()))
        assert np.isfinite(loss.head.interact(everyone, everything).numpy()).all()


@pytest.mark.parametrize("architecture", ["hybrid", "two_tower"])
def test_m11_rankings_train_at_the_degrees_of_movielens_1m(architecture: str) -> None:
    """From the first step on the pads of light users once read a heavy user's ratings: NaN."""
    problem = problems.extremes()
    row = ARCHITECTURES[architecture]
    how = row.preference.model_validate({"training": {"epochs": 2, "batch_size": 512}})
    head = row.model.fit_preference(how, problem, Fitter(3))
    assert all(np.isfinite(weight.numpy()).all() for weight in head.trainable_variables)
    users, items = problem.catalogue.users.batch(), problem.catalogue.items.batch()
    scores = head.interact(head.user(users), shared(head.item(items))).numpy()
    assert np.isfinite(scores).all()
    assert scores.std() > 0


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_penalties_touch_looked_up_rows_only(architecture: str, rows: Interactions) -> None:
    *_, loss = problems.losses_of(architecture, rows)
    one = problems.batch(rows, np.arange(1))
    one["negative"] = one["item"]
    with tf.GradientTape() as tape:
        loss(one, training=True)
        penalty = sum(loss.losses)
    seen = {  # or the OOV bucket in their place
        problems.USERS + 1: {*rows.user[:1], problems.USERS},
        problems.ITEMS + 1: {*rows.item[:1], *one["user"]["history"].numpy()[0], problems.ITEMS},
    }
    tables = [v for v in loss.trainable_variables if v.shape[0] in seen]
    touched = []
    for table, gradient in zip(tables, tape.gradient(penalty, tables), strict=True):
        if gradient is not None:  # some have no penalty
            sizes = np.abs(tf.convert_to_tensor(gradient).numpy()).sum(axis=1)
            touched.append(set(np.flatnonzero(sizes)))
            assert touched[-1] <= seen[table.shape[0]]
    assert any(touched)


@pytest.mark.slow
def test_training_both_heads_together_costs_neither_anything(rows: Interactions) -> None:
    """The joint model predicts to the digit what its heads predict when each is fitted alone."""
    tf.config.experimental.enable_op_determinism()  # as run_fn does
    how = {"training": {"epochs": 2, "batch_size": 64}}
    rating = MultilayerRating.model_validate(how)
    preference = MultilayerRanking.model_validate(how)
    to_fit, seed = problems.problem(rows), 5
    joint = run_fn.fit("mlp", rating, preference, to_fit, (1.0, 5.0), seed)
    ranker = model.fit_preference("mlp", preference, to_fit, Fitter(seed))
    rater = model.fit_rating("mlp", rating, to_fit, Fitter(seed))
    alone = Recommender(rater, ranker, to_fit.rating_mean, to_fit.rating_scale, (1.0, 5.0))
    batch = problems.batch(rows, np.arange(len(rows)))
    for predict in (Recommender.rate, Recommender.prefer):
        answers = [predict(one, batch["user"], batch["item"]).numpy() for one in (joint, alone)]
        assert np.array_equal(*answers)
        assert answers[0].std() > 0
