"""Nights of a gate, simulated: what it lets through, what that costs, when it sees a better model.

A model has a true HitRate@K or RMSE, which nobody sees. The test split shows it on a few rows, one
a user. Two models' rows are correlated, as those of two trainings on the same data are: `SHARED`
is the part of a row's score that is the row's, not the model's. Decisions are made by the
product's own `components/evaluator/evidence.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np
from scipy import special

from tfx_recommender.components.evaluator import catalogue, evidence

NIGHTS = 200
MARGIN = 0.01
"""The config's default, of both metrics."""
MIN_IMPROVEMENT = 0.0001
CONFIDENCE = 0.95
SHARED = {"hit_rate": 0.8, "rmse": 0.95}
"""So that two models' rows correlate as those of two retrainings do (`gate_retrainings.py`)."""
QUALITY = {"hit_rate": 0.14, "rmse": 1.0}
"""About those of the hybrid on MovieLens-100k."""
_K = 10


@dataclasses.dataclass(frozen=True)
class Rule:
    """A way to decide.

    Attributes:
      name: in the tables.
      bound: whether the lower confidence bound decides, or the figure itself.
      not_worse: the policy.
      spends: whether each further comparison asks for more confidence.
      anchored: whether the model must hold also against the last one that was proved better.
    """

    name: str
    bound: bool = True
    not_worse: bool = False
    spends: bool = True
    anchored: bool = False

    def passes(self, found: evidence.Estimate, comparison: int) -> bool:
        """Whether a candidate is pushed, of a night's only one."""
        least = -MARGIN if self.not_worse else MIN_IMPROVEMENT
        if not self.bound:
            return found.value >= least
        confidence = CONFIDENCE
        if self.spends:
            confidence = evidence.confidence(CONFIDENCE, 1, comparison)
        return found.lower_bound(confidence) >= least


RULES = (
    Rule("the figure itself (until now)", bound=False),
    Rule("better, 95 % each night", spends=False),
    Rule("better, 95 % from push to push"),
    Rule("not_worse, 95 % each night", not_worse=True, spends=False),
    Rule("not_worse, 95 % from push to push", not_worse=True),
    Rule("not_worse, also than the last one proved better", not_worse=True, anchored=True),
)


class TestRows:
    """A test split of so many rows, and what models make of them: row values of a metric."""

    __test__ = False  # no test of pytest's

    def __init__(self, metric: str, rows: int, rng: np.random.Generator) -> None:
        self.metric, self.rng = metric, rng
        self.row = rng.normal(size=rows)

    def noise(self) -> np.ndarray:
        """What is a model's own about each row."""
        return self.rng.normal(size=len(self.row))

    def values(self, quality: float, noise: np.ndarray) -> np.ndarray:
        """Row values of a model whose metric is truly `quality`."""
        shared = SHARED[self.metric]
        score = math.sqrt(shared) * self.row + math.sqrt(1 - shared) * noise
        if self.metric == "rmse":
            return (quality * score) ** 2
        return (score < special.ndtri(quality)).astype(float)


def compare(metric: str, own: np.ndarray, baseline: np.ndarray) -> evidence.Estimate:
    """How much better the one is on the same rows, each of a user of its own."""
    row = catalogue.METRICS[metric]
    assert isinstance(row, catalogue.RowMetric)
    sign = -1 if row.better == "lower" else 1

    def improvement(rows: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
        return sign * (row.of_mean(own / rows) - row.of_mean(other / rows))

    users = np.arange(len(own), dtype=float)
    sums = np.stack([users, np.ones(len(own)), own, baseline], axis=1)
    return evidence.estimate(sums, improvement)


@dataclasses.dataclass(frozen=True)
class Life:
    """What 200 nights came to.

    Attributes:
      pushes: after the first.
      worse: pushes of a truly worse model than was served.
      fall: how far the truly served quality ever lay below the first push's.
      gain: how far it lies above the first push's in the end.
    """

    pushes: int
    worse: int
    fall: float
    gain: float


Candidate = Callable[[int, float, np.random.Generator], float]
"""Night, truly served quality (0: the first push's; above: better) -> a candidate's."""

WORLDS: dict[str, Candidate] = {
    "the same data, other seeds": lambda night, served, rng: rng.normal(0, 0.1 * MARGIN),
    "seeds that differ much": lambda night, served, rng: rng.normal(0, 0.5 * MARGIN),
    "each a little worse than what is served": lambda night, served, rng: served - 0.3 * MARGIN,
    "each worse by the margin": lambda night, served, rng: served - MARGIN,
    "a margin better every 20 nights": lambda night, served, rng: (
        MARGIN * (night // 20) + rng.normal(0, 0.1 * MARGIN)
    ),
}


def live(rule: Rule, world: Candidate, rows: int, same_rows: bool, seed: int) -> Life:
    """Nights of HitRate@K, from the first push on.

    Args:
      rule: of the gate.
      world: what is trained each night.
      rows: of the test split.
      same_rows: whether each night has the same test rows, or new ones.
      seed: of everything.
    """
    rng = np.random.default_rng(seed)
    base = QUALITY["hit_rate"]
    test = TestRows("hit_rate", rows, rng)
    served, noise = 0.0, test.noise()
    anchor, anchor_noise = served, noise
    pushes = worse = 0
    comparison, fall = 1, 0.0
    for night in range(NIGHTS):
        if not same_rows:
            test = TestRows("hit_rate", rows, rng)
            noise, anchor_noise = test.noise(), test.noise()
        quality, own_noise = world(night, served, rng), test.noise()
        own = test.values(base + quality, own_noise)
        passed = rule.passes(
            compare("hit_rate", own, test.values(base + served, noise)), comparison
        )
        against = test.values(base + anchor, anchor_noise)
        if passed and rule.anchored:
            passed = rule.passes(compare("hit_rate", own, against), comparison)
        comparison += 1
        if not passed:
            continue
        pushes, worse = pushes + 1, worse + (quality < served)
        served, noise = quality, own_noise
        fall = max(fall, -served)
        if rule.anchored:
            # The count goes on until one is proved better.
            found = compare("hit_rate", own, against)
            confidence = evidence.confidence(CONFIDENCE, 1, comparison - 1)
            if found.lower_bound(confidence) < MIN_IMPROVEMENT:
                continue
            anchor, anchor_noise = served, noise
        comparison = 1
    return Life(pushes, worse, fall, served)


def power(
    metric: str, difference: float, rows: int, comparison: int, times: int, seed: int
) -> float:
    """How often `better` pushes a model that is truly better by so much."""
    rng = np.random.default_rng(seed)
    better = -difference if metric == "rmse" else difference
    rule, pushed = Rule(""), 0
    for _ in range(times):
        test = TestRows(metric, rows, rng)
        own = test.values(QUALITY[metric] + better, test.noise())
        pushed += rule.passes(
            compare(metric, own, test.values(QUALITY[metric], test.noise())), comparison
        )
    return pushed / times


def summary(lives: Iterable[Life]) -> dict[str, float]:
    """Figures of the table of worlds and rules."""
    lived = list(lives)
    falls = np.array([life.fall for life in lived])
    return {
        "pushes": float(np.mean([life.pushes for life in lived])),
        "worse": float(np.mean([life.worse for life in lived])),
        "mean_fall": float(falls.mean()) / MARGIN,
        "largest_fall": float(falls.max()) / MARGIN,
        "beyond_margin": float(np.mean(falls > MARGIN)),
        "gain": float(np.mean([life.gain for life in lived])) / MARGIN,
    }
