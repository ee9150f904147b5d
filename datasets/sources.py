"""Fetches MovieLens-100k as plain CSV files, and generates synthetic data sets.

MovieLens may be used for research but not redistributed, so it is downloaded and not shipped.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator

from rich.console import Console

from tfx_recommender.datasets import synthetic_ratings
from tfx_recommender.foundation.errors import ConfigError, UserError

_GROUPLENS = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
_WHEEL = "recbole==1.2.1"
_WHEEL_HASH = "sha256:9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
_TIMEOUT_SECONDS = 20

_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime",
    "Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance",
    "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip

RATING_COLUMNS = ("user_id", "item_id", "rating", "timestamp")
USER_COLUMNS = ("user_id", "age", "gender", "occupation", "zip_code")
ITEM_COLUMNS = ("item_id", "title", "release_year", "genres")

Row = tuple[str, ...]
# One source's rows: ratings, users, items, in the columns above.
Tables = tuple[list[Row], list[Row], list[Row]]


def fetch(name: str, to: str) -> None:
    """Fetches a data set into `<to>/<name>/`, unless that exists.

    Raises:
      UserError: no source could be reached.
    """
    console = Console(stderr=True, soft_wrap=True)
    target = os.path.join(to, name)
    if os.path.isdir(target):
        console.print(f"{target} is there already")
        return
    failures = []
    sources: tuple[tuple[str, Callable[[], zipfile.ZipFile], Callable[..., Tables]], ...] = (
        ("GroupLens", _download_grouplens, from_grouplens),
        (f"the PyPI wheel {_WHEEL}", _download_wheel, from_recbole),
    )
    for source, download, convert in sources:
        with console.status(f"fetching {name} from {source} …"):
            try:
                with download() as archive:
                    tables = convert(archive)
            except (OSError, subprocess.CalledProcessError, zipfile.BadZipFile, KeyError) as error:
                failures.append(f"{source}: {error}")
                continue
        write(target, tables)
        console.print(f"{name} from {source} is in {target} (for research, not for passing on)")
        return
    raise UserError(f"{name} cannot be fetched: {'; '.join(failures)}")


def generate(name: str, to: str, size: synthetic_ratings.Size) -> None:
    """Generates a data set into `<to>/<name>/`, unless the same one is there.

    Raises:
      ConfigError: the sizes do not fit together, or another data set is there.
    """
    size.check()
    console = Console(stderr=True, soft_wrap=True)
    target = os.path.join(to, name)
    if os.path.exists(target):
        if not _is_of(target, size):
            raise ConfigError(f"{target}: another data set is there; remove it or set --to")
        console.print(f"{target} is there already")
        return
    with (
        console.status(f"generating {size.ratings:,} ratings …"),
        _all_or_nothing(target) as folder,
    ):
        synthetic_ratings.write(folder, size)
    console.print(f"{size.ratings:,} ratings are in {target}")


def _is_of(target: str, size: synthetic_ratings.Size) -> bool:
    try:
        with open(os.path.join(target, synthetic_ratings.SETTINGS_FILE), encoding="utf-8") as file:
            known = json.load(file)
    except (OSError, ValueError):
        return False
    return dataclasses.asdict(size).items() <= known.items()


def write(target: str, tables: Tables) -> None:
    """Writes `ratings.csv`, `users.csv` and `items.csv`; all of them or none."""
    with _all_or_nothing(target) as folder:
        for name, columns, rows in zip(
            ("ratings", "users", "items"),
            (RATING_COLUMNS, USER_COLUMNS, ITEM_COLUMNS),
            tables,
            strict=True,
        ):
            path = os.path.join(folder, f"{name}.csv")
            with open(path, "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(columns)
                writer.writerows(rows)


@contextlib.contextmanager
def _all_or_nothing(target: str) -> Iterator[str]:
    """A temporary folder that is renamed to `target` if no exception is raised."""
    parent = os.path.dirname(os.path.abspath(target))
    os.makedirs(parent, exist_ok=True)
    temporary = tempfile.mkdtemp(dir=parent)
    try:
        yield temporary
        os.chmod(temporary, 0o755)
        os.rename(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def from_grouplens(archive: zipfile.ZipFile) -> Tables:
    """Reads GroupLens' `ml-100k.zip` (latin-1; genres as 19 flags; the year in the title)."""
    ratings = _lines(archive, "ml-100k/u.data", "latin-1", "\t")
    users = _lines(archive, "ml-100k/u.user", "latin-1", "|")
    items: list[Row] = []
    for fields in _lines(archive, "ml-100k/u.item", "latin-1", "|"):
        item_id, title, flags = fields[0], fields[1], fields[5:]
        name, year = _title_and_year(title)
        genres = [genre for genre, flag in zip(_GENRES, flags, strict=True) if flag == "1"]
        items.append((item_id, name, year, _join(genres)))
    return list(ratings), list(users), items


def from_recbole(archive: zipfile.ZipFile) -> Tables:
    """Reads the copy inside RecBole's wheel (UTF-8; tab-separated; genres joined by spaces)."""
    folder = "recbole/dataset_example/ml-100k/ml-100k"
    ratings, users, rows = (
        list(_lines(archive, f"{folder}.{kind}", "utf-8", "\t"))[1:]
        for kind in ("inter", "user", "item")
    )
    items: list[Row] = []
    for item_id, title, year, genres in rows:
        # Two rows have no year in its column: one has it in its title, one has none.
        titled = (title, year) if year.isdecimal() else _title_and_year(title)
        items.append((item_id, *titled, _join(genres.split())))
    return ratings, users, items


def _title_and_year(title: str) -> tuple[str, str]:
    """`Toy Story (1995)` -> (`Toy Story`, `1995`); without a year the second is empty."""
    dated = re.fullmatch(r"(.*?) ?\((\d{4})\).*", title.strip())
    return (dated[1], dated[2]) if dated else (title, "")


def _lines(
    archive: zipfile.ZipFile, name: str, encoding: str, delimiter: str
) -> Iterable[tuple[str, ...]]:
    with archive.open(name) as binary:
        for line in io.TextIOWrapper(binary, encoding):
            yield tuple(line.rstrip("\r\n").split(delimiter))


def _join(genres: list[str]) -> str:
    return "|".join(sorted(genres))


def _download_grouplens() -> zipfile.ZipFile:
    with urllib.request.urlopen(_GROUPLENS, timeout=_TIMEOUT_SECONDS) as response:
        return zipfile.ZipFile(io.BytesIO(response.read()))


def _download_wheel() -> zipfile.ZipFile:
    with tempfile.TemporaryDirectory() as folder:
        requirements = os.path.join(folder, "requirements.txt")
        with open(requirements, "w", encoding="utf-8") as file:
            file.write(f"{_WHEEL} --hash={_WHEEL_HASH}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--require-hashes", "--requirement", requirements, "--dest", folder]
        subprocess.run(command, check=True, capture_output=True)
        (wheel,) = (name for name in os.listdir(folder) if name.endswith(".whl"))
        with open(os.path.join(folder, wheel), "rb") as file:
            return zipfile.ZipFile(io.BytesIO(file.read()))
