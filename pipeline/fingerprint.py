"""Fingerprints of data and code: what makes a cached result stale."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
from collections.abc import Iterable

from packaging.requirements import Requirement

from tfx_recommender.components.ratings_example_gen import source_file
from tfx_recommender.components.ratings_example_gen.config import Data
from tfx_recommender.foundation.source import meaning

# What runs inside nodes, and what sets them up. The rest reaches nodes as execution properties,
# which are a part of TFX's cache key themselves.
_CODE = (
    *("foundation", "transform", "trainer", "components"),
    *("pipeline/dag.py", "pipeline/local/beam_memo.py", "pipeline/local/preload.py"),
)
_PACKAGE = "tfx-recommender"


def of_data_and_code(data: Data, threads: int | None = None) -> str:
    """SHA-256 of the data files' bytes, then that of what our code does and what it runs on.

    Sizes and times of files are not used: TFX's own fingerprint misses a changed digit. Comments
    and docstrings do not count, nor do settings that change no result. The data come first, and by
    themselves: ingestion compares them with what it reads.

    Args:
      data: which files.
      threads: TensorFlow's in each node: the order of sums depends on it. None: not known here.

    Raises:
      BadDataError: a file cannot be read.
    """
    hasher = hashlib.sha256()
    for path in _code_files():
        with open(path, encoding="utf-8") as code:
            hasher.update(meaning(code.read()).encode())
    for line in [*libraries(), f"threads {threads}"]:
        hasher.update(f"{line}\n".encode())
    return source_file.fingerprint(data.paths()) + hasher.hexdigest()


def libraries() -> list[str]:
    """`name version` of every installed distribution that our package requires, directly or not."""
    found: dict[str, str] = {}
    waiting: list[tuple[str, tuple[str, ...]]] = [(_PACKAGE, ())]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of an extra, or of another platform
        found[name] = distribution.version
        for requirement in _requirements(distribution.requires or (), extras):
            if requirement not in seen:
                seen.add(requirement)
                waiting.append(requirement)
    del found[_PACKAGE]  # what our code does is known better than by its version
    return [f"{name} {version}" for name, version in sorted(found.items())]


def _requirements(
    lines: Iterable[str], extras: tuple[str, ...]
) -> Iterable[tuple[str, tuple[str, ...]]]:
    for line in lines:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            name = re.sub(r"[-_.]+", "-", requirement.name).lower()
            yield name, tuple(sorted(requirement.extras))


def _code_files() -> list[str]:
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    found = []
    for part in (os.path.join(top, *part.split("/")) for part in _CODE):
        if os.path.isfile(part):
            found.append(part)
        for folder, _, names in os.walk(part):
            found += [os.path.join(folder, name) for name in names if name.endswith(".py")]
    return sorted(found)
