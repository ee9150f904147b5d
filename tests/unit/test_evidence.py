"""M10: how sure an improvement is, against independent formulas and simulations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tfx.components  # noqa: F401 - must be imported before TFMA on older glibc
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.unit.test_metrics import computed, metric_of
from tfx_recommender.components.evaluator import evidence
from tfx_recommender.components.evaluator.predictions import NOT_RANKED, NOT_SAMPLED

Rows = dict[str, np.ndarray]


def as_tfma_hands_out(rows: Rows) -> list[dict[str, Any]]:
    return [
        {name: values[i : i + 1] for name, values in rows.items()}
        for i in range(len(rows["user_code"]))
    ]


def of_tfma(rows: Rows, metric: str, statistic: str, **asked: Any) -> float:
    found = computed(metric_of(metric, 10, statistic, **asked), as_tfma_hands_out(rows))
    return found[metric]


def gains(rows: Rows, metric: str, chosen: np.ndarray) -> float:
    """How much better the candidate is on chosen rows, by the definition of the metric."""
    some = {name: values[chosen] for name, values in rows.items()}
    if metric in ("rmse", "mae"):
        own, other = (some[name] - some["label"] for name in ("rating", "baseline_rating"))
        if metric == "mae":
            return np.abs(other).mean() - np.abs(own).mean()
        return math.sqrt((other**2).mean()) - math.sqrt((own**2).mean())
    ranked = some["rank"] >= 0

    def mean(rank: np.ndarray) -> float:
        hit = (rank[ranked] < 10).astype(float)
        return (hit if metric == "hit_rate" else hit / np.log2(rank[ranked] + 2)).mean()

    return mean(some["rank"]) - mean(some["baseline_rank"])


def made_up(seed: int, users: int = 40, is_heavy: bool = False) -> Rows:
    """Test rows of users that differ; with `is_heavy`, one user has half of them."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, users)
    if is_heavy:
        sizes[0] = sizes[1:].sum()
    user = np.repeat(rng.permutation(users), sizes)
    of_user = rng.normal(0, 0.5, users)[user]
    label = rng.integers(1, 6, len(user)).astype(float)
    rating = label + of_user + rng.normal(0, 0.8, len(user))
    rank = rng.integers(0, 25, len(user)).astype(float)
    rank[rng.random(len(user)) < 0.1] = NOT_RANKED
    other = np.where(rank == NOT_RANKED, rank, rng.integers(0, 30, len(user)))
    order = rng.permutation(len(user))
    rows = {
        "user_code": user,
        "label": label,
        "rating": rating,
        "baseline_rating": rating + 0.3 * of_user + rng.normal(0, 0.4, len(user)),
        "decile": np.ones(len(user), int),
        "rank": rank,
        "sampled_rank": rank,
        "baseline_rank": other,
    }
    return {name: values[order] for name, values in rows.items()}


METRICS = ("rmse", "mae", "hit_rate", "ndcg")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("is_heavy", [False, True])
def test_the_error_is_what_leaving_out_a_user_at_a_time_tells(metric: str, is_heavy: bool) -> None:
    """The jackknife by brute force: rows are dropped and the metric is computed anew."""
    rows = made_up(3, is_heavy=is_heavy)
    users, everything = rows["user_code"], np.ones(len(rows["user_code"]), bool)
    value = gains(rows, metric, everything)
    assert of_tfma(rows, metric, "improvement") == pytest.approx(value, abs=1e-9)
    counted = np.unique(users if metric in ("rmse", "mae") else users[rows["rank"] >= 0])
    moved = np.array([value - gains(rows, metric, users != user) for user in counted])
    error = math.sqrt((len(moved) - 1) / len(moved) * (moved**2).sum())
    found = computed(metric_of(metric, 10, "improvement"), as_tfma_hands_out(rows))
    assert found[f"{metric}_standard_error"] == pytest.approx(error, rel=1e-6)
    # Satterthwaite's degrees of freedom, and Kish's number of users less one.
    rows_of = np.array(
        [
            np.sum((users == u) & ((rows["rank"] >= 0) | (metric in ("rmse", "mae"))))
            for u in counted
        ]
    )
    variance = moved**2
    freedom = min(
        2 * variance.sum() ** 2 / ((variance**2).sum() - variance.sum() ** 2 / len(moved)),
        rows_of.sum() ** 2 / (rows_of**2).sum() - 1,
    )
    bound = of_tfma(rows, metric, "improvement_lower_bound", confidence=0.9, comparison=2)
    one = 1 - 0.1 / 6
    assert bound == pytest.approx(value - stats.t.ppf(one, max(1, freedom)) * error, rel=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_the_error_agrees_with_a_bootstrap_of_users(metric: str) -> None:
    rows = made_up(1, users=300)
    rng = np.random.default_rng(0)
    of_user = [np.flatnonzero(rows["user_code"] == user) for user in range(300)]
    drawn = [
        gains(rows, metric, np.concatenate([of_user[u] for u in rng.integers(0, 300, 300)]))
        for _ in range(600)
    ]
    found = computed(metric_of(metric, 10, "improvement"), as_tfma_hands_out(rows))
    assert found[f"{metric}_standard_error"] == pytest.approx(np.std(drawn), rel=0.12)


def test_rows_of_one_user_count_once_when_they_say_the_same() -> None:
    """Ten copies of each row are no more evidence; rows taken for independent would be."""
    rows = made_up(5)
    copies = {name: np.tile(values, 10) for name, values in rows.items()}
    for metric in METRICS:
        once, tenfold = (
            computed(metric_of(metric, 10, "improvement"), as_tfma_hands_out(some))
            for some in (rows, copies)
        )
        assert tenfold == pytest.approx(once, rel=1e-6)


def coverage(make: Any, statistic: evidence.Statistic, level: float, times: int) -> float:
    """How often the lower bound lies above the truth, 0."""
    above = sum(evidence.estimate(make(), statistic).lower_bound(level) > 0 for _ in range(times))
    return above / times


@pytest.mark.parametrize("level", [0.95, 0.99])
@pytest.mark.parametrize("users", [60, 300])
@pytest.mark.parametrize("is_heavy", [False, True])
@pytest.mark.parametrize("kind", ["hits", "errors"])
def test_m10_the_bound_errs_as_rarely_as_it_says(
    kind: str, is_heavy: bool, users: int, level: float
) -> None:
    """Models of equal worth; users differ, and one may have half of all rows."""
    rng = np.random.default_rng(0)

    def make() -> np.ndarray:
        sizes = rng.integers(1, 4, users)
        if is_heavy:
            sizes[0] = sizes[1:].sum()
        user = np.repeat(np.arange(users), sizes)
        if kind == "hits":
            likes = rng.beta(1, 5, (2, users))
            own, other = (rng.random(len(user)) < side[user] for side in likes)
        else:
            shared = rng.normal(size=users)[user] + rng.normal(size=len(user))
            own, other = (
                (shared + rng.normal(0, 0.3, users)[user] + rng.normal(0, 0.3, len(user))) ** 2
                for _ in range(2)
            )
        return evidence.user_parts(user, own, other)

    def mean(rows: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
        return (own - other) / rows

    def root(rows: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.sqrt(other / rows) - np.sqrt(own / rows)

    times = 1500
    found = coverage(make, mean if kind == "hits" else root, level, times)
    allowed = 1 - level
    assert found <= allowed + 3 * math.sqrt(allowed / times)
    if not is_heavy:
        assert found >= allowed / 4, "so careful that nothing would ever be pushed"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), min_size=1, max_size=20),
       st.integers(0, 30))  # fmt: skip
def test_of_a_sample_of_users_the_bound_has_the_finite_correction(
    ranks: list[tuple[int, int]], unsampled: int
) -> None:
    """Of all users it is the figure itself; what they would do another day is not asked."""
    rank, user = (np.array(column) for column in zip(*ranks, strict=True))
    rows = {
        "user_code": np.append(user, 100 + np.arange(unsampled)),
        "rank": np.append(rank, np.full(unsampled, NOT_SAMPLED)).astype(float),
    }
    rows["sampled_rank"] = rows["baseline_rank"] = rows["rank"]
    hits = (rank < 4).astype(float)
    (bound,) = computed(metric_of("hit_rate", 4, "lower_bound"), as_tfma_hands_out(rows)).values()
    if not unsampled:
        assert bound == pytest.approx(hits.mean())
        return
    users = np.unique(user)
    if len(users) < 2:
        assert math.isnan(bound)
        return
    moved = np.array([hits.mean() - hits[user != one].mean() for one in users])
    count, spread = len(users), (moved**2).sum()
    error = math.sqrt((count - 1) / count * spread * unsampled / (unsampled + count))
    sizes = np.array([np.sum(user == one) for one in users])
    freedom = max(1.0, sizes.sum() ** 2 / (sizes**2).sum() - 1)
    fourth = (moved**4).sum() - spread**2 / count
    if fourth > 1e-12:
        freedom = min(freedom, 2 * spread**2 / fourth)
        assert bound == pytest.approx(hits.mean() - stats.t.ppf(0.95, freedom) * error, abs=1e-7)
    assert bound <= hits.mean() + 1e-12


def test_a_tie_is_no_improvement_and_is_known_for_sure() -> None:
    rows = made_up(2)
    rows |= {f"baseline_{name}": rows[name] for name in ("rating", "rank")}
    for metric in METRICS:
        assert of_tfma(rows, metric, "improvement") == 0
        assert of_tfma(rows, metric, "improvement_lower_bound") == 0
        assert math.isnan(of_tfma(rows, metric, "improvement_rows_to_tell", difference=0.01))


def test_m3_a_nan_of_either_model_or_a_single_user_gives_no_bound() -> None:
    for name in ("rating", "baseline_rating", "rank", "baseline_rank"):
        rows = made_up(2)
        rows[name] = rows[name].copy()
        rows[name][np.flatnonzero(rows["rank"] >= 0)[0]] = math.nan
        metric = "rmse" if name.endswith("rating") else "hit_rate"
        assert math.isnan(of_tfma(rows, metric, "improvement_lower_bound")), name
    rows = made_up(2)
    rows["user_code"] = np.zeros(len(rows["rank"]), int)
    assert math.isnan(of_tfma(rows, "hit_rate", "improvement_lower_bound"))
    nobody = {name: values[:0] for name, values in rows.items()}
    assert len(evidence.of_users(evidence.unseen_parts(nobody["user_code"]))) == 0


def test_so_many_rows_would_tell_a_difference() -> None:
    """Drawn as often as not four times in five it is seen."""
    rng = np.random.default_rng(1)

    def hits(rows: int) -> np.ndarray:
        own, other = rng.random(rows) < 0.33, rng.random(rows) < 0.3
        return evidence.user_parts(np.arange(rows), own, other)

    def mean(rows: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
        return (own - other) / rows

    rows = int(evidence.estimate(hits(3000), mean).rows_to_tell(0.03, 0.975))
    seen = np.mean([evidence.estimate(hits(rows), mean).lower_bound(0.975) > 0 for _ in range(400)])
    assert seen == pytest.approx(evidence.POWER, abs=0.08)


def test_m10_all_comparisons_of_a_year_together_spend_what_is_allowed() -> None:
    spent = [3 * (1 - evidence.confidence(0.95, 3, night)) for night in range(1, 366)]
    assert 0.0495 < sum(spent) < 0.05
    assert spent == sorted(spent, reverse=True)
    assert evidence.confidence(0.95, 1, 1) == pytest.approx(0.975)
