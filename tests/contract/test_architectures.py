"""M8: the one suite that every architecture passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.contract import problems
from tfx_recommender.trainer import hyperparameters, run_fn, training
from tfx_recommender.trainer.problem import Interactions, Problem
from tfx_recommender.trainer.recommender import Recommender

# Two stages have no loss of their own; see test_two_stage.py.
ARCHITECTURES = sorted(set(run_fn.ARCHITECTURES) - {"two_stage"})
TRAINING = hyperparameters.RankingTraining(
    epochs=8, batch_size=64, negatives=16, learning_rate=0.02, patience=8
)


@pytest.fixture(scope="module")
def rows() -> Interactions:
    return problems.interactions()


def test_every_architecture_of_the_config_can_be_trained() -> None:
    assert set(run_fn.ARCHITECTURES) == set(hyperparameters.ARCHITECTURES)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def fitted(request: pytest.FixtureRequest, rows: Interactions) -> tuple[Any, Any]:
    """Both losses of each architecture, fitted."""
    tf.config.experimental.enable_op_determinism()  # as run_fn does
    rating, preference = problems.losses_of(request.param, rows)
    for loss in (rating, preference):
        training.fit(loss, problems.problem(rows), TRAINING, seed=3)
    return rating, preference


def test_m8_both_losses_fall(fitted: tuple[Any, Any], rows: Interactions) -> None:
    rating, preference = fitted
    batch = problems.batch(rows, np.arange(len(rows)))
    assert float(rating(batch)) < 0.9  # 1 is what the mean alone gives
    assert float(preference(batch)) < 0.95 * np.log(1 + problems.ITEMS)  # what ignorance gives


def test_m8_scoring_a_catalogue_equals_scoring_pairs(
    fitted: tuple[Any, Any], rows: Interactions
) -> None:
    model = problems.recommender(*fitted)
    one = problems.batch(rows, np.arange(12))
    pairs = model.prefer(one["user"], one["item"]).numpy()
    crossed = model.prefer_all(one["user"], one["item"]).numpy()
    np.testing.assert_allclose(np.diag(crossed), pairs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_without_validation_every_epoch_is_run_and_the_last_weights_stay(
    rows: Interactions,
) -> None:
    _, loss = problems.losses_of("mf", rows)
    none = Interactions(rows.user[:0], rows.item[:0], rows.rating[:0])
    to_fit = Problem(problems.catalogue(), rows, none, history=8, seed=7)
    impatient = TRAINING.model_copy(update={"patience": 1})
    assert len(training.fit(loss, to_fit, impatient, seed=3)) == TRAINING.epochs
    after = float(loss(problems.batch(rows, np.arange(len(rows)))))
    assert after < 0.95 * np.log(1 + problems.ITEMS)  # what the first weights give


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_m8_it_overfits_twenty_rows(architecture: str, rows: Interactions) -> None:
    few = Interactions(rows.user[:20], rows.item[:20], rows.rating[:20])
    # Forty copies: as many optimizer steps in an epoch, and no doubt left about a rating.
    many = Interactions(*(np.tile(column, 40) for column in (few.user, few.item, few.rating)))
    rating, _ = problems.losses_of(architecture, many, plain=True)
    how = TRAINING.model_copy(update={"batch_size": 20})
    training.fit(rating, problems.problem(many), how, seed=3)
    assert float(rating(problems.batch(many, np.arange(20)))) < 0.02


@pytest.mark.parametrize("architecture", ARCHITECTURES)
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


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_penalties_touch_looked_up_rows_only(architecture: str, rows: Interactions) -> None:
    _, loss = problems.losses_of(architecture, rows)
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
    rating = hyperparameters.MultilayerRating.model_validate(how)
    preference = hyperparameters.MultilayerRanking.model_validate(how)
    to_fit, seed = problems.problem(rows), 5
    joint = run_fn.fit("mlp", rating, preference, to_fit, (1.0, 5.0), seed)
    ranker = run_fn.fit_preference("mlp", preference, to_fit, seed)
    rater = run_fn.fit_rating("mlp", rating, to_fit, seed)
    alone = Recommender(rater, ranker, to_fit.rating_mean, to_fit.rating_scale, (1.0, 5.0))
    batch = problems.batch(rows, np.arange(len(rows)))
    for predict in (Recommender.rate, Recommender.prefer):
        answers = [predict(model, batch["user"], batch["item"]).numpy() for model in (joint, alone)]
        assert np.array_equal(*answers)
        assert answers[0].std() > 0
