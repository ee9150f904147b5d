"""Reads a delimited text file with Arrow, block by block."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from tfx_recommender.components.ratings_example_gen import source_file
from tfx_recommender.components.ratings_example_gen.config import TableFile
from tfx_recommender.components.ratings_example_gen.source_file import Fingerprint
from tfx_recommender.foundation.errors import BadDataError, shown

_BLOCK_BYTES = 1 << 24
_ARROW_BLOCK_BYTES = 1 << 20
# A longer line is no line of a table: memory would hold all of a file without line breaks.
_LINE_BYTES = 1 << 24
# Stands in for a delimiter of several characters, which Arrow does not know.
_UNIT_SEPARATOR = b"\x1f"
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}


def blocks(
    path: str, file: TableFile, into: Fingerprint | None = None
) -> Iterator[tuple[dict[str, pa.Array], int]]:
    """The columns of some rows, all strings, and the line of the first, from 1.

    An empty field is "".

    Raises:
      BadDataError: see `table_file.blocks`.
    """
    names, line, missing = list(file.columns), 1, "is empty"
    expects_header, blank = file.header, 0
    for text in _blocks_of_lines(path, file.encoding, into):
        delimiter, rows = file.delimiter.encode(), text
        if len(delimiter) > 1:
            if _UNIT_SEPARATOR in rows:
                line += rows[: rows.index(_UNIT_SEPARATOR)].count(b"\n")
                raise BadDataError(f"{path}:{line}: holds the control character U+001F; remove it")
            rows, delimiter = rows.replace(delimiter, _UNIT_SEPARATOR), _UNIT_SEPARATOR
        if expects_header and rows.strip() and not blank:
            header, _, rows = rows.partition(b"\n")
            names = _header(path, header.decode(), delimiter.decode(), file)
            line, missing, expects_header = 2, "holds no rows", False
        if missing and not rows.strip():
            blank = blank or (line if rows else 0)
            line += rows.count(b"\n")
            continue
        if blank:
            raise BadDataError(f"{path}:{blank}: is an empty line; remove it")
        missing = ""
        columns = _parse(path, rows, names, delimiter, file, line)
        yield columns, line
        line += len(columns[names[0]])
    if missing:
        raise BadDataError(f"{path}: {missing}; is this the right file?")


def _blocks_of_lines(path: str, encoding: str, into: Fingerprint | None) -> Iterator[bytes]:
    """Whole lines, as UTF-8, each but the last ending in a single line feed."""
    if codecs.lookup(encoding).name == "utf-8":
        encoding = "utf-8-sig"
    decoder = codecs.getincrementaldecoder(encoding)()
    line, begun = 1, b""
    with source_file.opened(path, into) as source:
        stream = pa.PythonFile(source, mode="r")
        if compression := _COMPRESSIONS.get(os.path.splitext(path)[1]):
            stream = pa.CompressedInputStream(stream, compression)
        while True:
            raw = stream.read(_BLOCK_BYTES)
            try:
                text = begun + decoder.decode(raw, final=not raw).encode()
            except UnicodeError as error:
                raise _undecodable(path, line, encoding, error) from None
            end = text.rfind(b"\n") + 1 if raw else len(text)
            whole, begun = text[:end], text[end:]
            if whole:
                yield whole.replace(b"\r\n", b"\n")
                line += whole.count(b"\n")
            if len(begun) > _LINE_BYTES:
                raise BadDataError(
                    f"{path}:{line}: is longer than {_LINE_BYTES >> 20} MiB; is this a table?"
                )
            if not raw:
                break


def _undecodable(path: str, line: int, encoding: str, error: UnicodeError) -> BadDataError:
    byte = ""
    if isinstance(error, UnicodeDecodeError):
        line += error.object[: error.start].count(b"\n")
        byte = f" (byte 0x{error.object[error.start]:02x})"
    return BadDataError(
        f"{path}:{line}: is not {encoding.removesuffix('-sig')}{byte}; set the file's encoding in"
        " the config or convert it"
    )


def _header(path: str, line: str, delimiter: str, file: TableFile) -> list[str]:
    quote = file.quote_character or ""
    names = [name.strip().strip(quote) if quote else name.strip() for name in line.split(delimiter)]
    missing = [name for name in file.columns if name not in names]
    unknown = [name for name in names if name not in file.columns]
    if missing or unknown or len(names) != len(file.columns):
        parts = [f"misses {', '.join(missing)}"] if missing else []
        parts += [f"has unknown {shown(', '.join(unknown), 80)}"] if unknown else []
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

    def read(use_threads: bool) -> pa.Table:
        def note(row: csv.InvalidRow) -> str:
            invalid.append(row)
            return "skip" if use_threads else "error"

        return csv.read_csv(
            pa.BufferReader(text),
            read_options=csv.ReadOptions(
                column_names=names,
                use_threads=use_threads,
                # On one thread all of the text is one block, so that any line fits.
                block_size=_ARROW_BLOCK_BYTES if use_threads else len(text) + 1,
            ),
            parse_options=csv.ParseOptions(
                delimiter=delimiter.decode(),
                quote_char=file.quote_character or False,
                double_quote=True,
                ignore_empty_lines=False,
                invalid_row_handler=note,
            ),
            convert_options=csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                strings_can_be_null=False,
            ),
        )

    # On several threads nothing may fail: Arrow before 23 (GH-48741) may then never end its
    # process. So invalid rows are skipped there, and long lines, which fit no block, not read.
    half = _ARROW_BLOCK_BYTES // 2
    is_short = all(text.find(b"\n", at, at + half) >= 0 for at in range(0, len(text), half))
    try:
        table = read(use_threads=is_short)
        if invalid:
            invalid.clear()
            # Only on one thread does Arrow know the number of an invalid row.
            table = read(use_threads=False)
    except pa.ArrowInvalid as error:
        if not invalid:
            raise BadDataError(f"{path}: cannot be parsed: {shown(str(error), 200)}") from None
        row = invalid[0]
        raise BadDataError(
            f"{path}:{line + row.number - 1}: has {row.actual_columns} columns, expected"
            f" {row.expected_columns} ({', '.join(names)}); check delimiter and quotes"
        ) from None
    if table.num_rows != text.count(b"\n") + (not text.endswith(b"\n")):
        raise _rows_are_no_lines(path, text, file, line)
    columns = {name: table[name].combine_chunks() for name in names}
    quote = file.quote_character
    if delimiter == _UNIT_SEPARATOR and quote and quote.encode() in text:
        # What still stands there was quoted: a part of the text.
        for name, column in columns.items():
            columns[name] = pc.replace_substring(column, delimiter.decode(), file.delimiter)
    return columns


def _rows_are_no_lines(path: str, text: bytes, file: TableFile, line: int) -> BadDataError:
    """What to say where Arrow sees another number of rows than there are lines."""
    quote = (file.quote_character or "").encode()
    for number, row in enumerate(text.split(b"\n"), line):
        if b"\r" in row:
            return BadDataError(
                f"{path}:{number}: holds a carriage return that ends no line; lines must end in"
                " LF or CR LF"
            )
        if quote and row.count(quote) % 2:
            return BadDataError(
                f"{path}:{number}: a quote opens and does not close on its line; fix the quotes"
            )
    return BadDataError(f"{path}: rows and lines differ in number; check quotes and line ends")
