"""The benchmark: splits leak nothing, the judge agrees with brute force, the best is chosen."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import __main__ as bench
from benchmarks.accuracy import evaluation, ours, protocols, results
from benchmarks.accuracy.protocols import ITEMS, USERS, MovieLens, Split


@pytest.fixture(scope="module")
def data() -> MovieLens:
    """As many ratings as MovieLens-100k has, each pair once; few moments, so many are equal."""
    rng = np.random.default_rng(0)
    pairs = rng.permutation(USERS * ITEMS)[:100_000]
    nothing = np.zeros(0)
    return MovieLens(
        user=pairs // ITEMS,
        item=pairs % ITEMS,
        rating=rng.integers(1, 6, 100_000).astype(np.float32),
        time=rng.integers(0, 50, 100_000),
        age=nothing,
        gender=nothing,
        occupation=nothing,
        year=nothing,
        genres=nothing,
    )


@pytest.mark.parametrize("protocol", protocols.PROTOCOLS)
def test_train_validation_and_test_share_no_row(data: MovieLens, protocol: str) -> None:
    splits = protocols.splits(protocol, data)
    for split in splits:
        tuning = protocols.validation(split, data)
        parts = np.concatenate([tuning.train, tuning.held_out, split.held_out])
        np.testing.assert_array_equal(np.sort(parts), np.arange(100_000))
        np.testing.assert_array_equal(
            np.sort(split.train), np.sort(np.append(tuning.train, tuning.held_out))
        )
    if protocol == "5-fold":
        everything = np.concatenate([split.held_out for split in splits])
        np.testing.assert_array_equal(np.sort(everything), np.arange(100_000))


def test_the_last_is_the_latest_and_of_equals_the_highest_item(data: MovieLens) -> None:
    (split,) = protocols.splits("last-out", data)
    rows = list(zip(data.time.tolist(), data.item.tolist(), data.user.tolist(), strict=True))
    latest: dict[int, tuple[int, int, int]] = {}
    for row in rows:
        latest[row[2]] = max(latest.get(row[2], row), row)
    assert {rows[row] for row in split.held_out} == set(latest.values())


def test_negatives_are_distinct_and_were_never_rated(data: MovieLens) -> None:
    sample = protocols.negatives(data)
    assert sample.shape == (USERS, 99)
    assert all(len(set(row)) == 99 for row in sample.tolist())
    rated = set(zip(data.user.tolist(), data.item.tolist(), strict=True))
    assert not any(
        (user, item) in rated for user, row in enumerate(sample.tolist()) for item in row
    )


@pytest.mark.parametrize("levels", [1, 4, 10_000])
def test_rankings_are_judged_as_by_brute_force(data: MovieLens, levels: int) -> None:
    """Of few levels, most scores are ties: they count against the model."""
    (split,) = protocols.splits("last-out", data)
    scores = np.random.default_rng(levels).integers(0, levels, (USERS, ITEMS)) / levels
    scores[data.user, data.item] += 0.4  # some hits, and what is hidden would come before them
    sample = protocols.negatives(data)
    ranks: dict[str, list[int]] = {"full": [], "sampled": []}
    for user, item in zip(data.user[split.held_out], data.item[split.held_out], strict=True):
        seen = data.item[split.train][data.user[split.train] == user]
        unseen = sorted(set(range(ITEMS)) - set(seen.tolist()) - {item})
        for name, others in (("full", unseen), ("sampled", sample[user])):
            ranks[name].append(int(np.sum(scores[user][others] >= scores[user][item])))
    judged = evaluation.judge_ranking(scores, split, data)
    for name, found in ranks.items():
        gains = [1 / math.log2(rank + 2) if rank < 10 else 0 for rank in found]
        assert judged[f"{name}_hit_rate"] == pytest.approx(np.mean(np.array(found) < 10))
        assert judged[f"{name}_ndcg"] == pytest.approx(np.mean(gains))


def test_ratings_are_clipped_before_they_are_judged() -> None:
    nothing = np.zeros(0)
    rating = np.array([5.0, 1.0, 3.0], np.float32)
    data = MovieLens(nothing, nothing, rating, *[nothing] * 6)
    judged = evaluation.judge_ratings(
        np.array([9.0, -2.0, 1.0]), Split("", nothing, np.arange(3)), data
    )
    assert judged == {"rmse": pytest.approx(math.sqrt(4 / 3)), "mae": pytest.approx(2 / 3)}


def test_users_and_items_beyond_train_are_unknown_to_our_models() -> None:
    arrays = {
        "train_user": np.array([2, 2, 5, 5]),
        "train_item": np.array([7, 9, 9, 11]),
        "age": np.arange(USERS, dtype=float),
        "gender": np.array(["F", "M"] * USERS),
        "occupation": np.array(["none"] * USERS),
        "year": np.array([np.nan if n == 7 else 1990.0 + n for n in range(ITEMS)]),
        "genres": np.array(["" if n == 7 else "War|Noir" for n in range(ITEMS)]),
        "held_out_user": np.array([5, 3, 942]),
        "held_out_item": np.array([7, 8, 9]),
    }
    catalogue = ours.catalogue_of(arrays)
    user, item = ours.positions(arrays, "held_out", catalogue)
    assert user.tolist() == [1, 2, 2] and item.tolist() == [0, 3, 1]
    # z-scores over ratings (years 1999, 1999 and 2001); 0 for what is missing or unknown
    expected = [0, -math.sqrt(0.5), math.sqrt(2), 0]
    np.testing.assert_allclose(catalogue.items.numeric[:, 0], expected, rtol=1e-6)
    genres = catalogue.items.categories["genres"].tolist()
    assert genres == [[-1, -1], [1, 0], [1, 0], [-1, -1]]


def test_validation_chooses_the_best_settings_and_waits_for_all(tmp_path: Path) -> None:
    def fit(task: str, number: int, **metrics: float) -> results.Fit:
        settings = {"number": number}
        split = "90-10/validation"
        return results.Fit(split, task, "ours", "mf", settings, 0, "code", 1.0, 1.0, 1, 1, metrics)

    tried = ({"number": 0}, {"number": 1}, {"number": 2})
    for task, metric, best in (("rating", "rmse", 1), ("ranking", "full_ndcg", 2)):
        model = results.TableRow("mf", task, "ours", "mf", tried, 3, False)
        book = results.Results(tmp_path / "results.json")
        book.add([fit(task, 0, **{metric: 0.5}), fit(task, 1, **{metric: 0.4})])
        assert book.choice(model, "90-10") is None
        book.add([fit(task, 2, **{metric: 0.6})])
        read_again = results.Results(tmp_path / "results.json")
        assert read_again.choice(model, "90-10") == {"number": best}


def test_a_fingerprint_is_of_what_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(Path(name).exists() for name in bench._BESIDE_FITS)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trainer").mkdir()
    prints = {}
    for name in ("training", "export"):
        for text in ("rows = 1", "rows = 1  # as before", "rows = 2"):
            (tmp_path / "trainer" / f"{name}.py").write_text(text)
            prints[name, text] = bench._fingerprint(["trainer/*.py"])
    assert prints["training", "rows = 1"] == prints["training", "rows = 1  # as before"]
    assert prints["training", "rows = 1"] != prints["training", "rows = 2"]
    assert len({prints[key] for key in prints if key[0] == "export"}) == 1
