"""Reads a delimited text file with Arrow; whatever is wrong is named by file and line."""

from __future__ import annotations

import codecs
import io

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from tfx_recommender.components.errors import BadDataError
from tfx_recommender.components.ratings_example_gen.config import TextFile

# Stands in for a delimiter of several characters, which Arrow does not know.
_UNIT_SEPARATOR = b"\x1f"


class Table:
    """One file's columns, all strings, and where each row stands.

    Attributes:
      path: the file.
      columns: column name -> strings, pa.StringArray [rows]. An empty field is "".
    """

    def __init__(self, path: str, columns: dict[str, pa.Array], first_line: int) -> None:
        self.path = path
        self.columns = columns
        self._first_line = first_line

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def where(self, row: int) -> str:
        """`file:line` of a row (a row is always one line)."""
        return f"{self.path}:{self._first_line + row}"

    def refuse_where(self, bad: pa.Array, column: str, message: str) -> None:
        """Raises BadDataError for the first row where `bad`, [rows] booleans, is true."""
        row = pc.index(bad, True).as_py()
        if row >= 0:
            value = self.columns[column][row].as_py()
            raise BadDataError(f"{self.where(row)}: {column} {value!r} {message}")

    def ids(self, column: str) -> pa.Array:
        """A column of ids, checked: none is empty or holds a control character of lines."""
        values = self.columns[column]
        self.refuse_where(pc.equal(values, ""), column, "is empty; every row needs an id")
        broken = pc.match_substring_regex(values, r"[\r\n\x00]")
        self.refuse_where(broken, column, "holds a line break or NUL; ids must not")
        return values

    def numbers(self, column: str, kind: pa.DataType, allow_empty: bool = False) -> pa.Array:
        """A column as numbers of this Arrow type; null where empty, if that is allowed."""
        values = pc.utf8_trim_whitespace(self.columns[column])
        empty = pc.equal(values, "")
        if not allow_empty:
            self.refuse_where(empty, column, "is empty; a number is needed")
        values = pc.if_else(empty, pa.scalar(None, pa.string()), values)
        try:
            return pc.cast(values, kind)
        except pa.ArrowInvalid:
            bad = pa.array([not _casts(value, kind) for value in values])
            hint = "; is this line a header? then say header: true" if bad[0].as_py() else ""
            noun = "a whole number" if pa.types.is_integer(kind) else "a number"
            self.refuse_where(bad, column, f"is not {noun}{hint}")
            raise


def read(path: str, file: TextFile) -> Table:
    """Reads one file.

    Args:
      path: the file.
      file: its form.

    Raises:
      BadDataError: the file is missing, empty, not in its encoding, has other columns than
        the config names, or a row of another length.
    """
    text = _utf8_lines(path, file)
    delimiter = file.delimiter.encode()
    if len(file.delimiter) > 1:
        if _UNIT_SEPARATOR in text:
            line = text[: text.index(_UNIT_SEPARATOR)].count(b"\n") + 1
            raise BadDataError(f"{path}:{line}: holds the control character U+001F; remove it")
        text, delimiter = text.replace(delimiter, _UNIT_SEPARATOR), _UNIT_SEPARATOR
    first_line = 1
    names = list(file.columns)
    if file.header:
        header, _, text = text.partition(b"\n")
        names = _header(path, header.decode(), delimiter.decode(), file)
        first_line = 2
    if not text.strip():
        raise BadDataError(f"{path}: holds no rows; is this the right file?")
    return Table(path, _parse(path, text, names, delimiter, file, first_line), first_line)


def _utf8_lines(path: str, file: TextFile) -> bytes:
    try:
        with open(path, "rb") as stream:
            text = stream.read()
    except OSError as error:
        raise BadDataError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if not text.strip():
        raise BadDataError(f"{path}: is empty; is this the right file?")
    if codecs.lookup(file.encoding).name == "utf-8":
        text = text.removeprefix(codecs.BOM_UTF8)
    try:
        decoded = text.decode(file.encoding)
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise BadDataError(
            f"{path}:{line}: is not {file.encoding} (byte 0x{text[error.start]:02x});"
            " set the file's encoding in the config or convert it"
        ) from None
    return decoded.replace("\r\n", "\n").encode()


def _header(path: str, line: str, delimiter: str, file: TextFile) -> list[str]:
    quote = file.quote_character or ""
    names = [name.strip().strip(quote) if quote else name.strip() for name in line.split(delimiter)]
    missing = [name for name in file.columns if name not in names]
    unknown = [name for name in names if name not in file.columns]
    if missing or unknown or len(names) != len(file.columns):
        parts = [f"misses {', '.join(missing)}"] if missing else []
        parts += [f"has unknown {', '.join(unknown)}"] if unknown else []
        parts = parts or ["names a column twice"]
        raise BadDataError(
            f"{path}:1: the header {' and '.join(parts)}; the config's columns are"
            f" {', '.join(file.columns)} (header: false if the file has none)"
        )
    return names


def _parse(
    path: str, text: bytes, names: list[str], delimiter: bytes, file: TextFile, first_line: int
) -> dict[str, pa.Array]:
    invalid: list[csv.InvalidRow] = []

    def keep(row: csv.InvalidRow) -> str:
        invalid.append(row)
        return "skip"

    try:
        table = csv.read_csv(
            io.BytesIO(text),
            # One thread: only then does Arrow know the number of an invalid row.
            read_options=csv.ReadOptions(column_names=names, use_threads=False, block_size=1 << 26),
            parse_options=csv.ParseOptions(
                delimiter=delimiter.decode(),
                quote_char=file.quote_character or False,
                double_quote=True,
                ignore_empty_lines=False,
                invalid_row_handler=keep,
            ),
            convert_options=csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise BadDataError(f"{path}: cannot be parsed: {error}") from None
    if invalid:
        row = invalid[0]
        raise BadDataError(
            f"{path}:{first_line + row.number - 1}: has {row.actual_columns} columns, expected"
            f" {row.expected_columns} ({', '.join(names)}); check delimiter and quotes"
        )
    if table.num_rows != text.count(b"\n") + (not text.endswith(b"\n")):
        raise BadDataError(f"{path}: a quote opens and does not close on its line; fix the quotes")
    return {name: table[name].combine_chunks() for name in names}


def _casts(value: pa.Scalar, kind: pa.DataType) -> bool:
    try:
        pc.cast(value, kind)
    except pa.ArrowInvalid:
        return False
    return True
