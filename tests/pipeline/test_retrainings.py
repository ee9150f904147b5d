"""M10, A/A: the same data, other seeds. `make bench-gate` does it two hundred times."""

from __future__ import annotations

import pytest

from benchmarks import gate_retrainings
from benchmarks.gate_simulation import MARGIN, Rule

pytestmark = pytest.mark.slow

SEEDS = 20


@pytest.fixture(scope="module")
def models() -> list[gate_retrainings.Judged]:
    return [gate_retrainings.retrain(seed) for seed in range(SEEDS)]


def test_m10_retrained_with_another_seed_a_model_is_pushed_in_at_most_one_case_of_twenty(
    models: list[gate_retrainings.Judged],
) -> None:
    """Night by night; and each against each, in the second comparison since a push."""
    shipped, before = Rule("better"), Rule("until now", bound=False)
    served = list(gate_retrainings.pushes(shipped, models))
    assert len(served) - 1 <= 0.05 * SEEDS
    for model in served:
        assert model.truth["rmse"] <= served[0].truth["rmse"] + MARGIN
        assert model.truth["hit_rate"] >= served[0].truth["hit_rate"] - MARGIN
    pairs = [(one, two) for one in models for two in models if one is not two]

    def share(rule: Rule) -> float:
        return sum(gate_retrainings.passes(rule, *pair, 2) for pair in pairs) / len(pairs)

    assert share(shipped) <= 0.05
    assert share(before) > 0.15
