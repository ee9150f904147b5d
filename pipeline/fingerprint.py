"""Fingerprints of data and code: what makes a cached result stale."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os

from tfx_recommender.components.ratings_example_gen.config import Data
from tfx_recommender.foundation.errors import BadDataError

_CODE_FOLDERS = ("components", "trainer", "transform")
_LIBRARIES = ("tfx", "tensorflow", "keras", "tensorflow-transform", "tensorflow-model-analysis")


def of_data_and_code(data: Data) -> str:
    """SHA-256 of every data file's bytes, of our workers' code and of the libraries' versions.

    Sizes and times are not asked: TFX's own fingerprint misses a changed digit.

    Raises:
      BadDataError: a file cannot be read.
    """
    hasher = hashlib.sha256()
    files = [file.path for file in (data.users, data.items) if file is not None]
    for path in [*data.interactions.paths, *files, *_code_files()]:
        try:
            with open(path, "rb") as stream:
                hasher.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise BadDataError(
                f"{path}: cannot be read ({error.strerror}); check the path in the config"
            ) from None
    for library in _LIBRARIES:
        hasher.update(f"{library} {importlib.metadata.version(library)}\n".encode())
    return hasher.hexdigest()


def _code_files() -> list[str]:
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return sorted(
        os.path.join(folder, name)
        for part in _CODE_FOLDERS
        for folder, _, names in os.walk(os.path.join(top, part))
        for name in names
        if name.endswith(".py")
    )
