"""Reads a Parquet file, block by block."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from tfx_recommender.components.ratings_example_gen import source_file
from tfx_recommender.components.ratings_example_gen.config import TableFile
from tfx_recommender.components.ratings_example_gen.source_file import Fingerprint
from tfx_recommender.foundation.errors import BadDataError, shown

_BLOCK_ROWS = 1 << 20
_COPY_BYTES = 1 << 22
_KNOWN = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_timestamp,
)


def blocks(
    path: str, file: TableFile, into: Fingerprint | None = None
) -> Iterator[tuple[dict[str, pa.Array], int]]:
    """The columns of some rows, strings or numbers, and the number of the first, from 1.

    Parquet is not read from its beginning to its end, so a copy in TMPDIR is what is hashed and
    read.

    Raises:
      BadDataError: see `table_file.blocks`.
    """
    # Without a name: it goes when it is closed, whatever happens.
    with tempfile.TemporaryFile() as copy:
        with source_file.opened(path, into) as original:
            while data := original.read(_COPY_BYTES):
                copy.write(data)
        copy.flush()
        # By its path: a process that read Parquet from a Python file may never end (GH-50482).
        name = f"/proc/self/fd/{copy.fileno()}"
        try:
            with parquet.ParquetFile(name, page_checksum_verification=True) as source:
                _check_columns(path, source.schema_arrow, file)
                if source.metadata.num_rows == 0:
                    raise BadDataError(f"{path}: holds no rows; is this the right file?")
                first = 1
                for batch in source.iter_batches(_BLOCK_ROWS, columns=list(file.columns)):
                    yield {name: _plain(batch[name]) for name in file.columns}, first
                    first += len(batch)
        except (OSError, pa.ArrowException) as error:
            reason = shown(str(getattr(error, "strerror", None) or error), 200)
            raise BadDataError(f"{path}: cannot be read ({reason}); is it Parquet?") from None


def _check_columns(path: str, schema: pa.Schema, file: TableFile) -> None:
    parts = []
    for verb, names in (
        ("misses", [name for name in file.columns if name not in schema.names]),
        ("has unknown", [name for name in schema.names if name not in file.columns]),
    ):
        parts += [f"{verb} {shown(', '.join(names), 80)}"] if names else []
    if not parts and len(schema.names) > len(file.columns):
        parts = ["names a column twice"]
    if parts:
        raise BadDataError(
            f"{path}: {' and '.join(parts)}; the config's columns are {', '.join(file.columns)}"
        )
    for name in file.columns:
        kind = _value_type(schema.field(name).type)
        if not any(is_known(kind) for is_known in _KNOWN):
            raise BadDataError(f"{path}: {name} holds {kind}; text or numbers are needed")


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _plain(column: pa.Array) -> pa.Array:
    """Text as plain strings, times as whole seconds since 1970."""
    kind = _value_type(column.type)
    if pa.types.is_timestamp(kind):
        return pc.cast(pc.cast(column, pa.timestamp("s"), safe=False), pa.int64())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pc.cast(column, pa.string())
    return column if kind == column.type else pc.cast(column, kind)
