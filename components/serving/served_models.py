"""The serving place, a folder or a place in a bucket: the largest version is what is served.

A version appears all at once and is never changed. Numbers only increase, also when the clock
steps back.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
from typing import Any

from tfx_recommender.components.serving import bucket as serving_bucket
from tfx_recommender.components.serving.bucket import ServingBucket
from tfx_recommender.components.serving.folder import ServingFolder
from tfx_recommender.foundation.errors import ConfigError, UserError

PUSH_RECORD = os.path.join("assets.extra", "push.json")
# In a push record, where the version was not proved better, but not worse: the last one that was.
ANCHOR = "anchor"
# In a push record: comparisons since that one was pushed.
COMPARISONS = "comparisons"


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """One version in the serving place.

    Attributes:
      version: its number.
      path: its folder, or its URL in a bucket.
      digest: SHA-256 of the model's own files (the push record is none of them). In a bucket it
        is the push record's word, which `fetch` checks.
      record: what was written down when it was pushed.
    """

    version: int
    path: str
    digest: str
    record: dict[str, Any]


def in_bucket(path: str) -> bool:
    """Whether a serving place, or a version's path, is a URL."""
    return "://" in path


def _place(directory: str) -> ServingFolder | ServingBucket:
    return ServingBucket(directory) if in_bucket(directory) else ServingFolder(directory)


def versions(directory: str) -> list[int]:
    """The version numbers in a serving place, ascending; none if it does not exist.

    Raises (like all that follow, for a bucket):
      ConfigError: there is no such bucket, or no driver for it.
      UserError: the bucket does not answer or refuses.
    """
    return _place(directory).versions()


def served(directory: str, version: int | None = None) -> ServedModel | None:
    """What is served (or another version of the place); None if there is nothing."""
    place = _place(directory)
    numbers = place.versions()
    return _model(place, numbers[-1] if version is None else version) if numbers else None


def _model(place: ServingFolder | ServingBucket, version: int) -> ServedModel:
    path = place.path(version)
    if isinstance(place, ServingBucket):
        record = json.loads(serving_bucket.read(f"{path}/{PUSH_RECORD}"))
        return ServedModel(version, path, record["digest"], record)
    try:
        with open(os.path.join(path, PUSH_RECORD), encoding="utf-8") as file:
            record = json.load(file)
    except (OSError, ValueError):
        record = {}  # put there by other hands: served all the same
    return ServedModel(version, path, digest(path), record)


def fetch(model: ServedModel, target: str) -> None:
    """Copies a version into a new folder.

    Raises:
      UserError: its files are not those that were pushed.
    """
    if in_bucket(model.path):
        serving_bucket.download(model.path, target)
    else:
        shutil.copytree(model.path, target)
    if digest(target) != model.digest:
        raise UserError(
            f"{model.path}: its files are not those that were pushed; restore them, or roll back"
            " to another version"
        )


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
      directory: the serving place; created if need be (a bucket itself is not).
      record: written into the version as `assets.extra/push.json`, with version, digest, time.

    Returns:
      The new version.
    """
    place = _place(directory)
    with place.incoming() as incoming:
        shutil.copytree(model, incoming)
        numbers = place.versions()
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
        place.publish(incoming, version)
    return ServedModel(version, place.path(version), complete["digest"], complete)


def rollback(directory: str, to: int | None = None) -> ServedModel:
    """Serves an earlier version again, as a new one, so that it lasts.

    The models that this takes out of service are withdrawn: the record names their digests and
    no later run pushes the same bytes again.

    Args:
      directory: the serving place.
      to: the version to go back to; None: the one before the served one.

    Raises:
      ConfigError: there is no such version.
    """
    place = _place(directory)
    numbers = place.versions()
    if to is None:
        if len(numbers) < 2:
            raise ConfigError(f"{directory}: has no version before the served one to go back to")
        to = numbers[-2]
    if to not in numbers:
        listed = ", ".join(map(str, numbers)) or "none"
        raise ConfigError(f"--to {to}: no such version in {directory}; there are: {listed}")
    if to == numbers[-1]:
        raise ConfigError(f"--to {to}: is what is served already")
    earlier, *later = [_model(place, number) for number in numbers if number >= to]
    withdrawn = {model.digest for model in later} | set(later[-1].record.get("withdrawn", []))
    record = earlier.record | {
        "rollback_to": to,
        "withdrawn": sorted(withdrawn - {earlier.digest}),
    }
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "model")
        fetch(earlier, copy)
        return push(copy, directory, record)


def state(directory: str) -> str:
    """A text that changes whenever the place does; no state of an empty place recurs."""
    return _place(directory).state() or f"empty {uuid.uuid4().hex}"


def storage_uri(directory: str) -> str:
    """What KServe's `storageUri` says to serve the served version of a bucket.

    Raises:
      ConfigError: the serving place is a folder, or nothing is served.
    """
    place = _place(directory)
    if not isinstance(place, ServingBucket):
        raise ConfigError(f"{directory}: is a folder; servers find its largest version themselves")
    numbers = place.versions()
    if not numbers:
        raise ConfigError(f"{directory}: nothing is served yet; run the pipeline first")
    return place.storage_uri(numbers[-1])
