"""Generated ratings have LibimSeTi's statistics, and the generator's noise floor is a true one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from pyarrow import csv

from tfx_recommender.datasets import sources, synthetic_ratings
from tfx_recommender.datasets.synthetic_ratings import Size
from tfx_recommender.foundation.errors import ConfigError

# As dense as LibimSeTi, a hundredth of it.
SMALL = Size(users=1_354, items=1_688, ratings=173_593, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("synthetic")
    sources.generate("small", str(parent), SMALL)
    return parent / "small"


@pytest.fixture(scope="module")
def rows(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    names = csv.ReadOptions(column_names=["user", "item", "rating"])
    table = csv.read_csv(folder / "ratings.dat", read_options=names)
    user, item, rating = (column.to_numpy() for column in table.columns)
    return user, item, rating


def means(ids: np.ndarray, rating: np.ndarray) -> np.ndarray:
    return np.bincount(ids, rating)[1:] / np.bincount(ids)[1:]


def test_counts_are_exact_and_no_pair_stands_there_twice(rows: tuple[np.ndarray, ...]) -> None:
    user, item, rating = rows
    assert len(rating) == SMALL.ratings
    assert np.array_equal(np.unique(user), np.arange(1, SMALL.users + 1))
    assert np.array_equal(np.unique(item), np.arange(1, SMALL.items + 1))
    assert len(np.unique(user.astype(np.int64) * 10_000 + item)) == SMALL.ratings


def test_at_full_size_activity_and_popularity_are_those_of_libimseti() -> None:
    """A small data set has no room for the longest tails, and so no such quantiles."""
    people = synthetic_ratings._People(Size())
    at = [0, 10, 25, 50, 75, 90, 99, 100]
    given, received = (np.percentile(n, at) for n in (people._given, people._received))
    assert given == pytest.approx([20, 22, 29, 73, 124, 219, 1051, 25042], rel=0.02)
    assert received == pytest.approx([1, 1, 3, 17, 76, 228, 1275, 33389], rel=0.02)
    assert people._given.sum() == people._received.sum() == Size().ratings


def test_the_statistics_are_those_of_libimseti(folder: Path, rows: tuple[np.ndarray, ...]) -> None:
    user, item, rating = rows
    received = np.bincount(item)[1:]
    assert np.percentile(received, 50) < 0.45 * received.mean()
    share = np.bincount(rating, minlength=11)[1:] / len(rating)
    assert share == pytest.approx([0.13, 0.06, 0.05, 0.06, 0.11, 0.1, 0.12, 0.11, 0.075, 0.18],
                                  abs=0.01)  # fmt: skip
    assert means(user, rating).std() == pytest.approx(1.2, abs=0.15)
    # A little under, for biases would leave less than 2.1 otherwise.
    assert means(item, rating).std() == pytest.approx(2.2, abs=0.25)
    lines = (folder / "gender.dat").read_text().split()
    gender = np.array([""] + [line.partition(",")[2] for line in lines])
    assert rating[gender[user] == "F"].mean() == pytest.approx(6.6, abs=0.25)
    assert rating[gender[user] == "M"].mean() == pytest.approx(5.5, abs=0.25)
    pair = np.char.add(gender[user], gender[item])
    assert np.isin(pair, ["FM", "MF"]).mean() > 0.55


def test_biases_leave_an_rmse_of_about_2_1_and_the_noise_is_clearly_less(
    folder: Path, rows: tuple[np.ndarray, ...]
) -> None:
    user, item, rating = rows
    test = np.random.default_rng(0).random(len(rating)) < 0.1
    to = (user[~test], item[~test], rating[~test] - rating[~test].mean())
    of_user, of_item = np.zeros(SMALL.users + 1), np.zeros(SMALL.items + 1)
    for _ in range(10):
        of_item = np.bincount(to[1], to[2] - of_user[to[0]], len(of_item)) / (
            np.bincount(to[1], minlength=len(of_item)) + 1
        )
        of_user = np.bincount(to[0], to[2] - of_item[to[1]], len(of_user)) / (
            np.bincount(to[0], minlength=len(of_user)) + 3
        )
    predicted = rating[~test].mean() + of_user[user[test]] + of_item[item[test]]
    rmse = math.sqrt(np.mean((np.clip(predicted, 1, 10) - rating[test]) ** 2))
    assert rmse == pytest.approx(2.1, abs=0.08)
    floor = json.loads((folder / "generator.json").read_text())["noise_floor_rmse"]
    # Room for a model to be 2 % better than biases and within 2 % of the noise, both.
    assert floor < 0.98 / 1.02 * rmse


def test_means_are_linear_in_effects_and_the_floor_is_the_error_of_these_means() -> None:
    rng = np.random.default_rng(1)
    effects = rng.normal(0, 2, 400_000)
    scale = synthetic_ratings._Scale(effects)
    ratings, squared_error = scale.draw(effects, rng)
    of_one = np.abs(effects - 1) < 0.05
    of_minus_one = np.abs(effects + 1) < 0.05
    assert ratings[of_one].mean() - ratings[of_minus_one].mean() == pytest.approx(2, abs=0.1)
    error = ratings - scale._means(effects)
    assert error.mean() == pytest.approx(0, abs=0.01)
    assert np.mean(error**2) == pytest.approx(squared_error / len(ratings), rel=0.01)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    folder: Path, tmp_path: Path
) -> None:
    sources.generate("again", str(tmp_path), SMALL)
    for name in ("ratings.dat", "gender.dat", "generator.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    sources.generate("other", str(tmp_path), Size(SMALL.users, SMALL.items, SMALL.ratings, 4))
    assert (tmp_path / "other/ratings.dat").read_bytes() != (folder / "ratings.dat").read_bytes()


def test_blocks_hold_the_same_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic_ratings, "_BLOCK_RATINGS", 5_000)
    sources.generate("blocks", str(tmp_path), Size(300, 400, 20_000))
    lines = (tmp_path / "blocks/ratings.dat").read_text().split()
    assert len(lines) == len({line.rpartition(",")[0] for line in lines}) == 20_000
    assert len({line.split(",")[0] for line in lines}) == 300
    assert len({line.split(",")[1] for line in lines}) == 400


def test_what_is_there_is_kept_and_nothing_else_taken_for_it(folder: Path) -> None:
    before = (folder / "ratings.dat").stat().st_mtime_ns
    sources.generate("small", str(folder.parent), SMALL)
    assert (folder / "ratings.dat").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="another data set is there"):
        sources.generate("small", str(folder.parent), Size(100, 100, 1_000))


@pytest.mark.parametrize("ratings", [1_687, 571_389])
def test_sizes_that_do_not_fit_are_refused(ratings: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"need from 1688 .* to 571388"):
        sources.generate("x", str(tmp_path), Size(1_354, 1_688, ratings))
    sources.generate("least", str(tmp_path), Size(30, 40, 40))
    sources.generate("most", str(tmp_path), Size(30, 40, 300))
