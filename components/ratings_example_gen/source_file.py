"""Opens the data files, and hashes what is read of them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from tfx_recommender.foundation.errors import BadDataError, shown

_BLOCK_BYTES = 1 << 20


class Fingerprint:
    """SHA-256 over the digests of several files, in the order in which they are added."""

    def __init__(self) -> None:
        self._hasher = hashlib.sha256()

    def add(self, digest: bytes) -> None:
        """Adds one file's SHA-256."""
        self._hasher.update(digest)

    def hexdigest(self) -> str:
        """64 hexadecimal digits."""
        return self._hasher.hexdigest()


def fingerprint(paths: Iterable[str]) -> str:
    """The `Fingerprint` of files as they are now; reading them later must give the same.

    Raises:
      BadDataError: a file cannot be read.
    """
    found = Fingerprint()
    for path in paths:
        with opened(path, found):
            pass
    return found.hexdigest()


class Source:
    """A file that hashes what is read of it; for `pyarrow.PythonFile`, which needs these names."""

    def __init__(self, path: str, file: BinaryIO) -> None:
        self.path = path
        self.closed = False
        self._file = file
        self._hasher = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        data = self._file.read(size)
        self._hasher.update(data)
        return data

    def close(self) -> None:
        """Does nothing: Arrow closes what it has read, and what is behind that is hashed too."""

    def digest(self) -> bytes:
        """SHA-256 of the whole file; reads what is left of it."""
        while self.read(_BLOCK_BYTES):
            pass
        return self._hasher.digest()


@contextlib.contextmanager
def opened(path: str, into: Fingerprint | None = None) -> Iterator[Source]:
    """Opens a regular file; its digest goes `into` a fingerprint once it was read.

    Raises:
      BadDataError: there is no such file, it cannot be read, or it is a folder, a pipe or a
        device, which may have no end.
    """
    try:
        # Without O_NONBLOCK a pipe waits until somebody writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadDataError(
            f"{shown(path, 200)}: cannot be read ({reason}); check the path in the config"
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadDataError(
            f"{shown(path, 200)}: cannot be read (not a regular file); give the path of a file"
        )
    with open(descriptor, "rb", buffering=0) as file:
        source = Source(path, file)
        try:
            yield source
            if into is not None:
                into.add(source.digest())
        except OSError as error:
            raise BadDataError(
                f"{shown(path, 200)}: cannot be read ({error.strerror or error}); check the file"
            ) from None
