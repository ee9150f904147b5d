"""The data half of the config: which files, which columns, which split."""

from __future__ import annotations

import codecs
import datetime
import json
import os
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from tfx_recommender.foundation.errors import brief
from tfx_recommender.foundation.settings import Settings
from tfx_recommender.transform.features import RESERVED, STRENGTH, Columns, Feature, Side

ROWS_IN_MEMORY = "TFX_RECOMMENDER_ROWS_IN_MEMORY"
"""The environment variable that brings `rows_in_memory` to ingestion, past the cache key."""
_LARGEST = float(np.finfo(np.float32).max)
# Codecs of Python that are no encodings of files, or that turn what is written into other text.
_NO_ENCODINGS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})


def _no_empty_path(path: str) -> str:
    if not path:
        raise ValueError("is empty; give a path")
    return path


Path = Annotated[str, AfterValidator(_no_empty_path)]


class TableFile(Settings):
    """A file with a fixed list of columns: delimited text, or Parquet if its name ends so.

    Text may be compressed, by name: `.gz`, `.bz2`, `.zst`, `.lz4`. Parquet knows its columns and
    has no use for `header`, `delimiter`, `quote` and `encoding`; ids in it may be whole numbers,
    times may be timestamps.
    """

    columns: Annotated[tuple[str, ...], Field(min_length=2)]
    """Every column of the file. With a header: exactly its names, in any order."""
    header: bool = True
    """Whether the first line names the columns."""
    delimiter: Annotated[str, Field(min_length=1)] = ","
    """What separates fields; more than one character is fine."""
    quote: str | None = None
    """Quote character; by default `"` if the delimiter is a comma or semicolon, else none."""
    encoding: str = "utf-8"
    """Python's name of the file's encoding."""

    @model_validator(mode="after")
    def _check(self) -> TableFile:
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("columns: a name is given twice")
        if set(self.delimiter) & set("\r\n\0"):
            raise ValueError("delimiter: must not hold a line break or NUL")
        quote = self.quote
        if quote is not None and (len(quote) != 1 or not quote.isascii() or quote in "\r\n\0"):
            raise ValueError("quote: must be one ASCII character")
        if self.quote_character is not None and self.quote_character in self.delimiter:
            raise ValueError("quote: must not be a part of the delimiter")
        try:
            "".encode(self.encoding)
            name = codecs.lookup(self.encoding).name.replace("_", "-")
        except (LookupError, UnicodeError, ValueError):
            raise ValueError(f"encoding: Python knows no {brief(self.encoding)}") from None
        if name in _NO_ENCODINGS or codecs.lookup(self.encoding).incrementaldecoder is None:
            raise ValueError(f"encoding: {self.encoding} is no encoding of text files")
        return self

    @property
    def quote_character(self) -> str | None:
        """The quote character in force, None for none."""
        return self.quote or ('"' if self.delimiter in (",", ";") else None)

    def require(self, **names: str | None) -> None:
        """Raises ValueError unless each named column is one of the file's."""
        for key, name in names.items():
            if name is not None and name not in self.columns:
                raise ValueError(
                    f"{key}: no column {brief(name)}; columns are {', '.join(self.columns)}"
                )

    def require_distinct(self, **names: str | None) -> None:
        """Raises ValueError if a column is named for two purposes."""
        purposes: dict[str, str] = {}
        for key, name in names.items():
            if name is not None and purposes.setdefault(name, key) != key:
                raise ValueError(f"{key}: {brief(name)} is the column of {purposes[name]} already")


def _refuse(value: Any, messages: dict[str, str]) -> Any:
    """Raises ValueError if a section that is still to be checked names one of these keys."""
    for key, message in messages.items():
        if isinstance(value, dict) and key in value:
            raise ValueError(f"{key}: {message}")
    return value


class _InteractionFiles(TableFile):
    """Files whose rows say who did something with what, and when."""

    paths: Annotated[tuple[Path, ...], Field(min_length=1)]
    """One or more files of the same form; relative paths start at the working directory."""
    user: str = "user_id"
    """The column of user ids."""
    item: str = "item_id"
    """The column of item ids."""
    timestamp: str | None = None
    """The column of times; None: there is none. Whole seconds since 1970, or ISO 8601 (UTC unless
    it names a zone). Milliseconds and smaller units are recognised by their size; one file of
    several units is refused."""

    @model_validator(mode="after")
    def _check_interactions(self) -> _InteractionFiles:
        self.require(user=self.user, item=self.item, timestamp=self.timestamp)
        self.require_distinct(user=self.user, item=self.item, timestamp=self.timestamp)
        names = [os.path.abspath(path) for path in self.paths]
        for path in self.paths:
            if names.count(os.path.abspath(path)) > 1:
                raise ValueError(f"paths: {brief(path)} is given twice")
        return self


class RatingsFiles(_InteractionFiles):
    """Explicit feedback, ratings: one row says who rated what, how, and when."""

    rating: str = "rating"
    """The column of ratings."""
    rating_range: tuple[float, float]
    """Smallest and largest rating of the scale."""

    @model_validator(mode="before")
    @classmethod
    def _check_kind(cls, value: Any) -> Any:
        return _refuse(value, {"strength": "ratings have none; is this data.events?"})

    @model_validator(mode="after")
    def _check_ratings(self) -> RatingsFiles:
        self.require(rating=self.rating)
        self.require_distinct(
            user=self.user, item=self.item, timestamp=self.timestamp, rating=self.rating
        )
        low, high = self.rating_range
        if not low < high:
            raise ValueError("rating_range: the smallest rating must be below the largest")
        if max(-low, high) > _LARGEST or not np.float32(low) < np.float32(high):
            raise ValueError("rating_range: numbers of 32 bits cannot tell its ends apart")
        return self


class EventFiles(_InteractionFiles):
    """Implicit feedback, events: one row says who clicked, viewed or bought what, and when.

    All events of a (user, item) pair are one interaction: strengths add up, the first time counts
    (see `ratings_table.read`).
    """

    strength: str | None = None
    """The column of how much each event says, numbers above 0; None: each says 1."""

    @model_validator(mode="before")
    @classmethod
    def _check_kind(cls, value: Any) -> Any:
        message = "events have no ratings; is this data.ratings?"
        return _refuse(value, {"rating": message, "rating_range": message})

    @model_validator(mode="after")
    def _check_events(self) -> EventFiles:
        self.require(strength=self.strength)
        self.require_distinct(
            user=self.user, item=self.item, timestamp=self.timestamp, strength=self.strength
        )
        return self


class FeatureColumn(Settings):
    """How to read one metadata column."""

    kind: Literal["numeric", "category", "categories"]
    """A number, one category, or several categories."""
    separator: Annotated[str, Field(min_length=1)] = "|"
    """Between several categories."""
    min: float | None = None
    """Smallest allowed number."""
    max: float | None = None
    """Largest allowed number."""
    values: tuple[str, ...] = ()
    """Every allowed category; none named: any."""

    @model_validator(mode="after")
    def _check(self) -> FeatureColumn:
        if self.kind == "numeric" and self.values:
            raise ValueError("values: a numeric feature has min and max instead")
        if self.kind != "numeric" and (self.min is not None or self.max is not None):
            raise ValueError(f"min, max: a {self.kind} feature has values instead")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min: {self.min:g} is above max, {self.max:g}; no number fits")
        return self


class EntityFile(TableFile):
    """The metadata of users or of items: one row each."""

    path: Path
    """The file; a relative path starts at the working directory."""
    id: str
    """The column of ids."""
    title: str | None = None
    """The column that names an item for people."""
    features: dict[str, FeatureColumn] = {}
    """Column -> how to read it. Columns not named here are read past."""

    @model_validator(mode="after")
    def _check_entities(self) -> EntityFile:
        self.require(id=self.id, title=self.title)
        for name in self.features:
            self.require(features=name)
            if name in RESERVED:
                raise ValueError(f"features: {name!r} is taken; rename the column")
        return self


class Data(Settings):
    """Where the data are and what they look like: either ratings or events."""

    ratings: RatingsFiles | None = None
    """Explicit feedback: models learn to predict ratings and to rank."""
    events: EventFiles | None = None
    """Implicit feedback: models learn to rank."""
    users: EntityFile | None = None
    """The users' metadata."""
    items: EntityFile | None = None
    """The items' metadata."""
    rows_in_memory: Annotated[int, Field(ge=1, lt=2**40)] = 10_000_000
    """Number of rows that are sorted at a time (about 100 bytes each; users are kept whole). The
    other rows stay on disk, in TMPDIR. It changes no result, and so no cache key."""

    @model_validator(mode="after")
    def _check(self) -> Data:
        if self.ratings is None and self.events is None:
            raise ValueError("ratings: is missing (of clicks, views or purchases: events)")
        if self.ratings is not None and self.events is not None:
            raise ValueError("events: set data.ratings or data.events, not both")
        names = [f.name for f in self.columns().features]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"features: users and items share {', '.join(sorted(twice))}")
        if self.events is not None and STRENGTH in names:
            raise ValueError(f"features: {STRENGTH!r} is taken; rename the column")
        return self

    @property
    def interactions(self) -> RatingsFiles | EventFiles:
        """The ratings, or the events."""
        files = self.ratings or self.events
        assert files is not None  # as checked
        return files

    def paths(self) -> list[str]:
        """All files, in the order in which they are read."""
        sides = [file.path for file in (self.users, self.items) if file is not None]
        return [*self.interactions.paths, *sides]

    @property
    def feedback(self) -> Literal["explicit", "implicit"]:
        """What a row is: a rating, or an event."""
        return "explicit" if self.events is None else "implicit"

    def columns(self) -> Columns:
        """The column contract that follows from the files."""
        features = []
        sides: tuple[tuple[Side, EntityFile | None], ...] = (
            ("user", self.users),
            ("item", self.items),
        )
        for side, file in sides:
            for name, column in file.features.items() if file else ():
                features.append(
                    Feature(name, column.kind, side, column.min, column.max, column.values)
                )
        low, high = (None, None) if self.ratings is None else self.ratings.rating_range
        return Columns(low, high, self.interactions.timestamp is not None, tuple(features))

    def to_json(self) -> str:
        """All that results depend on, as JSON for `from_json`."""
        return self.model_dump_json(exclude={"rows_in_memory"})

    @classmethod
    def from_json(cls, text: str) -> Data:
        """The inverse of `to_json`; `rows_in_memory` comes from the environment, if it is there."""
        rows = os.environ.get(ROWS_IN_MEMORY)
        given = json.loads(text) | ({"rows_in_memory": int(rows)} if rows else {})
        return cls.model_validate(given)


class LeaveLastOut(Settings):
    """Each user's last ratings by time are held out (ties: by item id, shorter ids first)."""

    strategy: Literal["leave_last_out"]
    validation: Annotated[int, Field(ge=1)] = 1
    """Ratings per user for validation: those just before the test's."""
    test: Annotated[int, Field(ge=1)] = 1
    """Ratings per user for the test: the last ones."""


class TimeCut(Settings):
    """Ratings before one moment train, those after another test."""

    strategy: Literal["time"]
    validation_from: datetime.datetime
    """The first moment of the validation split (UTC unless it names a zone)."""
    test_from: datetime.datetime
    """The first moment of the test split."""

    @model_validator(mode="after")
    def _check(self) -> TimeCut:
        if not utc(self.validation_from) < utc(self.test_from):
            raise ValueError("validation_from: must be before test_from")
        return self


def utc(moment: datetime.datetime) -> datetime.datetime:
    """The moment with its zone; without one it is UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


class Random(Settings):
    """A keyed hash of (user, item) decides; the same pair always falls on the same side."""

    strategy: Literal["random"]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Key of the hash."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of ratings for validation."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of ratings for the test."""

    @model_validator(mode="after")
    def _check(self) -> Random:
        if self.validation + self.test >= 1:
            raise ValueError("test: validation and test must leave something to train on")
        return self


Split = Annotated[LeaveLastOut | TimeCut | Random, Field(discriminator="strategy")]
