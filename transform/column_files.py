"""The rows of the tf.Examples as columns; our own nodes read these instead.

Parsing 17 million tf.Examples takes a node a minute. The folder `columns`, beside those of the
splits, holds uncompressed Arrow files, which are mapped into memory:

- `user_id.arrow`, `item_id.arrow`: every id of the data once, as bytes;
- `Split-<name>.arrow`: of each row the places of its ids, `rating` or `strength`, and `timestamp`;
- beside each of these `<file>.crc32`: its CRC-32, in hexadecimal digits.

TFRecords have checksums of their own, Arrow files have none.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Mapping
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from tfx_recommender.foundation.errors import UserError
from tfx_recommender.transform.features import ITEM_ID, USER_ID

_CHECKSUM = ".crc32"


def write_ids(files: str, name: str, ids: pa.Array) -> None:
    """Writes `user_id` or `item_id`, strings or bytes [N]; `files`: as `read` takes them."""
    batch = pa.record_batch([ids.cast(pa.binary())], [name])
    _write(_path(files, f"{name}.arrow"), batch.schema, [batch])


def write(
    files: str, dtypes: Mapping[str, np.dtype], blocks: Iterable[Mapping[str, np.ndarray]]
) -> None:
    """Writes the columns of a split.

    Args:
      files: as `read` takes them.
      dtypes: every column and its type.
      blocks: the rows, some at a time; ids as places in what `write_ids` wrote.
    """
    schema = pa.schema([(name, pa.from_numpy_dtype(dtype)) for name, dtype in dtypes.items()])
    batches = (pa.record_batch([pa.array(x) for x in b.values()], schema=schema) for b in blocks)
    _write(split_path(files), schema, batches)


def read(files: str) -> dict[str, pa.Array]:
    """The columns of a split, in the order of its rows.

    Args:
      files: the pattern of its tf.Examples.

    Returns:
      `user_id` and `item_id`: each distinct id is held once, in order of first appearance
      (dictionary of binary [R]); `rating` or `strength` (float32 [R]); and `timestamp` (int64
      [R]), if the data have one.

    Raises:
      UserError: a file is not as it was written.
    """
    table = _read(split_path(files))
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    for name in (USER_ID, ITEM_ID):
        places = columns[name].dictionary_encode()
        ids = _read(_path(files, f"{name}.arrow"))[name].combine_chunks().take(places.dictionary)
        columns[name] = pa.DictionaryArray.from_arrays(places.indices, ids)
    return columns


def split_path(files: str) -> str:
    """Where the columns of a split lie; `files`: its tf.Examples, one file or a pattern."""
    return _path(files, f"{os.path.basename(os.path.dirname(files))}.arrow")


def _path(files: str, name: str) -> str:
    return os.path.join(os.path.dirname(os.path.dirname(files)), "columns", name)


def _write(file: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "wb") as stream:
        sink = _Sink(stream)
        with pa.ipc.new_file(pa.PythonFile(sink, mode="w"), schema) as writer:
            for batch in batches:
                writer.write(batch)
    with open(file + _CHECKSUM, "w", encoding="ascii") as stream:
        stream.write(f"{sink.checksum:08x}\n")


def _read(file: str) -> pa.Table:
    mapped = pa.memory_map(file)
    found = f"{zlib.crc32(mapped.read_buffer()):08x}\n"
    with open(file + _CHECKSUM, "rb") as stream:
        if stream.read() != found.encode():
            raise UserError(
                f"{file}: is damaged, it does not fit its checksum; remove the folder"
                f" {os.path.dirname(os.path.dirname(file))} and run again"
            )
    return pa.ipc.open_file(mapped).read_all()


class _Sink:
    """Computes a file's checksum while Arrow writes it; for `pyarrow.PythonFile`."""

    def __init__(self, stream: BinaryIO) -> None:
        self.closed = False
        self.checksum = 0
        self._stream = stream

    def write(self, data: bytes) -> int:
        """Writes all of it."""
        self.checksum = zlib.crc32(data, self.checksum)
        return self._stream.write(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The stream is its owner's."""
