"""The one judge of all models: errors of clipped ratings, ranks from scores of all items."""

from __future__ import annotations

import numpy as np
import tfx.components  # noqa: F401 - must be imported before TFMA on older glibc

from benchmarks.accuracy.protocols import ITEMS, USERS, MovieLens, Split, negatives
from tfx_recommender.components.evaluator import ranking
from tfx_recommender.foundation import formulas

K = 10


def judge_ratings(answer: np.ndarray, split: Split, data: MovieLens) -> dict[str, float]:
    """RMSE and MAE of ratings [R] of the pairs held out, clipped to 1 … 5."""
    error = np.clip(answer.astype(np.float64), 1, 5) - data.rating[split.held_out]
    return {"rmse": formulas.rmse(error, np.zeros(())), "mae": float(np.mean(np.abs(error)))}


def judge_ranking(scores: np.ndarray, split: Split, data: MovieLens) -> dict[str, float]:
    """HitRate@10 and NDCG@10 of each user's item held out, from scores [943, 1682].

    In full among all items that the user has not rated in training, and sampled among 99 that the
    user never rated. Ties count against the model.
    """
    rated = np.zeros((USERS, ITEMS), bool)
    rated[data.user[split.train], data.item[split.train]] = True
    # The sampled protocol is the full one with all but the sample out of the way.
    others = np.ones((USERS, ITEMS), bool)
    np.put_along_axis(others, negatives(data), False, axis=1)
    others[data.user[split.held_out], data.item[split.held_out]] = False
    full, sampled = (ranks(scores, split, data, hidden) for hidden in (rated, others))
    return {
        "full_hit_rate": hit_rate(full),
        "full_ndcg": ndcg(full),
        "sampled_hit_rate": hit_rate(sampled),
        "sampled_ndcg": ndcg(sampled),
    }


def ranks(scores: np.ndarray, split: Split, data: MovieLens, hidden: np.ndarray) -> np.ndarray:
    """Ranks of the items held out among those that are not `hidden`, bool [943, 1682]."""
    held_out = data.user[split.held_out], data.item[split.held_out]
    hidden_user, hidden_item = np.nonzero(hidden)
    return ranking.rank(
        lambda users: scores[users].astype(np.float64),
        USERS,
        ITEMS,
        held_out=held_out,
        relevant=np.ones(len(split.held_out), bool),
        history=(hidden_user, hidden_item),
        known=held_out,  # for a sample of the Evaluator's own, which is not used here
        k=1,
        seed=0,
    ).rank


def hit_rate(rank: np.ndarray) -> float:
    """Share of ranks among the first K (0 is the top)."""
    return float(np.mean(formulas.hit(rank, K)))


def ndcg(rank: np.ndarray) -> float:
    """NDCG@K with one relevant item."""
    return float(np.mean(formulas.gain(rank, K)))
