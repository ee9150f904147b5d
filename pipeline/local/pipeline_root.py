"""The pipeline root: one writer, one metadata store, artifacts that belong to that store."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator

import filelock

from tfx_recommender.foundation.errors import ConfigError, UserError

LOG_FILE = "pipeline.log"
_STORE = "metadata.sqlite"


@contextlib.contextmanager
def exclusive(root: str) -> Iterator[None]:
    """Creates the root if need be and keeps every other writer out.

    The lock is the operating system's: it goes with the process, however that dies.

    Raises:
      ConfigError: the folder cannot be written.
      UserError: another process is at work there.
    """
    lock = filelock.FileLock(os.path.join(root, ".lock"))
    try:
        os.makedirs(root, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(
            f"{root}: another run is at work there; wait for it or choose another root"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"root: {root} cannot be written ({error.strerror}); choose another folder"
        ) from None
    with lock:
        yield


def require_writable(key: str, folder: str) -> None:
    """Raises ConfigError unless files can be made in the folder, or in its nearest parent."""
    existing = folder
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        raise ConfigError(f"{key}: {existing} is not a folder; choose another one")
    # No file is made to find out: that would change the folder, which is part of a cache key.
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(f"{key}: {existing} cannot be written; choose another folder")


def store_path(root: str) -> str:
    """The SQLite file of ML Metadata."""
    return os.path.join(root, _STORE)


def artifact_root(root: str) -> str:
    """Where the artifacts of this root's metadata store are.

    TFX counts executions from 1 in every new store and reuses folders of the same number. So
    each store has an artifact folder of its own, whose name is kept inside the store (SQLite's
    `user_version`): a new store never finds the artifacts of a lost one.

    Raises:
      UserError: the store is damaged. It is left as it is.
    """
    path = store_path(root)
    try:
        with contextlib.closing(sqlite3.connect(path)) as store, store:
            (number,) = store.execute("PRAGMA user_version").fetchone()
            if not number:
                number = secrets.randbelow(2**31 - 1) + 1
                store.execute(f"PRAGMA user_version = {number}")
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"{path}: is no sound metadata store ({error}); restore it from a backup, or move it"
            " away to begin a new one"
        ) from None
    return os.path.join(root, "artifacts", f"{number:08x}")
