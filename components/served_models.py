"""The serving folder: one sub-folder per version, the largest number is what is served.

A version appears all at once (it is written beside the others under a name that is no number,
then renamed) and is never changed. Numbers only increase, also when the clock steps back.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import time
import uuid
from typing import Any

from tfx_recommender.components.errors import ConfigError

PUSH_RECORD = os.path.join("assets.extra", "push.json")
_INCOMING = ".incoming-"


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """One version in the serving folder.

    Attributes:
      version: its number.
      path: its folder.
      digest: SHA-256 of the model's own files (the push record is none of them).
      record: what was written down when it was pushed.
    """

    version: int
    path: str
    digest: str
    record: dict[str, Any]


def versions(directory: str) -> list[int]:
    """The version numbers in a serving folder, ascending; none if it does not exist."""
    if not os.path.isdir(directory):
        return []
    return sorted(int(entry) for entry in os.listdir(directory) if entry.isdecimal())


def served(directory: str, version: int | None = None) -> ServedModel | None:
    """What is served (or another version of the folder); None if there is nothing."""
    numbers = versions(directory)
    if not numbers:
        return None
    number = numbers[-1] if version is None else version
    path = os.path.join(directory, str(number))
    try:
        with open(os.path.join(path, PUSH_RECORD), encoding="utf-8") as file:
            record = json.load(file)
    except (OSError, ValueError):
        record = {}  # put there by other hands: served all the same
    return ServedModel(number, path, digest(path), record)


def digest(model: str) -> str:
    """SHA-256 of a model folder: names and bytes of its files, without a push record."""
    hasher = hashlib.sha256()
    for folder, folders, files in os.walk(model):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, model)
            if relative == PUSH_RECORD:
                continue
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            hasher.update(f"{relative}\n{content}\n".encode())
    return hasher.hexdigest()


def push(model: str, directory: str, record: dict[str, Any]) -> ServedModel:
    """Makes a model the served one, all or nothing.

    Args:
      model: a SavedModel folder; it is copied.
      directory: the serving folder; created if need be.
      record: written into the version as `assets.extra/push.json`, with version, digest, time.

    Returns:
      The new version.
    """
    os.makedirs(directory, exist_ok=True)
    for entry in os.listdir(directory):
        if entry.startswith(_INCOMING):  # of a push that was killed
            shutil.rmtree(os.path.join(directory, entry))
    incoming = os.path.join(directory, _INCOMING + uuid.uuid4().hex)
    try:
        shutil.copytree(model, incoming)
        numbers = versions(directory)
        version = max(int(time.time()), numbers[-1] + 1 if numbers else 0)
        complete = record | {
            "version": version,
            "digest": digest(incoming),
            "pushed_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        path = os.path.join(incoming, PUSH_RECORD)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(complete, file, indent=2, sort_keys=True)
        _flush(incoming)
        target = os.path.join(directory, str(version))
        os.rename(incoming, target)
    except BaseException:
        shutil.rmtree(incoming, ignore_errors=True)
        raise
    _flush_folder(directory)
    return ServedModel(version, target, complete["digest"], complete)


def rollback(directory: str, to: int | None = None) -> ServedModel:
    """Serves an earlier version again, as a new one, so that it lasts.

    The models that this takes out of service are withdrawn: the record names their digests and
    no later run pushes the same bytes again.

    Args:
      directory: the serving folder.
      to: the version to go back to; None: the one before the served one.

    Raises:
      ConfigError: there is no such version.
    """
    numbers = versions(directory)
    if to is None:
        if len(numbers) < 2:
            raise ConfigError(f"{directory}: has no version before the served one to go back to")
        to = numbers[-2]
    if to not in numbers:
        listed = ", ".join(map(str, numbers)) or "none"
        raise ConfigError(f"--to {to}: no such version in {directory}; there are: {listed}")
    if to == numbers[-1]:
        raise ConfigError(f"--to {to}: is what is served already")
    earlier = served(directory, to)
    current = served(directory)
    assert earlier is not None and current is not None
    withdrawn = set(current.record.get("withdrawn", []))
    withdrawn |= {
        model.digest
        for number in numbers
        if number > to and (model := served(directory, number)) is not None
    }
    record = earlier.record | {
        "rollback_to": to,
        "withdrawn": sorted(withdrawn - {earlier.digest}),
    }
    return push(earlier.path, directory, record)


def state(directory: str) -> str:
    """A text that changes whenever the folder does; no state of a missing folder recurs."""
    numbers = versions(directory)
    if not numbers:
        return f"empty {uuid.uuid4().hex}"
    return f"{numbers[-1]} {os.stat(directory).st_mtime_ns}"


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
