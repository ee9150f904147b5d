"""M6: ranks and the four metrics against brute force: ties, K beyond the catalogue, NaN."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tfx.components  # noqa: F401 - must be imported before TFMA on older glibc
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_recommender.components.evaluator import metrics, ranking


def brute_force(scores: np.ndarray, user: int, item: int, seen: set[tuple[int, int]]) -> int:
    """How many unseen items score at least as much as this one, itself aside."""
    return sum(
        scores[user, other] >= scores[user, item]
        for other in range(scores.shape[1])
        if other != item and (user, other) not in seen
    )


@st.composite
def problems(draw: st.DrawFn) -> Any:
    users, items = draw(st.integers(1, 5)), draw(st.integers(1, 7))
    values = st.sampled_from([-2.0, -0.5, 0.0, 0.5, 3.0])
    scores = np.array(
        draw(st.lists(values, min_size=users * items, max_size=users * items))
    ).reshape(users, items)
    cells = [(u, i) for u in range(users) for i in range(items)]
    seen = draw(st.sets(st.sampled_from(cells), max_size=len(cells) - 1))
    held_out = draw(
        st.lists(st.sampled_from([c for c in cells if c not in seen]), min_size=1, unique=True)
    )
    return scores, seen, held_out


def names(kind: str, numbers: Any) -> np.ndarray:
    return np.array([f"{kind}{number}".encode() for number in numbers], dtype=object)


def ranks_of(scores: np.ndarray, seen: Any, held_out: Any, relevant: Any = None) -> np.ndarray:
    users, items = scores.shape
    shuffled = np.random.default_rng(0).permutation(items)
    place = np.argsort(shuffled)

    def scorer(user_ids: np.ndarray, item_ids: np.ndarray) -> np.ndarray:
        rows = [int(name[1:]) for name in user_ids]
        return scores[np.ix_(rows, [int(name[1:]) for name in item_ids])]

    def columns(pairs: Any) -> tuple[np.ndarray, np.ndarray]:
        pairs = np.array(list(pairs), int).reshape(-1, 2)
        return pairs[:, 0], place[pairs[:, 1]]

    return ranking.ranks(
        scorer,
        names("u", range(users)),
        names("i", shuffled),
        columns(held_out),
        np.ones(len(held_out), bool) if relevant is None else np.array(relevant),
        columns(seen),
    )


@settings(max_examples=200, deadline=None)
@given(problems())
def test_m6_ranks_equal_brute_force(problem: Any) -> None:
    scores, seen, held_out = problem
    expected = [brute_force(scores, user, item, seen) for user, item in held_out]
    assert ranks_of(scores, seen, held_out).tolist() == expected


def test_m6_a_constant_model_ranks_last() -> None:
    assert ranks_of(np.zeros((1, 20)), set(), [(0, 3)]).tolist() == [19]


def test_m6_seen_items_do_not_compete() -> None:
    scores = np.array([[3.0, 2.0, 1.0]])
    assert ranks_of(scores, set(), [(0, 2)]).tolist() == [2]
    assert ranks_of(scores, {(0, 0), (0, 1)}, [(0, 2)]).tolist() == [0]


def test_rows_below_the_relevance_threshold_are_not_ranked() -> None:
    scores = np.array([[3.0, 2.0, 1.0]])
    found = ranks_of(scores, set(), [(0, 1), (0, 2)], relevant=[False, True])
    assert found.tolist() == [metrics.NOT_RANKED, 2]


def test_m3_a_nan_score_makes_the_rank_nan() -> None:
    scores = np.array([[3.0, np.nan, 1.0], [3.0, 2.0, 1.0]])
    found = ranks_of(scores, set(), [(0, 0), (1, 0)])
    assert math.isnan(found[0])
    assert found[1] == 0


def computed(metric: Any, rows: list[tuple[float, float, float]]) -> dict[str, float]:
    """Runs a metric's combiner as Beam does, over two accumulators."""

    class Element:
        def __init__(self, row: tuple[float, float, float]) -> None:
            self.row = row

        def get_labels(self, model_name: str) -> np.ndarray:
            return np.array([self.row[0]])

        def get_predictions(self, model_name: str, output: str) -> np.ndarray:
            return np.array([self.row[1 if output == metrics.RATING else 2]])

    (combiner,) = (c.combiner for c in metric.computations(model_names=["m"]))
    accumulators = [combiner.create_accumulator() for _ in range(2)]
    for number, row in enumerate(rows):
        combiner.add_input(accumulators[number % 2], Element(row))
    result = combiner.extract_output(combiner.merge_accumulators(accumulators))
    return {key.name: value for key, value in result.items()}


ROWS = [(4.0, 3.0, 0.0), (2.0, 2.5, 9.0), (5.0, 5.0, 10.0), (1.0, 1.0, metrics.NOT_RANKED)]


def test_rmse_and_mae_equal_their_definitions() -> None:
    found = computed(metrics.RatingRMSE(), ROWS)
    squares = np.array([1.0, 0.25, 0.0, 0.0])
    assert found["rmse"] == pytest.approx(math.sqrt(squares.mean()))
    error = squares.std() / math.sqrt(4) / (2 * math.sqrt(squares.mean()))
    assert found["rmse_standard_error"] == pytest.approx(error)
    assert computed(metrics.RatingMAE(), ROWS)["mae"] == pytest.approx(1.5 / 4)


@pytest.mark.parametrize(
    ("k", "hit_rate", "ndcg"),
    [
        (1, 1 / 3, 1 / 3),
        (10, 2 / 3, (1 + 1 / math.log2(11)) / 3),
        (1000, 1.0, (1 + 1 / math.log2(11) + 1 / math.log2(12)) / 3),
    ],
)
def test_m6_hit_rate_and_ndcg_also_for_k_beyond_the_catalogue(
    k: int, hit_rate: float, ndcg: float
) -> None:
    assert computed(metrics.CatalogueHitRate(k, "h"), ROWS)["h"] == pytest.approx(hit_rate)
    assert computed(metrics.CatalogueNDCG(k, "n"), ROWS)["n"] == pytest.approx(ndcg)


def test_no_relevant_item_and_nan_ranks_give_nan_not_a_number_that_passes() -> None:
    none = [(1.0, 1.0, float(metrics.NOT_RANKED))]
    assert math.isnan(computed(metrics.CatalogueHitRate(10, "h"), none)["h"])
    nan = [(1.0, math.nan, math.nan), (1.0, 1.0, 0.0)]
    assert math.isnan(computed(metrics.CatalogueHitRate(10, "h"), nan)["h"])
    assert math.isnan(computed(metrics.CatalogueNDCG(10, "n"), nan)["n"])
    assert math.isnan(computed(metrics.RatingRMSE(), nan)["rmse"])
