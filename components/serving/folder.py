"""A folder as the serving place: one sub-folder per version.

A version appears all at once: it is written beside the others under a name that is no number,
flushed, then renamed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator

_INCOMING = ".incoming-"


class ServingFolder:
    """The versions in a folder.

    Args:
      directory: its path; it need not exist.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def versions(self) -> list[int]:
        """The version numbers, ascending."""
        if not os.path.isdir(self.directory):
            return []
        return sorted(int(entry) for entry in os.listdir(self.directory) if entry.isdecimal())

    def path(self, version: int) -> str:
        """Where a version's files are."""
        return os.path.join(self.directory, str(version))

    def state(self) -> str:
        """A text that changes whenever the folder does; "" if there is no version."""
        numbers = self.versions()
        return f"{numbers[-1]} {os.stat(self.directory).st_mtime_ns}" if numbers else ""

    @contextlib.contextmanager
    def incoming(self) -> Iterator[str]:
        """A folder to be made and filled, then given to `publish`."""
        os.makedirs(self.directory, exist_ok=True)
        for entry in os.listdir(self.directory):
            if entry.startswith(_INCOMING):  # of a push that was killed
                shutil.rmtree(os.path.join(self.directory, entry))
        incoming = os.path.join(self.directory, _INCOMING + uuid.uuid4().hex)
        try:
            yield incoming
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def publish(self, incoming: str, version: int) -> None:
        """Makes what was filled a version."""
        _flush(incoming)
        os.rename(incoming, self.path(version))
        _flush_folder(self.directory)


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
