"""Fingerprints of data and code: what makes a cached result stale."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os

from tfx_recommender.components.ratings_example_gen import source_file
from tfx_recommender.components.ratings_example_gen.config import Data

_CODE_FOLDERS = ("components", "trainer", "transform")
_LIBRARIES = ("tfx", "tensorflow", "keras", "tensorflow-transform", "tensorflow-model-analysis")


def of_data_and_code(data: Data) -> str:
    """SHA-256 of the data files' bytes, then that of our workers' code and libraries' versions.

    Sizes and times are not asked: TFX's own fingerprint misses a changed digit. The data come
    first, and by themselves: ingestion compares them with what it reads.

    Raises:
      BadDataError: a file cannot be read.
    """
    hasher = hashlib.sha256()
    for path in _code_files():
        with open(path, "rb") as stream:
            hasher.update(hashlib.file_digest(stream, "sha256").digest())
    for library in _LIBRARIES:
        hasher.update(f"{library} {importlib.metadata.version(library)}\n".encode())
    return source_file.fingerprint(data.paths()) + hasher.hexdigest()


def _code_files() -> list[str]:
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return sorted(
        os.path.join(folder, name)
        for part in _CODE_FOLDERS
        for folder, _, names in os.walk(os.path.join(top, part))
        for name in names
        if name.endswith(".py")
    )
