"""The same rows as columns, beside the tf.Examples: what our own nodes read instead.

Parsing 17 million tf.Examples takes a minute of every node that reads them. In the folder
`columns` beside those of the splits lie, as uncompressed Arrow that is mapped into memory:

- `user_id.arrow`, `item_id.arrow`: every id of the data once, as bytes;
- `Split-<name>.arrow`: of each row the places of its ids, `rating` or `strength`, and `timestamp`;

and `first.tfrecord`: the tf.Examples of the train split in which a user or an item appears first.
"""

from __future__ import annotations

import os

import pyarrow as pa

from tfx_recommender.transform.features import ITEM_ID, USER_ID


def path(files: str, name: str) -> str:
    """Where a file of columns lies; `files`: a split's tf.Examples, one of them or a pattern."""
    return os.path.join(os.path.dirname(os.path.dirname(files)), "columns", name)


def split_path(files: str) -> str:
    """Where the columns of a split lie; `files`: as above."""
    return path(files, f"{os.path.basename(os.path.dirname(files))}.arrow")


def write_ids(files: str, name: str, ids: pa.Array) -> None:
    """Writes `user_id` or `item_id`, strings or bytes [N]."""
    batch = pa.record_batch([ids.cast(pa.binary())], [name])
    with pa.ipc.new_file(path(files, f"{name}.arrow"), batch.schema) as file:
        file.write(batch)


def read(files: str) -> dict[str, pa.Array]:
    """The columns of a split, in the order of its rows.

    Args:
      files: the pattern of its tf.Examples.

    Returns:
      `user_id` and `item_id`: each distinct id is held once, in order of first appearance
      (dictionary of binary [R]); `rating` or `strength` (float32 [R]); and `timestamp` (int64
      [R]), if the data have one.
    """
    table = _read(split_path(files))
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    for name in (USER_ID, ITEM_ID):
        places = columns[name].dictionary_encode()
        ids = _read(path(files, f"{name}.arrow"))[name].combine_chunks().take(places.dictionary)
        columns[name] = pa.DictionaryArray.from_arrays(places.indices, ids)
    return columns


def _read(file: str) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(file)).read_all()
