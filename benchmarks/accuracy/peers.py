"""Fits what others publish; a worker in `.venv-peers`."""

from __future__ import annotations

from typing import Any

import cornac
import implicit.als
import implicit.bpr
import implicit.lmf
import myfm
import numpy as np
import pandas as pd
import scipy.sparse as sp
import surprise

from benchmarks.accuracy import worker
from benchmarks.accuracy.protocols import ITEMS, USERS
from benchmarks.accuracy.worker import Arrays, Fitted


def fit(arrays: Arrays, task: str, model: str, settings: dict[str, Any], seed: int) -> Fitted:
    """Fits one model of a library, `settings` being the library's own arguments."""
    library, _, name = model.partition(" ")
    return LIBRARIES[library](arrays, name, settings, seed)


def fit_surprise(arrays: Arrays, name: str, settings: dict[str, Any], seed: int) -> Fitted:
    """Surprise: ratings."""
    seeded = {} if name == "BaselineOnly" else {"random_state": seed}
    algorithm = getattr(surprise, name)(**settings, **seeded, verbose=False)
    frame = pd.DataFrame({name: arrays[f"train_{name}"] for name in ("user", "item", "rating")})
    data = surprise.Dataset.load_from_df(frame, surprise.Reader(rating_scale=(1, 5)))
    algorithm.fit(data.build_full_trainset())
    pairs = zip(arrays["held_out_user"].tolist(), arrays["held_out_item"].tolist(), strict=True)
    return Fitted(
        getattr(algorithm, "n_epochs", 0),
        lambda: np.array([algorithm.predict(*pair).est for pair in pairs]),
    )


def fit_cornac(arrays: Arrays, name: str, settings: dict[str, Any], seed: int) -> Fitted:
    """cornac: ratings."""
    columns = (arrays[f"train_{column}"].tolist() for column in ("user", "item", "rating"))
    train = cornac.data.Dataset.from_uir(list(zip(*columns, strict=True)))
    model = getattr(cornac.models, name)(**settings, seed=seed, verbose=False).fit(train)

    def rate(user: int, item: int) -> float:
        """Unknown ids are numbers that the model has never seen."""
        return model.rate(
            train.uid_map.get(user, train.num_users), train.iid_map.get(item, train.num_items)
        )

    pairs = zip(arrays["held_out_user"].tolist(), arrays["held_out_item"].tolist(), strict=True)
    return Fitted(model.max_iter, lambda: np.array([rate(*pair) for pair in pairs]))


def fit_myfm(arrays: Arrays, name: str, settings: dict[str, Any], seed: int) -> Fitted:
    """myFM: ratings by a Bayesian factorisation machine of ids and, by name, more.

    `settings`: `rank` and `n_iter`; `implicit`: what a user rated in train, and who rated an item
    (rows of norm 1); `metadata`: age, gender, occupation, genres, year.
    """
    seen = _matrix(arrays)
    users, items = [sp.eye_array(USERS)], [sp.eye_array(ITEMS)]
    if settings.get("implicit"):
        users.append(_unit_rows(seen))
        items.append(_unit_rows(seen.T.tocsr()))
    if settings.get("metadata"):
        decade = (np.minimum(arrays["age"], 79) // 10).astype(int)
        users += [_one_hot(decade), _one_hot(arrays["gender"]), _one_hot(arrays["occupation"])]
        items += [_genres(arrays["genres"]), _one_hot(np.nan_to_num(arrays["year"]))]
    blocks = [sp.hstack(side, format="csr", dtype=np.float64) for side in (users, items)]

    def relations(part: str) -> list[myfm.RelationBlock]:
        return [
            myfm.RelationBlock(arrays[f"{part}_{side}"], block)
            for side, block in zip(("user", "item"), blocks, strict=True)
        ]

    model = myfm.MyFMRegressor(rank=settings["rank"], random_seed=seed)
    rating = arrays["train_rating"].astype(np.float64)
    empty = sp.csr_matrix((len(rating), 0))
    model.fit(
        empty,
        rating,
        X_rel=relations("train"),
        n_iter=settings["n_iter"],
        group_shapes=[part.shape[1] for part in (*users, *items)],
    )
    return Fitted(settings["n_iter"], lambda: model.predict(None, relations("held_out")))


def fit_implicit(arrays: Arrays, name: str, settings: dict[str, Any], seed: int) -> Fitted:
    """implicit: rankings."""
    kind = {
        "ALS": implicit.als.AlternatingLeastSquares,
        "BPR": implicit.bpr.BayesianPersonalizedRanking,
        "LMF": implicit.lmf.LogisticMatrixFactorization,
    }[name]
    model = kind(**settings, random_state=seed)
    model.fit(_matrix(arrays), show_progress=False)
    return Fitted(model.iterations, lambda: model.user_factors @ model.item_factors.T)


def fit_ease(arrays: Arrays, name: str, settings: dict[str, Any], seed: int) -> Fitted:
    """EASE (Steck: Embarrassingly Shallow Autoencoders for Sparse Data, 2019): rankings."""
    seen = _matrix(arrays).toarray().astype(np.float64)
    precision = np.linalg.inv(seen.T @ seen + settings["l2"] * np.eye(ITEMS))
    weights = precision / -np.diag(precision)
    np.fill_diagonal(weights, 0)
    return Fitted(0, lambda: seen @ weights)


LIBRARIES = {
    "Surprise": fit_surprise,
    "cornac": fit_cornac,
    "myFM": fit_myfm,
    "implicit": fit_implicit,
    "EASE": fit_ease,
}


def _matrix(arrays: Arrays) -> sp.csr_matrix:
    """1 where a user rated an item in train, float32 [943, 1682]."""
    user, item = arrays["train_user"], arrays["train_item"]
    return sp.csr_matrix((np.ones(len(user), np.float32), (user, item)), (USERS, ITEMS))


def _unit_rows(matrix: sp.csr_matrix) -> sp.csr_matrix:
    norm = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1))).ravel()
    return sp.diags_array(1 / np.maximum(norm, 1)) @ matrix


def _one_hot(values: np.ndarray) -> sp.csr_matrix:
    return sp.csr_matrix(pd.get_dummies(pd.Series(values)).to_numpy(float))


def _genres(values: np.ndarray) -> sp.csr_matrix:
    return sp.csr_matrix(pd.Series(values).str.get_dummies(sep="|").to_numpy(float))


if __name__ == "__main__":
    worker.serve(fit)
