"""The shipped configs read the formats they name, here on small files of the same form."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tfx_recommender.components.ratings_example_gen import dataset, ratings_table
from tfx_recommender.foundation.errors import BadDataError
from tfx_recommender.pipeline.settings import config, config_file, reference

CONFIGS = Path(config.__file__).parents[1] / "configs"


def rows(users: int, items: int) -> list[tuple[int, int, int, int]]:
    """Every user rates every other item, at increasing times."""
    pairs = [(u, i) for u in range(1, users + 1) for i in range(1, items + 1) if (u + i) % 2]
    return [(u, i, (u * i) % 5 + 1, 978300000 + n) for n, (u, i) in enumerate(pairs)]


def load(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> config.Config:
    monkeypatch.chdir(folder)
    return config_file.load(str(CONFIGS / f"{name}.yaml"))


def test_movielens_1m(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data" / "ml-1m"
    folder.mkdir(parents=True)
    ratings = "".join("::".join(map(str, row)) + "\n" for row in rows(12, 20))
    users = "".join(f"{u}::{'FM'[u % 2]}::25::{u % 4}::{10000 + u}\n" for u in range(1, 13))
    movies = "".join(f"{i}::Misérables, Les: {i} (1995)::Drama|War\n" for i in range(1, 21))
    for name, text in (("ratings", ratings), ("users", users), ("movies", movies)):
        (folder / f"{name}.dat").write_bytes(text.encode("latin-1"))
    loaded = load("movielens-1m", tmp_path, monkeypatch)
    read = dataset.read(loaded.data, loaded.split, loaded.relevance_threshold)
    assert read.counts()["ratings"] == 120
    assert read.counts()["test"] == read.counts()["validation"] == 12
    assert read.ratings.items.features["genres"][0].as_py() == ["Drama", "War"]
    assert loaded.data.items is not None
    titles = ratings_table.entity_titles(loaded.data.items)
    assert titles["1"] == "Misérables, Les: 1 (1995)"


@pytest.mark.parametrize("name", ["libimseti", "libimseti-like"])
def test_libimseti(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data" / name
    folder.mkdir(parents=True)
    ratings = "".join(f"{u},{i},{2 * r}\n" for u, i, r, _ in rows(60, 60))
    (folder / "ratings.dat").write_text(ratings)
    (folder / "gender.dat").write_text("".join(f"{n},{'FMU'[n % 3]}\n" for n in range(1, 61)))
    loaded = load(name, tmp_path, monkeypatch)
    read = dataset.read(loaded.data, loaded.split, loaded.relevance_threshold)
    assert read.counts()["ratings"] == 1800
    assert max(read.ratings.columns["rating"]) == 10
    assert read.ratings.items.features["profile_gender"][0].as_py() in ("F", "M", "U")
    assert "timestamp" not in read.ratings.columns


def test_d7_no_relevant_item_in_the_test_split_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_libimseti("libimseti", tmp_path, monkeypatch)
    loaded = load("libimseti", tmp_path, monkeypatch)
    with pytest.raises(BadDataError, match=r"relevance_threshold 10\.5"):
        dataset.read(loaded.data, loaded.split, 10.5)


def test_the_reference_of_settings_is_what_the_code_says() -> None:
    """`make docs` writes it anew."""
    written = Path(__file__).parents[2] / "docs" / "settings.md"
    assert written.read_text(encoding="utf-8") == reference.reference()


def test_every_key_of_a_shipped_config_is_in_the_reference() -> None:
    text = reference.reference()

    def keys(values: dict[str, object]) -> set[str]:
        inner = [keys(value) for value in values.values() if isinstance(value, dict)]
        return set(values).union(*inner)

    for path in CONFIGS.glob("*.yaml"):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        for side in ("users", "items"):
            values["data"].pop(side, None)  # their features have names
        for key in keys(values):
            assert f"| `{key}` |" in text, key
