"""The signatures that other tools rely on, and what they answer (S1, D5, D10, M6)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract import problems
from tfx_recommender.trainer import baseline, export
from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
from tfx_recommender.trainer.fitting import warm_start
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.recommender import Recommender

HELD_OUT = (
    np.array([b"u0", b"stranger"], object),
    np.array(["ï1".encode(), "ï2".encode()], object),
)


def rows() -> Interactions:
    """Ratings whose order is known."""
    some = problems.interactions()
    return dataclasses.replace(some, time=np.arange(len(some)))


@pytest.fixture(scope="module", params=[*sorted(ARCHITECTURES), "baseline"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An exported model, loaded by plain TensorFlow, and the model it was made from."""
    return exported(request.param, rows(), tmp_path_factory.mktemp(request.param))


def exported(architecture: str, rows: Interactions, folder: Path) -> Any:
    known = problems.problem(rows).catalogue
    if architecture == "baseline":
        model = baseline.bias_and_popularity(rows, problems.USERS, problems.ITEMS, (1.0, 5.0))
    else:
        rating, preference, _ = problems.heads_of(architecture, rows)
        model = problems.recommender(rating, preference, rows)
        some = problems.batch(rows, np.arange(8))
        model.predict(some["user"], some["item"])  # makes the weights
    rated = (
        np.append(known.users.raw_ids[rows.user], HELD_OUT[0]),
        np.append(known.items.raw_ids[rows.item], HELD_OUT[1]),
    )
    path = str(folder / "model")
    hidden = problems.ratings(*rated)
    export.export(path, model, known, problems.COLUMNS, None, rows, hidden, {"a": 1})
    return tf.saved_model.load(path).signatures, model, rated, path


def ask(served: Any, name: str, **inputs: Any) -> dict[str, np.ndarray]:
    tensors = {
        key: tf.constant(value, tf.int32 if key == "k" else tf.string)
        for key, value in inputs.items()
    }
    return {key: value.numpy() for key, value in served[0][name](**tensors).items()}


def recommend(served: Any, users: list[Any], k: int, liked: Any = None) -> dict[str, np.ndarray]:
    liked = np.zeros((len(users), 0), object) if liked is None else liked
    return ask(served, "recommend", user_id=users, k=k, liked_item_ids=liked)


def test_score_equals_the_model_and_stays_within_the_scale(served: Any) -> None:
    some = rows()
    known = problems.problem(some).catalogue
    users, items = (
        tf.nest.map_structure(lambda column, at=at: tf.constant(column[at]), side.batch())
        for side, at in ((known.users, some.user[:50]), (known.items, some.item[:50]))
    )
    expected = served[1].rate(users, items).numpy()
    found = ask(
        served,
        "score",
        user_id=known.users.raw_ids[some.user[:50]],
        item_id=known.items.raw_ids[some.item[:50]],
    )["rating"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.min() >= 1
    assert found.max() <= 5


def test_recommend_is_best_first_and_hides_every_known_rating(served: Any) -> None:
    users, items = served[2]
    answer = recommend(served, ["u0", "u1"], 20)
    for row, user in enumerate((b"u0", b"u1")):
        named = [item for item in answer["item_id"][row] if item]
        assert not set(named) & set(items[users == user])
        assert len(set(named)) == len(named) == problems.ITEMS - len(set(items[users == user]))
        scores = answer["score"][row]
        assert (np.diff(scores[: len(named)]) <= 0).all()
        assert np.isneginf(scores[len(named) :]).all()


def test_recommend_ranks_as_preference_scores(served: Any) -> None:
    everything = problems.catalogue().items.raw_ids
    scores = ask(served, "preference", user_id=["u3"], item_id=everything)["preference"][0]
    users, items = served[2]
    allowed = ~np.isin(everything, items[users == b"u3"])
    answer = recommend(served, ["u3"], 5)
    np.testing.assert_allclose(
        answer["score"][0], np.sort(scores[allowed])[::-1][:5], rtol=1e-4, atol=1e-5
    )


def test_recommend_copies_no_item_vectors(served: Any) -> None:
    """A part cut out of a larger variable would be copied at every request."""
    (function,) = tf.saved_model.load(served[3]).recommend.concrete_functions
    # Of what depends on the request some dimension is unknown.
    of_items = [
        (operation, variable)
        for operation in function.graph.get_operations()
        for variable in operation.inputs
        if variable.shape.is_fully_defined() and problems.ITEMS in variable.shape.as_list()
    ]
    assert of_items
    cut_up = [
        operation.name
        for operation, variable in of_items
        if operation.type in {"StridedSlice", "Split", "SplitV", "Slice"}
        # Dropping an axis of length 1 leaves all elements where they are.
        and operation.outputs[0].shape.num_elements() != variable.shape.num_elements()
    ]
    assert not cut_up


def test_k_beyond_the_catalogue_is_padded(served: Any) -> None:
    answer = recommend(served, ["u0"], problems.ITEMS + 7)
    assert answer["item_id"].shape == answer["score"].shape == (1, problems.ITEMS + 7)
    assert (answer["item_id"][0, -7:] == b"").all()
    assert np.isneginf(answer["score"][0, -7:]).all()


def test_d10_unknown_ids_score_finite_and_within_the_scale(served: Any) -> None:
    found = ask(served, "score", user_id=["new", "u0", "new"], item_id=["ï0", "new", "new"])
    assert np.isfinite(found["rating"]).all()
    assert (found["rating"] >= 1).all()
    assert (found["rating"] <= 5).all()
    answer = recommend(served, ["new"], 3)
    assert np.isfinite(answer["score"]).all()
    assert len(set(answer["item_id"][0])) == 3


def test_known_ratings_of_a_user_without_training_rows_are_hidden_too(served: Any) -> None:
    named = recommend(served, ["stranger"], problems.ITEMS)["item_id"][0]
    assert "ï2".encode() not in named
    assert "ï1".encode() in named


def test_liked_items_are_hidden_and_padding_is_ignored(served: Any) -> None:
    liked = np.array([["ï4", "ï7", ""], ["", "", ""]], object)
    answer = recommend(served, ["new", "new"], problems.ITEMS, liked)
    assert not {"ï4".encode(), "ï7".encode()} & set(answer["item_id"][0])
    plain = recommend(served, ["new"], problems.ITEMS)
    np.testing.assert_array_equal(answer["item_id"][1], plain["item_id"][0])
    assert np.isfinite(answer["score"][0][: problems.ITEMS - 2]).all()


PADS = st.lists(st.sampled_from(["", "nobody's", "ï20"]), max_size=40)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(data=st.data())
def test_p2_padding_and_unknown_ids_change_no_answer(served: Any, data: st.DataObject) -> None:
    users = data.draw(st.lists(st.sampled_from(["u0", "u1", "stranger", "new"]), min_size=1))
    item = st.integers(0, problems.ITEMS - 1).map("ï{}".format)
    liked = [data.draw(st.lists(item, max_size=10, unique=True)) for _ in users]
    padded = []
    for named in liked:
        row = list(data.draw(PADS))
        for name in named:  # in their order, with any pads between
            row += [name, *data.draw(PADS)]
        padded.append(row)

    def filled(rows: list[list[str]]) -> np.ndarray:
        width = max(map(len, rows))
        return np.array([row + [""] * (width - len(row)) for row in rows], object).reshape(
            len(rows), width
        )

    expected = recommend(served, users, problems.ITEMS, filled(liked))
    found = recommend(served, users, problems.ITEMS, filled(padded))
    np.testing.assert_array_equal(found["item_id"], expected["item_id"])
    np.testing.assert_array_equal(found["score"], expected["score"])


def test_p2_a_request_full_of_padding_is_answered_as_one_that_likes_nothing(
    served: Any,
) -> None:
    plain = recommend(served, ["u0", "new"], problems.ITEMS)
    for filler in ("", "nobody's"):
        liked = np.full((2, 100), filler, object)
        padded = recommend(served, ["u0", "new"], problems.ITEMS, liked)
        np.testing.assert_array_equal(padded["item_id"], plain["item_id"])
        np.testing.assert_array_equal(padded["score"], plain["score"])


def test_p2_without_times_too(tmp_path: Path) -> None:
    model = exported("two_tower", problems.interactions(), tmp_path)
    test_p2_a_request_full_of_padding_is_answered_as_one_that_likes_nothing(model)


def test_serving_default_answers_serialized_examples(served: Any) -> None:
    example = tf.train.Example()
    example.features.feature["user_id"].bytes_list.value.append(b"u0")
    example.features.feature["item_id"].bytes_list.value.append("ï0".encode())
    found = ask(served, "serving_default", examples=[example.SerializeToString()])
    scored = ask(served, "score", user_id=["u0"], item_id=["ï0"])
    np.testing.assert_allclose(found["rating"], scored["rating"], rtol=1e-5)


def test_a_model_of_events_predicts_preferences_and_no_rating(tmp_path: Path) -> None:
    rows = problems.events(problems.interactions())
    known = problems.problem(rows).catalogue
    _, preference = problems.losses_of("mf", problems.interactions())
    preference(problems.batch(rows, np.arange(8)))  # makes the weights
    model = Recommender(None, preference.head)
    path = str(tmp_path / "model")
    columns = dataclasses.replace(problems.COLUMNS, rating_min=None, rating_max=None)
    hidden = problems.ratings(known.users.raw_ids[rows.user], known.items.raw_ids[rows.item])
    export.export(path, model, known, columns, None, rows, hidden, {})
    served = tf.saved_model.load(path).signatures, model
    assert {name: set(said.structured_outputs) for name, said in served[0].items()} == {
        "serving_default": {"preference"},
        "score": {"preference"},
        "preference": {"preference"},
        "recommend": {"item_id", "score"},
    }
    users, items = known.users.raw_ids[:5], known.items.raw_ids[:5]
    found = ask(served, "score", user_id=users, item_id=items)["preference"]
    crossed = ask(served, "preference", user_id=users, item_id=items)["preference"]
    np.testing.assert_allclose(found, np.diag(crossed), rtol=1e-4, atol=1e-5)
    assert len(set(found)) == 5
    assert recommend(served, ["u0"], 3)["item_id"].all()
    weights = preference.head.trainable_variables
    assert warm_start.Start(path, known).carry_over("preference", weights) == len(weights)


def test_the_model_card_stands_beside_the_model(served: Any) -> None:
    assert '"a": 1' in Path(served[3], export.MODEL_CARD).read_text()
