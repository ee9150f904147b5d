"""Small data, written by the tests in every form the pipeline reads, and configs for them."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # what tft sets; model code imports keras 3

USERS, ITEMS = 80, 50

SMALL_CONFIG: dict[str, Any] = {
    "name": "small",
    "root": "root",
    "serving_root": "serving",
    "data": {
        "ratings": {
            "paths": ["ratings.csv"],
            "columns": ["user_id", "item_id", "rating", "timestamp"],
            "timestamp": "timestamp",
            "rating_range": [1, 5],
        },
        "users": {
            "path": "users.csv",
            "columns": ["user_id", "age", "gender"],
            "id": "user_id",
            "features": {
                "age": {"kind": "numeric", "min": 0, "max": 120},
                "gender": {"kind": "category", "values": ["F", "M"]},
            },
        },
        "items": {
            "path": "items.csv",
            "columns": ["item_id", "title", "genres"],
            "id": "item_id",
            "title": "title",
            "features": {"genres": {"kind": "categories"}},
        },
    },
    "split": {"strategy": "random", "seed": 1},
    "models": {
        "mf": {
            "rating": {"factors": 4, "sweeps": 40, "burn_in": 20, "samples": 10},
            "preference": {
                "embedding_size": 4,
                "l2": 0.001,
                "training": {"epochs": 12, "batch_size": 128, "learning_rate": 0.02},
            },
        }
    },
    "evaluation": {
        "slices": ["gender"],
        "k": 5,
        # As few as there are.
        "at_least_rows": 50,
        "gates": {
            "rmse": {"max": 2, "min_improvement": 0},
            "hit_rate": {"min": 0.01, "min_improvement": 0.0001},
        },
    },
}


# What differs where the small data are read as events.
EVENTS: dict[str, Any] = {
    "data": {
        "events": {
            "paths": ["events.csv"],
            "columns": ["user_id", "item_id", "clicks", "timestamp"],
            "strength": "clicks",
            "timestamp": "timestamp",
        },
        **{side: SMALL_CONFIG["data"][side] for side in ("users", "items")},
    },
    "models": {"mf": {"preference": SMALL_CONFIG["models"]["mf"]["preference"]}},
    "evaluation": SMALL_CONFIG["evaluation"] | {"gates": {"hit_rate": {"min": 0.01}}},
}

# A composed and a decomposed letter, an apostrophe, a space, an emoji.
STRANGE_USER = "\u00e9 e\u0301' 🎬"


def user_id(user: int) -> str:
    """The id of a small data set's user."""
    return STRANGE_USER if user == 7 else f"u{user}"


def write_small_data(folder: Path, seed: int = 0) -> None:
    """Ratings with biases, low-rank taste and noise; metadata; ids and titles beyond ASCII."""
    rng = np.random.default_rng(seed)
    taste, trait = rng.normal(size=(USERS, 3)), rng.normal(size=(ITEMS, 3))
    popularity = rng.dirichlet(np.ones(ITEMS))
    time = 0
    with open(folder / "ratings.csv", "w", encoding="utf-8") as file:
        file.write("user_id,item_id,rating,timestamp\n")
        for user in range(USERS):
            weight = popularity * np.exp(2 * taste[user] @ trait.T)
            count = rng.integers(18, 34)
            for item in rng.choice(ITEMS, count, replace=False, p=weight / weight.sum()):
                time += int(rng.integers(1, 5))
                score = 3 + 0.9 * taste[user] @ trait[item] + rng.normal() * 0.3
                rating = int(np.clip(np.round(score), 1, 5))
                file.write(f"{user_id(user)},ï{item},{rating},{time}\n")
    write_metadata(folder, rng, USERS, ITEMS)


def write_metadata(folder: Path, rng: np.random.Generator, users: int, items: int) -> None:
    """`users.csv`, some without age, and `items.csv`, some without genres."""
    with open(folder / "users.csv", "w", encoding="utf-8") as file:
        file.write("user_id,age,gender\n")
        for user in range(users):
            age = "" if user % 9 == 0 else rng.integers(18, 70)
            file.write(f"{user_id(user)},{age},{'FM'[user % 2]}\n")
    with open(folder / "items.csv", "w", encoding="utf-8") as file:
        file.write("item_id,title,genres\n")
        for item in range(items):
            genres = rng.choice(["war", "noir", "children's"], rng.integers(0, 3), replace=False)
            file.write(f'ï{item},"Títle, {item}",{"|".join(genres)}\n')


def write_small_events(folder: Path) -> None:
    """The small data's ratings as clicks, one to five; those of every third come in two rows."""
    header, *rows = (folder / "ratings.csv").read_text(encoding="utf-8").splitlines()
    lines = [header.replace("rating", "clicks"), *rows]
    for row in rows[::3]:
        user, item, _, time = row.split(",")
        lines.append(f"{user},{item},0.5,{int(time) + 10_000}")
    (folder / "events.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_config(folder: Path, **changes: Any) -> Path:
    """SMALL_CONFIG with absolute paths into `folder`; `changes` replace top-level keys."""
    values = copy.deepcopy(SMALL_CONFIG | changes)
    for key in ("root", "serving_root"):
        values[key] = str(folder / values[key])
    data = values["data"]
    for kind in data.keys() & {"ratings", "events"}:
        data[kind]["paths"] = [str(folder / path) for path in data[kind]["paths"]]
    for side in ("users", "items"):
        if data.get(side):
            data[side]["path"] = str(folder / data[side]["path"])
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    return path


def table_of(ratings: Any, rows: Any) -> pa.Table:
    """Some rows of `ratings_table.RatingsTable`, ids as strings."""
    columns = {name: pa.array(values[rows]) for name, values in ratings.columns.items()}
    columns["user_id"] = ratings.users.ids.take(columns["user_id"])
    columns["item_id"] = ratings.items.ids.take(columns["item_id"])
    return pa.table(columns)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with the small data and `config.yaml`."""
    write_small_data(tmp_path)
    write_config(tmp_path)
    return tmp_path
