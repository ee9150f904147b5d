"""Reads a file block by block; whatever is wrong with a row is named by file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfx_recommender.components.ratings_example_gen import parquet_file, text_file
from tfx_recommender.components.ratings_example_gen.config import TableFile
from tfx_recommender.components.ratings_example_gen.source_file import Fingerprint
from tfx_recommender.foundation.errors import BadDataError, brief

_ISO_DATE = re.compile(r"\s*\d{4}-\d\d-\d\d")
_ZONE = re.compile(r":.*(Z|[+-]\d\d(:?\d\d)?)$")


class Block:
    """Some rows of a file, and where they stand.

    Attributes:
      path: the file.
      columns: column name -> pa.Array [rows]: strings, in Parquet maybe numbers.
      first: line of the first row (in Parquet: its number), counted from 1.
    """

    def __init__(self, path: str, columns: dict[str, pa.Array], first: int) -> None:
        self.path = path
        self.columns = columns
        self.first = first

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def where(self, row: int) -> str:
        """`file:line` of a row (in text a row is always one line)."""
        return f"{self.path}:{self.first + row}"

    def refuse_where(self, bad: pa.Array, column: str, message: str) -> None:
        """Raises BadDataError for the first row where `bad`, [rows] booleans, is true."""
        row = pc.index(bad, True).as_py()
        if row >= 0:
            value = self.text(column)[row].as_py()
            raise BadDataError(f"{self.where(row)}: {column} {brief(value)} {message}")

    def text(self, column: str) -> pa.StringArray:
        """A column as strings, "" where there is nothing."""
        return pc.fill_null(pc.cast(self.columns[column], pa.string()), "")

    def ids(self, column: str) -> pa.DictionaryArray:
        """A column of ids, coded in order of first appearance.

        Checked: none is empty or holds a control character of lines.
        """
        if not _holds_ids(self.columns[column].type):
            raise BadDataError(
                f"{self.path}: {column} holds {self.columns[column].type}; ids must be text or"
                " whole numbers"
            )
        ids = self.text(column).dictionary_encode()
        broken = pc.match_substring_regex(ids.dictionary, r"[\r\n\x00]")
        for bad, message in (
            (pc.equal(ids.dictionary, ""), "is empty; every row needs an id"),
            (broken, "holds a line break or NUL; ids must not"),
        ):
            if pc.any(bad).as_py():
                self.refuse_where(bad.take(ids.indices), column, message)
        return ids

    def numbers(self, column: str, kind: pa.DataType, allow_empty: bool = False) -> pa.Array:
        """A column as numbers of this Arrow type; null where empty, if that is allowed."""
        given = self.columns[column]
        if pa.types.is_integer(kind) and pa.types.is_string(given.type):
            # Arrow takes 0x10 for 16.
            is_hexadecimal = pc.match_substring(given, "x", ignore_case=True)
            self.refuse_where(is_hexadecimal, column, "is not a whole number")
        try:
            values = pc.cast(given, kind)
            if not values.null_count:
                return values
        except pa.ArrowInvalid:
            pass
        text = pc.utf8_trim_whitespace(self.text(column))
        empty = pc.equal(text, "")
        if not allow_empty:
            self.refuse_where(empty, column, "is empty; a number is needed")
        text = pc.if_else(empty, pa.scalar(None, pa.string()), text)
        try:
            return pc.cast(text, kind)
        except pa.ArrowInvalid:
            row = _first_that_does_not_cast(text, kind)
            hint = "" if row else "; is this line a header? then say header: true"
            noun = "a whole number" if pa.types.is_integer(kind) else "a number"
            bad = pa.array(np.arange(len(text)) == row)
            self.refuse_where(bad, column, f"is not {noun}{hint}")
            raise

    def times(self, column: str) -> pa.Array:
        """A column of times as int64: whole numbers as they are, ISO 8601 as seconds since 1970.

        ISO 8601 is UTC unless it names a zone; fractions of a second are cut off.
        """
        given = self.columns[column]
        if not pa.types.is_string(given.type) or not _ISO_DATE.match(given[0].as_py()):
            return self.numbers(column, pa.int64())
        text = pc.utf8_trim_whitespace(given)
        zone = "UTC" if _ZONE.search(text[0].as_py()) else None
        kind = pa.timestamp("us", zone)
        try:
            times = pc.cast(text, kind)
        except pa.ArrowInvalid:
            bad = pa.array(np.arange(len(text)) == _first_that_does_not_cast(text, kind))
            self.refuse_where(bad, column, f"is not a time of the form {brief(given[0].as_py())}")
            raise
        return pc.cast(pc.floor_temporal(times, unit="second").cast(pa.timestamp("s")), pa.int64())


def blocks(path: str, file: TableFile, into: Fingerprint | None = None) -> Iterator[Block]:
    """Reads one file, some megabytes at a time.

    Args:
      path: the file.
      file: its form.
      into: takes the digest of the bytes that were read.

    Raises:
      BadDataError: the file is missing, empty, not in its encoding, has other columns than
        the config names, or a row of another length.
    """
    source = parquet_file if path.endswith(".parquet") else text_file
    for columns, first in source.blocks(path, file, into):
        yield Block(path, columns, first)


def read(path: str, file: TableFile, into: Fingerprint | None = None) -> Block:
    """Reads one file as a whole; for metadata. Raises what `blocks` raises."""
    parts = list(blocks(path, file, into))
    columns = {
        name: pa.concat_arrays([part.columns[name] for part in parts]) for name in file.columns
    }
    return Block(path, columns, parts[0].first)


def _holds_ids(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_integer(kind)


def _first_that_does_not_cast(text: pa.Array, kind: pa.DataType) -> int:
    """The place of the first text that is no such number; there is one."""
    first, last = 0, len(text)
    while last - first > 1:
        middle = (first + last) // 2
        try:
            pc.cast(text[first:middle], kind)
            first = middle
        except pa.ArrowInvalid:
            last = middle
    return first
