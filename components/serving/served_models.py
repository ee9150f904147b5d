"""The serving place, a folder or a place in a bucket: the largest version is what is served.

A version appears all at once and is never changed. Numbers only increase, also when the clock
steps back. What has no push record of ours is never loaded, and what is loaded has the bytes that
its push record names.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Mapping
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

_Place = ServingFolder | ServingBucket

# TensorFlow Serving reads a version as a signed number of 64 bits.
_LARGEST_VERSION = 2**63 - 1
_ROLL_BACK = "roll back (tfx-recommender rollback CONFIG --to VERSION; there are: {})"
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """One version in the serving place.

    Attributes:
      version: its number.
      path: its folder, or its URL in a bucket.
      digest: SHA-256 of the model's own files (the push record is none of them), in the push
        record's word. `served` checks it for folders, `fetch` for buckets too.
      record: what was written down when it was pushed.
    """

    version: int
    path: str
    digest: str
    record: dict[str, Any]


class _UnusableError(UserError):
    """What is wrong with an entry of the serving place, without its path and without advice.

    Attributes:
      is_ours: whether a push of ours has left it, as far as can be told.
    """

    def __init__(self, what: str, is_ours: bool) -> None:
        super().__init__(what)
        self.is_ours = is_ours


def in_bucket(path: str) -> bool:
    """Whether a serving place, or a version's path, is a URL."""
    return "://" in path


def _place(directory: str) -> _Place:
    return ServingBucket(directory) if in_bucket(directory) else ServingFolder(directory)


def versions(directory: str) -> list[int]:
    """The versions in a serving place that have a sound push record, ascending.

    Raises (like all that follow, for a bucket):
      ConfigError: there is no such bucket, or no driver for it.
      UserError: the bucket does not answer or refuses.
    """
    place = _place(directory)
    return sorted(_usable(place, place.entries()))


def served(directory: str, version: int | None = None) -> ServedModel | None:
    """What is served (or another version of the place); None if there is nothing.

    Raises:
      UserError: what a server would take for the served version was not pushed by us, or is
        damaged: its push record, or, in a folder, any of its files.
      ConfigError: there is no such version.
    """
    return _served(_place(directory), version)


def _served(place: _Place, version: int | None = None) -> ServedModel | None:
    entries = place.entries()
    if version is not None and str(version) not in entries:
        raise ConfigError(f"{place.directory}: there is no version {version}")
    if not entries:
        return None
    entry = entries[-1] if version is None else str(version)
    try:
        model = _model(place, entry)
        if isinstance(place, ServingFolder):
            _require_pushed_files(model.record, _files(model.path))
    except _UnusableError as error:
        raise UserError(f"{place.path(entry)}: {error}; {_advice(place, entry, error)}") from None
    return model


def remarks(directory: str) -> list[str]:
    """One line for each numbered entry below the served one that can never be served, with advice.

    Such an entry does no harm: servers load the largest number, and a rollback passes it over. A
    bucket's manifest names pushed versions only, so there is none.
    """
    if in_bucket(directory):
        return []
    place = ServingFolder(directory)
    lines = []
    for entry in place.entries()[:-1]:
        try:
            _model(place, entry)
        except _UnusableError as error:
            advice = "restore it from a backup, or remove it" if error.is_ours else "move it away"
            lines.append(f"{place.path(entry)}: {error}; it is passed over; {advice}")
    return lines


def _usable(place: _Place, entries: list[str]) -> dict[int, ServedModel]:
    """Those entries that have a sound push record; their files are not looked at."""
    models = {}
    for entry in entries:
        with contextlib.suppress(_UnusableError):
            model = _model(place, entry)
            models[model.version] = model
    return models


def _model(place: _Place, entry: str) -> ServedModel:
    """A version by its push record. Raises _UnusableError."""
    version = int(entry)
    if entry != str(version) or version > _LARGEST_VERSION:
        raise _UnusableError("is no version number that a push gives", is_ours=False)
    content = place.read(entry, PUSH_RECORD)
    if content is None:
        # A bucket's manifest names pushed versions only.
        raise _UnusableError(
            f"has no push record ({PUSH_RECORD}), without which nothing is served",
            is_ours=isinstance(place, ServingBucket),
        )
    try:
        record = json.loads(content)
        digest, number = record["digest"], record["version"]
        sound = (
            isinstance(digest, str)
            and all(isinstance(one, str) for one in record.get("withdrawn", []))
            # An older release wrote neither of these two.
            and (
                ("files" not in record and "checksum" not in record)
                or (record["checksum"] == _checksum(record) and _digest(record["files"]) == digest)
            )
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise _UnusableError(f"its push record ({PUSH_RECORD}) is damaged", is_ours=True)
    if number != version:
        raise _UnusableError(f"is a copy: its push record is version {number}'s", is_ours=False)
    return ServedModel(version, place.path(entry), digest, record)


def _advice(place: _Place, entry: str, error: _UnusableError) -> str:
    """What to do about the entry that a server would take for the served version."""
    withdrawn: set[str] = set()
    with contextlib.suppress(_UnusableError):
        withdrawn = set(_model(place, entry).record.get("withdrawn", []))
    others = [
        str(version)
        for version, model in _usable(place, place.entries()).items()
        if str(version) != entry and model.digest not in withdrawn
    ]
    ways = []
    if others and int(entry) < _LARGEST_VERSION:
        ways.append(_ROLL_BACK.format(_shortened(others[::-1])))
    if error.is_ours:
        ways.append("restore it from a backup")
    if isinstance(place, ServingBucket):
        ways.append(f"delete {place.manifest} to begin anew")
    elif not error.is_ours or not others:
        ways.append("move it out of the serving place")
    return ", or ".join(ways)


def fetch(model: ServedModel, target: str) -> None:
    """Copies a version into a new folder.

    Raises:
      UserError: its files are not those that were pushed.
    """
    try:
        if in_bucket(model.path):
            serving_bucket.download(model.path, target)
        else:
            _regular_files(model.path)  # copying a pipe would wait for ever
            shutil.copytree(model.path, target)
        _require_pushed_files(model.record, _files(target))
    except _UnusableError as error:
        raise UserError(
            f"{model.path}: {error}; restore them, or roll back to another version"
        ) from None


def _require_pushed_files(record: Mapping[str, Any], found: Mapping[str, str]) -> None:
    """Raises _UnusableError if a version's files are not those of its push record."""
    if _digest(found) == record["digest"]:
        return
    what = "its files are not those that were pushed"
    if "files" in record:
        what += f" ({_differences(record['files'], found)})"
    raise _UnusableError(what, is_ours=True)


def _differences(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    changed = [
        f"{name} {'is missing' if name not in found else 'differs'}"
        for name, content in sorted(expected.items())
        if found.get(name) != content
    ]
    return _shortened(changed + [f"{name} is new" for name in sorted(found.keys() - expected)])


def _shortened(words: list[str]) -> str:
    more = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def digest(model: str) -> str:
    """SHA-256 of a model folder: names and bytes of its files, without a push record.

    Raises:
      UserError: there is something that is no regular file, or that cannot be read.
    """
    try:
        return _digest(_files(model))
    except _UnusableError as error:
        raise UserError(f"{model}: {error}") from None


def _files(model: str) -> dict[str, str]:
    """Path in the model's folder -> SHA-256; without a push record. Raises _UnusableError."""
    found = {}
    for name in _regular_files(model):
        try:
            with open(os.path.join(model, name), "rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _UnusableError(
                f"{name} cannot be read ({error.strerror})", is_ours=True
            ) from None
    return found


def _regular_files(model: str) -> list[str]:
    """The paths of a model folder's files, but for a push record. Raises _UnusableError."""
    found = []
    for folder, folders, names in os.walk(model):
        for name in (*names, *folders):
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, model)
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode):
                found.append(relative)
            elif not stat.S_ISDIR(mode):
                raise _UnusableError(
                    f"{relative} in it is a link, a pipe or a device, which no push leaves",
                    is_ours=True,
                )
    return [name for name in found if name != PUSH_RECORD]


def _digest(contents: Mapping[str, str]) -> str:
    """One digest for `_files`: of each folder first the files, then the folders, by name."""

    def place(name: str) -> list[tuple[bool, str]]:
        *folders, file = name.split(os.sep)
        return [*((True, folder) for folder in folders), (False, file)]

    hasher = hashlib.sha256()
    for name in sorted(contents, key=place):
        hasher.update(f"{name}\n{contents[name]}\n".encode())
    return hasher.hexdigest()


def _checksum(record: Mapping[str, Any]) -> str:
    """SHA-256 of a push record's other entries."""
    others = {key: value for key, value in record.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def push(
    model: str,
    directory: str,
    record: dict[str, Any],
    *,
    expected_digest: str | None = None,
    replaces: str | None = None,
    try_out: Callable[[str], None] | None = None,
) -> ServedModel:
    """Makes a model the served one, all or nothing.

    One push or rollback at a time works on a folder, from whatever root or host.

    Args:
      model: a SavedModel folder; it is copied.
      directory: the serving place; created if need be (a bucket itself is not).
      record: written into the version as `assets.extra/push.json`, with `version`, `digest`,
        `pushed_at`, `files` (path -> SHA-256) and a `checksum` of all these.
      expected_digest: of the model that was judged; None takes it as it is.
      replaces: digest of what the model was compared with, "" if nothing was served; None pushes
        whatever is served. What was withdrawn meanwhile stays withdrawn.
      try_out: called with the copy before anybody can see it; what it raises ends the push.

    Returns:
      The new version.

    Raises:
      UserError: the model's files are not those that were judged; something else is served than
        what it was compared with; or the place cannot be written. Nothing was pushed then.
    """
    place = _place(directory)
    with place.exclusive():
        if replaces is not None:
            record = _carry_on(_served(place), replaces, expected_digest, directory, record)

        def fill(incoming: str) -> None:
            if os.path.isdir(model) or expected_digest is None:
                shutil.copytree(model, incoming)
            if expected_digest is not None and digest(incoming) != expected_digest:
                raise UserError(
                    f"{model}: its files are not those that were judged, so nothing was pushed;"
                    " they were damaged since; remove that folder and run again"
                )
            if try_out is not None:
                try_out(incoming)

        return _push(place, directory, fill, record)


def _carry_on(
    now: ServedModel | None,
    replaces: str,
    candidate: str | None,
    directory: str,
    record: dict[str, Any],
) -> dict[str, Any]:
    """The push record with what was withdrawn up to now, if what is served is what it replaces."""
    if (now.digest if now else "") != replaces:
        raise UserError(
            f"{directory}: somebody pushed or rolled back meanwhile, so what is served is not what"
            " the model was compared with; nothing was pushed; run again"
        )
    withdrawn = {*record.get("withdrawn", []), *(now.record.get("withdrawn", []) if now else ())}
    if candidate in withdrawn:
        raise UserError(
            f"{directory}: somebody rolled back meanwhile and withdrew this very model; nothing"
            " was pushed; run again"
        )
    return record | {"withdrawn": sorted(withdrawn)}


def _push(
    place: _Place, directory: str, fill: Callable[[str], None], record: dict[str, Any]
) -> ServedModel:
    """Pushes what `fill` puts into a new folder; call under `exclusive`."""
    entries = place.entries()
    version = max(int(time.time()), int(entries[-1]) + 1 if entries else 0)
    if version > _LARGEST_VERSION:
        raise UserError(
            f"{place.path(entries[-1])}: leaves no larger version number; move it out of the"
            " serving place"
        )
    try:
        with place.incoming() as incoming:
            fill(incoming)
            contents = _files(incoming)
            complete = record | {
                "version": version,
                "digest": _digest(contents),
                "files": contents,
                "pushed_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }
            complete["checksum"] = _checksum(complete)
            path = os.path.join(incoming, PUSH_RECORD)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                json.dump(complete, file, indent=2, sort_keys=True)
            place.publish(incoming, version)
    except OSError as error:
        # Of a folder's copy: a list of (from, to, why).
        why = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror or error
        raise UserError(
            f"{directory}: could not be written ({why}); nothing was pushed; run again once it can"
        ) from None
    return ServedModel(version, place.path(str(version)), complete["digest"], complete)


def rollback(directory: str, to: int | None = None) -> ServedModel:
    """Serves an earlier version again, as a new one, so that it lasts.

    The models that this takes out of service are withdrawn: the record names their digests and
    no later run pushes the same bytes again. It is also the way out of a served version that is
    damaged, or was put there by other hands.

    Args:
      directory: the serving place.
      to: the version to go back to; None: the latest before the served one that was neither
        withdrawn nor is the same model.

    Raises:
      ConfigError: there is no such version; or None, and what is served has no push record.
      UserError: the version's files are not those that were pushed, or see `push`.
    """
    place = _place(directory)
    if not place.entries():  # asked before a folder is made for the lock
        raise ConfigError(f"{directory}: has no version before the served one to go back to")
    with place.exclusive():
        entries = place.entries()
        if to is None:
            to = _version_before(place, entries)
        models = _usable(place, [entry for entry in entries if int(entry) >= to])
        if to not in models:
            what = "has no sound push record" if str(to) in entries else "no such version"
            listed = ", ".join(map(str, _usable(place, entries))) or "none"
            raise ConfigError(f"--to {to}: {what} in {directory}; there are: {listed}")
        if str(to) == entries[-1]:
            raise ConfigError(f"--to {to}: is what is served already")
        earlier = models[to]
        replaced = {_digest_of(place, entry) for entry in entries if int(entry) > to}
        withdrawn = replaced | set(models[max(models)].record.get("withdrawn", []))
        record = earlier.record | {
            "rollback_to": to,
            "withdrawn": sorted(withdrawn - {earlier.digest, ""}),
        }
        return _push(place, directory, functools.partial(fetch, earlier), record)


def _version_before(place: _Place, entries: list[str]) -> int:
    """The version that a rollback without a number goes back to."""
    passed_over: set[str] = set()
    for entry in reversed(entries):
        try:
            model = _model(place, entry)
        except _UnusableError as error:
            if entry != entries[-1]:
                continue
            listed = ", ".join(map(str, _usable(place, entries))) or "none"
            raise ConfigError(
                f"{place.path(entry)}: {error}, so it is not known what was withdrawn; say which"
                f" version to go back to (--to VERSION); there are: {listed}"
            ) from None
        if entry == entries[-1]:
            passed_over = set(model.record.get("withdrawn", []))
            with contextlib.suppress(UserError):  # the same model again mends a damaged one
                _served(place)
                passed_over.add(model.digest)
        elif model.digest not in passed_over:
            return model.version
    raise ConfigError(f"{place.directory}: has no version before the served one to go back to")


def _digest_of(place: _Place, entry: str) -> str:
    """A version's digest by its push record, or else by its files; "" if it has neither."""
    with contextlib.suppress(_UnusableError):
        return _model(place, entry).digest
    if isinstance(place, ServingFolder):
        with contextlib.suppress(_UnusableError):
            return _digest(_files(place.path(entry)))
    return ""


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
    entries = place.entries()
    if not entries:
        raise ConfigError(f"{directory}: nothing is served yet; run the pipeline first")
    return place.storage_uri(entries[-1])
