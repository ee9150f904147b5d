"""M8: the one suite that every architecture passes. A new one is added to HEADS, no more."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.contract import problems
from tfx_recommender.trainer import hyperparameters, run_fn, training
from tfx_recommender.trainer.training import Interactions

ARCHITECTURES = sorted(run_fn.HEADS)
TRAINING = hyperparameters.Training(
    epochs=8, batch_size=64, negatives=16, learning_rate=0.02, patience=8
)
LOSSES = ("rating_loss", "preference_loss")


@pytest.fixture(scope="module")
def rows() -> Interactions:
    return problems.interactions()


def plain(architecture: str) -> dict[str, object]:
    """Hyperparameters without any regularisation."""
    mf = {"l2": 0.0, "bias_l2": 0.0, "id_dropout": 0.0}
    mlp = {"l2": 0.0, "dropout": 0.0, "id_dropout": 0.0}
    return {"mf": mf, "mlp": mlp, "hybrid": {"mf": mf, "mlp": mlp}}[architecture]


def fit(model, rows, **changes) -> dict[str, list[float]]:  # type: ignore[no-untyped-def]
    known = problems.catalogue()
    held_out = Interactions(rows.user[:40], rows.item[:40], rows.rating[:40])
    settings = TRAINING.model_copy(update=changes)
    return training.fit(model, rows, held_out, known.users, known.items, settings, seed=3)


def test_every_architecture_of_the_config_has_a_head() -> None:
    assert set(run_fn.HEADS) == set(hyperparameters.ARCHITECTURES)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def fitted(request: pytest.FixtureRequest, rows: Interactions):  # type: ignore[no-untyped-def]
    """One fitted model of each architecture: its name, itself and its history."""
    tf.config.experimental.enable_op_determinism()  # as run_fn does
    model = problems.fresh(request.param, rows)
    return request.param, model, fit(model, rows)


def test_m8_both_losses_fall(fitted) -> None:  # type: ignore[no-untyped-def]
    _, _, history = fitted
    for loss in LOSSES:
        assert history[loss][-1] < 0.95 * history[loss][0]


def test_m8_scoring_a_catalogue_equals_scoring_pairs(fitted, rows: Interactions) -> None:  # type: ignore[no-untyped-def]
    _, model, _ = fitted
    one = problems.batch(rows, np.arange(12))
    pairs = model.prefer(one["user"], one["item"]).numpy()
    crossed = model.prefer_all(one["user"], one["item"]).numpy()
    np.testing.assert_allclose(np.diag(crossed), pairs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_m8_it_overfits_twenty_rows(architecture: str, rows: Interactions) -> None:
    few = Interactions(rows.user[:20], rows.item[:20], rows.rating[:20])
    model = problems.fresh(architecture, few, **plain(architecture))
    # Forty copies: as many optimizer steps in an epoch.
    many = Interactions(*(np.tile(column, 40) for column in (few.user, few.item, few.rating)))
    fit(model, many, epochs=8, batch_size=20)
    losses = model(problems.batch(few, np.arange(20)))
    assert float(losses["rating_loss"]) < 0.02


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_m8_the_order_within_a_batch_does_not_matter_and_gradients_are_finite(
    architecture: str, rows: Interactions
) -> None:
    model = problems.fresh(architecture, rows, **plain(architecture))
    order = np.arange(64)
    losses = []
    for chosen in (order, order[::-1]):
        with tf.GradientTape() as tape:
            total = sum(model(problems.batch(rows, chosen), training=True).values())
        losses.append(float(total))
        gradients = tape.gradient(total, model.trainable_variables)
        assert all(gradient is not None for gradient in gradients)
        for gradient in gradients:
            assert np.isfinite(tf.convert_to_tensor(gradient).numpy()).all()
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_penalties_touch_looked_up_rows_only(architecture: str, rows: Interactions) -> None:
    model = problems.fresh(architecture, rows)
    few = problems.batch(rows, np.arange(3))
    few["negative"] = few["item"]
    with tf.GradientTape() as tape:
        model(few, training=False)
        penalty = sum(model.losses)
    tables = [v for v in model.trainable_variables if v.shape[:1] == [problems.USERS + 1]]
    assert tables
    for gradient in tape.gradient(penalty, tables):
        touched = np.flatnonzero(np.abs(tf.convert_to_tensor(gradient).numpy()).sum(axis=1))
        assert set(touched) <= set(rows.user[:3])
