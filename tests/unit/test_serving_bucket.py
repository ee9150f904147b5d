"""The serving place in a bucket: its manifest is written last, and names an exact version.

The bucket is fsspec's own one in memory; `tests/pipeline/test_bucket.py` has a real server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.conftest import write_config
from tests.unit.test_served_models import model
from tfx_recommender.components.serving import served_models
from tfx_recommender.foundation.errors import ConfigError, UserError
from tfx_recommender.kubeflow import compiler, local_runner
from tfx_recommender.pipeline.settings import config_file

PLACE = "memory://bucket/serving/small"
MANIFEST = "/bucket/serving/small/served.json"


@pytest.fixture
def bucket() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    files.mkdir("/bucket")
    yield files
    files.rm("/bucket", recursive=True)


def test_whoever_starts_at_the_manifest_sees_the_old_version_until_the_new_one_is_whole(
    tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The push dies at its first write, at its second, ... until none is left to die at."""
    old = served_models.push(model(tmp_path, "a"), PLACE, {})
    source = model(tmp_path, "b")
    writes, fatal = 0, 0

    def dying(write: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any, **kwargs: Any) -> None:
            nonlocal writes
            writes += 1
            if writes == fatal:
                raise KeyboardInterrupt
            write(*args, **kwargs)

        return call

    for name in ("put_file", "pipe_file"):
        monkeypatch.setattr(type(bucket), name, dying(getattr(type(bucket), name)))
    while True:
        writes, fatal = 0, fatal + 1
        try:
            new = served_models.push(source, PLACE, {})
            break
        except KeyboardInterrupt:
            assert served_models.served(PLACE) == old
            served_models.fetch(old, str(tmp_path / f"copy-{fatal}"))
    assert fatal - 1 == 4 + 1 + 1  # the model's files, its push record, the manifest
    assert served_models.served(PLACE) == new
    assert served_models.versions(PLACE) == [old.version, new.version]


def test_the_manifest_names_the_version_and_no_server_takes_a_prefix_for_one(
    tmp_path: Path, bucket: Any
) -> None:
    first, second = (served_models.push(model(tmp_path, name), PLACE, {}) for name in "ab")
    manifest = json.loads(bucket.cat(MANIFEST))
    assert manifest["version"] == second.version
    assert manifest["storage_uri"] == served_models.storage_uri(PLACE)
    assert second.path == f"{manifest['storage_uri']}/{second.version}"
    names = {path.rpartition("/")[2] for path in bucket.ls("/bucket/serving/small", detail=False)}
    assert not any(name.isdecimal() for name in names)
    assert names == {"served.json", *manifest["versions"].values()}
    # TensorFlow Serving finds one number below the storage URI.
    (only,) = bucket.ls(manifest["storage_uri"], detail=False)
    assert only.rpartition("/")[2] == str(second.version)
    served_models.rollback(PLACE, first.version)
    assert served_models.storage_uri(PLACE) != manifest["storage_uri"]


def test_a_manifest_that_was_put_back_is_not_in_the_state_it_had(
    tmp_path: Path, bucket: Any
) -> None:
    served_models.push(model(tmp_path, "a"), PLACE, {})
    before, manifest = served_models.state(PLACE), bucket.cat(MANIFEST)
    served_models.push(model(tmp_path, "b"), PLACE, {})
    bucket.pipe(MANIFEST, manifest)
    assert len(served_models.versions(PLACE)) == 1
    assert served_models.state(PLACE) != before


def test_two_pushes_at_once_do_not_overwrite_each_other(
    tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = type(bucket).put
    sources = [model(tmp_path, name) for name in "ab"]

    def overtaken(*args: Any, **kwargs: Any) -> None:
        monkeypatch.undo()
        served_models.push(sources[1], PLACE, {})
        put(*args, **kwargs)

    monkeypatch.setattr(type(bucket), "put", overtaken)
    with pytest.raises(UserError, match="somebody else pushed or rolled back meanwhile"):
        served_models.push(sources[0], PLACE, {})
    served = served_models.served(PLACE)
    assert served is not None
    assert served.digest == served_models.digest(sources[1])
    served_models.fetch(served, str(tmp_path / "copy"))


@pytest.mark.parametrize(
    "content", ["", "[]", '{"versions": ["version-1-a"]}', '{"versions": {"a": 1}}']
)
def test_a_damaged_manifest_is_refused_and_kept(bucket: Any, content: str) -> None:
    bucket.pipe(MANIFEST, content.encode())
    with pytest.raises(UserError, match=r"served\.json: is no manifest of served versions"):
        served_models.served(PLACE)
    assert bucket.cat(MANIFEST) == content.encode()


def test_a_version_whose_files_are_gone_is_named(tmp_path: Path, bucket: Any) -> None:
    pushed = served_models.push(model(tmp_path, "a"), PLACE, {})
    bucket.rm(pushed.path.removeprefix("memory:/"), recursive=True)
    with pytest.raises(UserError, match=rf"{pushed.path}: has no push record .*; restore it from"):
        served_models.served(PLACE)


@pytest.mark.parametrize(
    ("place", "kind", "expected"),
    [
        ("memory://nowhere/serving", ConfigError, "there is no bucket 'nowhere'"),
        ("abfs://bucket/serving", ConfigError, "Install adlfs"),
        ("memory://bucket/serving", ConfigError, "nothing is served yet"),
        ("/serving", ConfigError, "is a folder; servers find its largest version themselves"),
    ],
)
def test_what_has_no_storage_uri_is_told_why(
    bucket: Any, place: str, kind: type[UserError], expected: str
) -> None:
    with pytest.raises(kind, match=expected):
        served_models.storage_uri(place)


@pytest.mark.parametrize("url", ["s3://models", "s3://models/serving/", "gs://my.models-1/a_b/c"])
def test_the_config_takes_a_place_in_a_bucket(tmp_path: Path, url: str) -> None:
    path = str(write_config(tmp_path))
    loaded = config_file.load(path, [f"serving_root={url}"])
    assert loaded.serving_directory == f"{url.rstrip('/')}/small"


@pytest.mark.parametrize(
    "url",
    ["http://models/b", "s3://", "s3:///a", "s3://models/../b", "s3://models/..", "s3://models//b",
     "gs://models/./b", "s3://models/b?c", "s3://models/%2e%2e/b", "file:///models"],
)  # fmt: skip
def test_s6_a_place_that_could_leave_its_bucket_is_refused(tmp_path: Path, url: str) -> None:
    path = str(write_config(tmp_path))
    with pytest.raises(ConfigError, match=r"serving_root: .* is a URL; give a folder, s3://"):
        config_file.load(path, [f"serving_root={url}"])


def test_a_bucket_is_not_mounted_and_needs_a_network(tmp_path: Path) -> None:
    path = str(write_config(tmp_path))
    image = f"registry.example/image@sha256:{'0' * 64}"
    claim = "kubeflow.serving_claim={name: serving, mount_path: /serving}"
    overrides = [f"kubeflow.image={image}", "serving_root=s3://models"]
    with pytest.raises(ConfigError, match=r"kubeflow\.serving_claim: serving_root is in a bucket"):
        compiler.compile_pipeline(config_file.load(path, [*overrides, claim]))
    with pytest.raises(ConfigError, match="give a folder: --set serving_root=FOLDER"):
        local_runner.run(config_file.load(path, overrides), "image", {})
