"""Reads a delimited text file with Arrow, block by block."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

import pyarrow as pa
from pyarrow import csv

from tfx_recommender.components.ratings_example_gen.config import TableFile
from tfx_recommender.foundation.errors import BadDataError

_BLOCK_BYTES = 1 << 24
# Stands in for a delimiter of several characters, which Arrow does not know.
_UNIT_SEPARATOR = b"\x1f"


def blocks(path: str, file: TableFile) -> Iterator[tuple[dict[str, pa.Array], int]]:
    """The columns of some rows, all strings, and the line of the first, from 1.

    An empty field is "".

    Raises:
      BadDataError: see `table_file.blocks`.
    """
    names, line, missing = list(file.columns), 1, "is empty"
    for text in _blocks_of_lines(path, file.encoding):
        delimiter, rows = file.delimiter.encode(), text
        if len(delimiter) > 1:
            if _UNIT_SEPARATOR in rows:
                line += rows[: rows.index(_UNIT_SEPARATOR)].count(b"\n")
                raise BadDataError(f"{path}:{line}: holds the control character U+001F; remove it")
            rows, delimiter = rows.replace(delimiter, _UNIT_SEPARATOR), _UNIT_SEPARATOR
        if line == 1 and file.header and rows.strip():
            header, _, rows = rows.partition(b"\n")
            names = _header(path, header.decode(), delimiter.decode(), file)
            line, missing = 2, "holds no rows"
        if missing and not rows.strip():
            continue
        missing = ""
        columns = _parse(path, rows, names, delimiter, file, line)
        yield columns, line
        line += len(columns[names[0]])
    if missing:
        raise BadDataError(f"{path}: {missing}; is this the right file?")


def _blocks_of_lines(path: str, encoding: str) -> Iterator[bytes]:
    """Whole lines, as UTF-8, each but the last ending in a single line feed."""
    if codecs.lookup(encoding).name == "utf-8":
        encoding = "utf-8-sig"
    decoder = codecs.getincrementaldecoder(encoding)()
    line, begun = 1, b""
    try:
        with pa.input_stream(path, compression="detect") as stream:
            while True:
                raw = stream.read(_BLOCK_BYTES)
                text = begun + decoder.decode(raw, final=not raw).encode()
                end = text.rfind(b"\n") + 1 if raw else len(text)
                whole, begun = text[:end], text[end:]
                if whole:
                    yield whole.replace(b"\r\n", b"\n")
                    line += whole.count(b"\n")
                if not raw:
                    break
    except UnicodeDecodeError as error:
        line += error.object[: error.start].count(b"\n")
        raise BadDataError(
            f"{path}:{line}: is not {encoding.removesuffix('-sig')} (byte"
            f" 0x{error.object[error.start]:02x}); set the file's encoding in the config or"
            " convert it"
        ) from None
    except OSError as error:
        raise BadDataError(
            f"{path}: cannot be read ({error.strerror or error}); check the path"
        ) from None


def _header(path: str, line: str, delimiter: str, file: TableFile) -> list[str]:
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
    path: str, text: bytes, names: list[str], delimiter: bytes, file: TableFile, line: int
) -> dict[str, pa.Array]:
    invalid: list[csv.InvalidRow] = []

    def stop(row: csv.InvalidRow) -> str:
        invalid.append(row)
        return "error"

    def read(use_threads: bool) -> pa.Table:
        return csv.read_csv(
            pa.BufferReader(text),
            read_options=csv.ReadOptions(column_names=names, use_threads=use_threads),
            parse_options=csv.ParseOptions(
                delimiter=delimiter.decode(),
                quote_char=file.quote_character or False,
                double_quote=True,
                ignore_empty_lines=False,
                invalid_row_handler=stop,
            ),
            convert_options=csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                strings_can_be_null=False,
            ),
        )

    try:
        try:
            table = read(use_threads=True)
        except pa.ArrowInvalid:
            invalid.clear()
            # Only on one thread does Arrow know the number of an invalid row.
            table = read(use_threads=False)
    except pa.ArrowInvalid as error:
        if not invalid:
            raise BadDataError(f"{path}: cannot be parsed: {error}") from None
        row = invalid[0]
        raise BadDataError(
            f"{path}:{line + row.number - 1}: has {row.actual_columns} columns, expected"
            f" {row.expected_columns} ({', '.join(names)}); check delimiter and quotes"
        ) from None
    if table.num_rows != text.count(b"\n") + (not text.endswith(b"\n")):
        raise BadDataError(f"{path}: a quote opens and does not close on its line; fix the quotes")
    return {name: table[name].combine_chunks() for name in names}
