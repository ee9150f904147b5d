"""A folder as the serving place: one sub-folder per version.

A version appears all at once: it is written beside the others under a name that is no number,
flushed, then renamed. One lock keeps all other writers out meanwhile, from whatever root or host.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import stat
import time
import uuid
from collections.abc import Iterator

import filelock

from tfx_recommender.foundation.errors import UserError

_INCOMING = ".incoming-"
# An operating system's lock, so it goes with its holder; the file stays. On NFS the kernel makes
# it a byte-range lock of the server, which keeps out other hosts too.
_LOCK = ".lock"
PATIENCE_SECONDS = 600.0
# A mount whose locks are its own machine's (nolock, local_lock) has no proof that another machine
# is not at work on a folder; no push takes as long as this.
_ABANDONED_SECONDS = 86_400.0


class ServingFolder:
    """The versions in a folder.

    Args:
      directory: its path; it need not exist.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def entries(self) -> list[str]:
        """Names that read as numbers, ascending, whoever made them and whatever they are."""
        try:
            names = os.listdir(self.directory)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted((name for name in names if name.isdecimal()), key=int)

    def path(self, entry: str) -> str:
        """Where a version's files are."""
        return os.path.join(self.directory, entry)

    def read(self, entry: str, relative: str) -> bytes | None:
        """A small file of a version; None if it has no such regular file."""
        path = os.path.join(self.path(entry), relative)
        try:
            if not stat.S_ISDIR(os.lstat(self.path(entry)).st_mode):
                return None
            # Opening a pipe would wait for somebody to write into it.
            if not stat.S_ISREG(os.lstat(path).st_mode):
                return None
            with open(path, "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None

    def state(self) -> str:
        """A text that changes whenever the folder does; "" if there is no version."""
        entries = self.entries()
        return f"{entries[-1]} {os.stat(self.directory).st_mtime_ns}" if entries else ""

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Makes the folder if need be and keeps every other writer out.

        Raises:
          UserError: another one is at work for ten minutes, or the folder cannot be written.
        """
        try:
            os.makedirs(self.directory, exist_ok=True)
            # Whoever may write the folder may wait at its door, under whatever account.
            lock = filelock.FileLock(os.path.join(self.directory, _LOCK), mode=0o666)
            lock.acquire(timeout=PATIENCE_SECONDS)
        except filelock.Timeout:
            raise UserError(
                f"{self.directory}: another push or rollback has been at work there for"
                f" {PATIENCE_SECONDS / 60:.0f} minutes; let it end, then run again"
            ) from None
        except OSError as error:
            raise UserError(
                f"{self.directory}: cannot be written ({error.strerror}); make it writable, or"
                " choose another serving_root"
            ) from None
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def incoming(self) -> Iterator[str]:
        """A folder to be made and filled, then given to `publish`; call under `exclusive`."""
        for entry in os.listdir(self.directory):
            path = self.path(entry)
            if entry.startswith(_INCOMING) and _is_abandoned(path):
                shutil.rmtree(path, ignore_errors=True)
        incoming = self.path(f"{_INCOMING}{_machine()}-{uuid.uuid4().hex}")
        try:
            yield incoming
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def publish(self, incoming: str, version: int) -> None:
        """Makes what was filled a version."""
        _flush(incoming)
        os.rename(incoming, self.path(str(version)))
        _flush_folder(self.directory)


def _machine() -> str:
    """Names this machine from its start to its end, the same in all its containers."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip().replace("-", "")
    except OSError:
        return "".join(filter(str.isalnum, platform.node()))


def _is_abandoned(incoming: str) -> bool:
    """Whether its push is dead for certain; asked by the holder of the lock.

    On this machine the lock is the proof. Elsewhere it may be blind, so time has to tell.
    """
    if os.path.basename(incoming).startswith(f"{_INCOMING}{_machine()}-"):
        return True
    changed = [os.lstat(incoming).st_ctime]
    for folder, folders, files in os.walk(incoming):
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):
                changed.append(os.lstat(os.path.join(folder, name)).st_ctime)
    return time.time() - max(changed) > _ABANDONED_SECONDS


def _flush(directory: str) -> None:
    for folder, _, files in os.walk(directory):
        for name in files:
            with open(os.path.join(folder, name), "rb") as file:
                os.fsync(file.fileno())
        _flush_folder(folder)


def _flush_folder(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
