"""The pipeline root: one writer, one metadata store, artifacts that belong to that store."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import secrets
import sqlite3
from collections.abc import Iterator

import filelock

from tfx_recommender.foundation.errors import ConfigError, UserError

LOG_FILE = "pipeline.log"
_STORE = "metadata.sqlite"
# What a summary is written to first; left behind if the disk was full or the process killed.
_LEFT_BEHIND = re.compile(r"tmp[a-z0-9_]{8}\.tmp")
_PATIENCE_SECONDS = 10.0


@contextlib.contextmanager
def exclusive(root: str) -> Iterator[None]:
    """Creates the root if it is missing, and locks out every other writer.

    The lock is the operating system's: it is released when the process ends, however that ends.
    Files that a writer before left half written are removed.

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
        for name in filter(_LEFT_BEHIND.fullmatch, os.listdir(root)):
            os.unlink(os.path.join(root, name))
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
    `user_version`): a new store never finds the artifacts of a lost one. A store that was restored
    from an older copy counts on from there, and gets a new folder too; what it knows stays where
    it is.

    Raises:
      UserError: the store is damaged, or another process uses it. It is left as it is.
    """
    path = store_path(root)
    connection = sqlite3.connect(path, timeout=_PATIENCE_SECONDS, isolation_level=None)
    try:
        with contextlib.closing(connection) as store:
            # Whoever reads, too, keeps ML Metadata from writing.
            store.execute("BEGIN EXCLUSIVE")
            (state,) = store.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise _damaged(path, state)
            (number,) = store.execute("PRAGMA user_version").fetchone()
            if not number or _last_execution(store) < _last_folder(_artifacts(root, number)):
                number = secrets.randbelow(2**31 - 1) + 1
                store.execute(f"PRAGMA user_version = {number}")
            store.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        code = error.sqlite_errorcode & 0xFF  # the rest tells details
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise store_in_use(path) from None
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise _damaged(path, str(error)) from None
        raise UserError(
            f"{path}: the metadata store cannot be used ({error}); see to its permissions and to"
            " space on its disk"
        ) from None
    return _artifacts(root, number)


def store_in_use(path: str) -> UserError:
    """Another process has the store open: what to say when it cannot be read or written."""
    return UserError(
        f"{path}: another process reads or writes the metadata store (a backup, a database"
        " browser?); end it, then run again"
    )


def _damaged(path: str, why: str) -> UserError:
    why = " ".join(why.split())
    return UserError(
        f"{path}: is no sound metadata store ({why}); restore it from a backup, or move it away"
        " to begin a new one"
    )


def _artifacts(root: str, number: int) -> str:
    return os.path.join(root, "artifacts", f"{number:08x}")


def _last_execution(store: sqlite3.Connection) -> int:
    """The largest id that ML Metadata has given; 0 in a store without executions."""
    table = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'Execution'"
    if store.execute(table).fetchone() is None:
        return 0
    return store.execute("SELECT coalesce(max(id), 0) FROM Execution").fetchone()[0]


def _last_folder(artifacts: str) -> int:
    """The largest execution id that has a folder there; 0 if none has."""
    patterns = ("*/*/*", "*/.system/executor_execution/*")  # TFX's, for outputs and for logs
    folders = (folder for pattern in patterns for folder in pathlib.Path(artifacts).glob(pattern))
    return max((int(folder.name) for folder in folders if folder.name.isdecimal()), default=0)
