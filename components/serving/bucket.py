"""A place in a bucket as the serving place: versions, and a manifest that names them.

    <url>/served.json                        which versions there are; the last one is served
    <url>/version-17-3fa9c1d2/17/…           version 17, a SavedModel

A bucket knows no rename, so a push uploads under a prefix of its own, which no server takes for a
version, and then writes the manifest: one object, which a bucket replaces as a whole. Whoever
starts at the manifest sees the version before or the one after. What a killed push leaves behind
is named by nothing and read by nobody; nothing is ever deleted here, so that no right to delete is
needed. TensorFlow Serving does not read manifests: it is pointed at a version's storage URI, whose
one sub-folder has the version's number.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
import uuid
from collections.abc import Iterator
from typing import Any

from tfx_recommender.foundation.errors import ConfigError, UserError

MANIFEST = "served.json"


class ServingBucket:
    """The versions that a manifest named when this object was made.

    Args:
      url: `s3://bucket/prefix`, `gs://bucket/prefix`, or what else fsspec knows.

    Attributes:
      manifest: the URL of the object that names the versions.

    Raises:
      ConfigError: there is no such bucket, or no driver for its kind.
      UserError: the bucket does not answer or refuses, or the manifest is damaged.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.manifest = f"{self.url}/{MANIFEST}"
        with _asking(url):
            self._files, _ = _driver(url)
        self._prefixes = self._read_manifest()

    @property
    def directory(self) -> str:
        """The URL, as a folder has it."""
        return self.url

    def entries(self) -> list[str]:
        """The version numbers, ascending."""
        return [str(version) for version in sorted(self._prefixes)]

    def storage_uri(self, entry: str) -> str:
        """What KServe's `storageUri` says to serve this very version."""
        return f"{self.url}/{self._prefixes[int(entry)]}"

    def path(self, entry: str) -> str:
        """Where a version's files are."""
        return f"{self.storage_uri(entry)}/{entry}"

    def read(self, entry: str, relative: str) -> bytes | None:
        """A small file of a version; None if it has no such file.

        Raises:
          UserError: the bucket does not answer or refuses.
        """
        url = f"{self.path(entry)}/{relative}"
        with _asking(url):
            try:
                return self._files.cat_file(url)
            except FileNotFoundError:
                return None

    def state(self) -> str:
        """A text that changes whenever the manifest does; "" if there is no version."""
        if not self._prefixes:
            return ""
        with _asking(self.manifest):
            written = self._files.modified(self.manifest)
        return f"{self._prefixes[max(self._prefixes)]} {written.isoformat()}"

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """A bucket has no locks: `publish` finds out whether somebody else was faster."""
        yield

    @contextlib.contextmanager
    def incoming(self) -> Iterator[str]:
        """A folder of this machine to be made and filled, then given to `publish`."""
        with tempfile.TemporaryDirectory() as folder:
            yield os.path.join(folder, "incoming")

    def publish(self, incoming: str, version: int) -> None:
        """Uploads what was filled, then lets the manifest name it as the version.

        Raises:
          UserError: the bucket refuses, or somebody else pushed meanwhile.
        """
        prefixes = self._prefixes | {version: f"version-{version}-{uuid.uuid4().hex[:8]}"}
        target = f"{self.url}/{prefixes[version]}/{version}"
        files = [
            os.path.join(folder, name) for folder, _, names in os.walk(incoming) for name in names
        ]
        with _asking(target):
            self._files.put(
                files, [f"{target}/{os.path.relpath(file, incoming)}" for file in files]
            )
        condition = self._condition()
        if self._read_manifest() != self._prefixes:
            raise self._overtaken()
        manifest = {
            "version": version,
            "storage_uri": f"{self.url}/{prefixes[version]}",
            "versions": {str(number): prefixes[number] for number in sorted(prefixes)},
        }
        content = json.dumps(manifest, indent=2).encode()
        with _asking(self.manifest):
            try:
                self._files.pipe_file(self.manifest, content, **condition)
            except OSError as error:
                if condition and _is_refused_condition(error):
                    raise self._overtaken() from None
                if not condition or error.errno != errno.ENOSYS:
                    raise
                self._files.pipe_file(self.manifest, content)  # the store knows no conditions
        # Where the store knows no conditions, at least one of two writers notices.
        if self._read_manifest() != prefixes:
            raise self._overtaken()
        self._prefixes = prefixes

    def _overtaken(self) -> UserError:
        return UserError(f"{self.url}: somebody else pushed or rolled back meanwhile; run again")

    def _condition(self) -> dict[str, str]:
        """Lets the next write of the manifest fail if anybody writes it from now on.

        S3 (AWS since 2024, MinIO, SeaweedFS) knows both conditions. gcsfs offers only that the
        object must not be there yet; other drivers are asked for none.
        """
        protocols = (
            {self._files.protocol}
            if isinstance(self._files.protocol, str)
            else {*self._files.protocol}
        )
        if not protocols & {"s3", "gs"}:
            return {}
        with _asking(self.manifest):
            try:
                found = self._files.info(self.manifest)
            except FileNotFoundError:
                return {"mode": "create"}
        return {"IfMatch": found["ETag"]} if "s3" in protocols else {}

    def _read_manifest(self) -> dict[int, str]:
        """Version -> its prefix below the URL."""
        with _asking(self.manifest):
            try:
                content = self._files.cat_file(self.manifest)
            except FileNotFoundError:
                # No manifest: nothing was pushed yet. No bucket: nothing ever will be.
                bucket = self.url.split("://")[1].split("/")[0]
                try:
                    self._files.ls(bucket)
                except FileNotFoundError:
                    raise ConfigError(f"{self.url}: there is no bucket {bucket!r}") from None
                return {}
        try:
            prefixes = json.loads(content)["versions"]
            return {int(number): str(prefix) for number, prefix in prefixes.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                f"{self.manifest}: is no manifest of served versions; restore it, or delete it"
                " to begin anew"
            ) from None


def download(url: str, target: str) -> None:
    """Copies all files below a URL into a new folder.

    Raises:
      UserError: the bucket does not answer or refuses.
    """
    with _asking(url):
        files, root = _driver(url)
        found = files.find(root)
        files.get(found, [os.path.join(target, os.path.relpath(file, root)) for file in found])


def _is_refused_condition(error: OSError) -> bool:
    """Whether a store said that somebody else has written (HTTP 412, or 409: at this moment)."""
    response = getattr(error.__cause__, "response", None) or {}
    code = response.get("Error", {}).get("Code")
    return isinstance(error, FileExistsError) or code in (
        *("PreconditionFailed", "412"),
        *("ConditionalRequestConflict", "409"),
    )


def _driver(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, and the URL's path in it."""
    import fsspec  # not needed, and so not paid for, where models are served from a folder

    return fsspec.url_to_fs(url, use_listings_cache=False)


@contextlib.contextmanager
def _asking(url: str) -> Iterator[None]:
    """Drivers raise what they like: here it becomes one line that names the URL."""
    try:
        yield
    except UserError:
        raise
    except ImportError as error:  # fsspec names the package to install
        raise ConfigError(f"{url}: {error}") from None
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{url}: {type(error).__name__}: {reason}") from error
