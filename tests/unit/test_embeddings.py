from __future__ import annotations

import numpy as np
import pytest

from tfx_recommender.trainer.architectures.layers import IdEmbedding
from tfx_recommender.trainer.fitting.problem import EntityShape


@pytest.mark.parametrize(("exponent", "ratio"), [(1.0, 4.0), (0.5, 2.0), (0.0, 1.0)])
def test_penalty_of_an_epoch_grows_with_ratings_to_the_exponent(
    exponent: float, ratio: float
) -> None:
    ratings = np.array([2, 8, 5, 0])
    shape = EntityShape("item", 4, 3, 0, {}, ratings)
    layer = IdEmbedding(shape, size=3, l2=0.1, id_dropout=0.0, l2_exponent=exponent)
    layer.table.rows.assign(np.ones((4, 3)))

    def of_an_epoch(index: int) -> float:
        layer(np.full(7, index), training=True)
        (penalty,) = layer.losses
        return float(penalty) * ratings[index]

    assert of_an_epoch(1) / of_an_epoch(0) == pytest.approx(ratio)
    # As many ratings as the mean: l2 times the squared norm, each time.
    assert of_an_epoch(2) == pytest.approx(5 * 0.1 * 3)
