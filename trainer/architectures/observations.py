"""Who interacted with what, as a sparse matrix of rows of the embedding tables.

Users and items that are out of vocabulary share rows. A shared row stands for several: whatever is
summed over users, or items, counts it as often.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import sparse

from tfx_recommender.trainer.fitting.problem import EntityShape, EntityTable, Problem


@dataclasses.dataclass(frozen=True)
class Observations:
    """The train split.

    Attributes:
      weight: confidence in that a user likes an item, above 0, mean 1 over rows; float32 CSR
        [rows of the users' table, rows of the items' table].
      users: how many users a row stands for, int64 [rows of the users' table].
      items: likewise of items.
    """

    weight: sparse.csr_array
    users: np.ndarray
    items: np.ndarray


def of(problem: Problem, exponent: float = 0.0, chosen: np.ndarray | None = None) -> Observations:
    """The observations of a problem.

    Args:
      problem: whose train split it is.
      exponent: of events, the weight is the strength raised to it, divided by the mean; 0, and of
        ratings: all weigh alike.
      chosen: which users count, bool [users]; None: all.
    """
    catalogue, train = problem.catalogue, problem.train
    weight = np.ones(len(train), np.float32)
    if exponent and train.strength is not None:
        raised = train.strength.astype(np.float64) ** exponent
        weight = (raised / raised.mean()).astype(np.float32)
    user, item = catalogue.users.index[train.user], catalogue.items.index[train.item]
    users = _counts(catalogue.users, catalogue.user_shape, chosen)
    if chosen is not None:
        kept = chosen[train.user]
        user, item, weight = user[kept], item[kept], weight[kept]
    shape = catalogue.user_shape.ids, catalogue.item_shape.ids
    matrix = sparse.coo_array((weight, (user, item)), shape).tocsr()
    return Observations(matrix, users, _counts(catalogue.items, catalogue.item_shape))


def _counts(
    entities: EntityTable, shape: EntityShape, chosen: np.ndarray | None = None
) -> np.ndarray:
    index = entities.index[:-1] if chosen is None else entities.index[:-1][chosen]
    return np.bincount(index, minlength=shape.ids)
