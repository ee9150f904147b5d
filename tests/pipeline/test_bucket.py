"""The serving place in a bucket of a real S3 server: SeaweedFS, which Kubeflow Pipelines ships too.

fsspec's own driver (s3fs) speaks to it. gs:// has no such test.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import tensorflow as tf
import yaml

from tests.unit.test_served_models import PUSHER, model
from tfx_recommender.components.serving import served_models
from tfx_recommender.foundation.errors import UserError
from tfx_recommender.pipeline import commands
from tfx_recommender.pipeline.settings import config_file

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
# As KServe's storage initializer calls its downloader, in a process of its own.
INITIALIZER = """
import sys
from kserve_storage import Storage
Storage.download_files(sys.argv[1:2], sys.argv[2:])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server with a bucket `models`; the environment says where it is and how to sign."""
    folder = tmp_path_factory.mktemp("seaweedfs")
    ports = free_ports(8)
    settings = {f"{part}.{kind}": ports.pop() for part in ("master", "volume", "filer", "s3")
                for kind in ("port", "port.grpc")}  # fmt: skip
    command = [str(BIN / "weed"), "server", "-s3", f"-dir={folder}", "-ip=127.0.0.1"]
    command += [f"-{name}={value}" for name, value in settings.items()]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "key")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{settings['s3.port']}")
        with (
            open(folder / "log", "w") as log,
            subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process,
        ):
            deadline = time.monotonic() + 120
            while True:
                try:
                    socket.create_connection(("127.0.0.1", settings["s3.port"]), 1).close()
                    fsspec.filesystem("s3").mkdir("models")
                    break
                except OSError:
                    assert process.poll() is None, (folder / "log").read_text()
                    assert time.monotonic() < deadline, (folder / "log").read_text()
                    time.sleep(0.2)
            yield
            process.kill()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def test_a_reader_never_sees_part_of_a_model_whenever_the_push_is_killed(
    server: None, tmp_path: Path
) -> None:
    source, place = model(tmp_path, "a", files=40), "s3://models/killed"

    def unnamed() -> int:
        """Prefixes of uploads that the manifest does not name (yet)."""
        bucket = fsspec.filesystem("s3")
        bucket.invalidate_cache()
        return len(bucket.glob(f"{place}/version-*")) - len(served_models.versions(place))

    left = 0
    for attempt in range(3):
        command = [sys.executable, "-c", PUSHER, source, place]
        with subprocess.Popen(command) as process:
            while unnamed() <= left:
                assert process.poll() is None
            process.kill()
        left = unnamed()
        for number in served_models.versions(place):
            served = served_models.served(place, number)
            assert served is not None
            served_models.fetch(served, str(tmp_path / f"{attempt}-{number}"))  # checks the bytes
    assert left, "no kill fell into a push; the test proved nothing"
    last = served_models.push(source, place, {})
    assert served_models.served(place) == last


@pytest.mark.parametrize("is_first", [True, False], ids=["the first push", "a later push"])
def test_s9_who_writes_the_manifest_a_moment_later_is_refused_by_the_store(
    server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    """Between the last look at the manifest and its write, another push begins and ends."""
    place = f"s3://models/raced-{is_first}"
    sources = [model(tmp_path, name) for name in "abc"]
    if not is_first:
        served_models.push(sources[0], place, {})
    # s3fs makes the method on each object, and fsspec keeps one object for the same arguments.
    bucket = fsspec.filesystem("s3", use_listings_cache=False)
    pipe_file = bucket.pipe_file

    def overtaken(*args: Any, **kwargs: Any) -> None:
        monkeypatch.undo()
        served_models.push(sources[1], place, {})
        pipe_file(*args, **kwargs)

    monkeypatch.setattr(bucket, "pipe_file", overtaken)
    with pytest.raises(UserError, match="somebody else pushed or rolled back meanwhile; run"):
        served_models.push(sources[2], place, {})
    served = served_models.served(place)
    assert served is not None
    assert served.digest == served_models.digest(sources[1])
    assert len(served_models.versions(place)) == 2 - is_first


def test_keys_that_are_refused_are_told_in_one_line(
    server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(UserError, match=r"^s3://models/x/served\.json: PermissionError: "):
        served_models.served("s3://models/x")
    fsspec.filesystem("s3").clear_instance_cache()


def test_a_pipeline_lives_with_its_models_in_a_bucket(server: None, small: Path) -> None:
    path = small / "config.yaml"
    path.write_text(path.read_text().replace(str(small / "serving"), "s3://models/serving"))
    place = "s3://models/serving/small"

    def run() -> dict[str, Any]:
        commands.run(config_file.load(str(path)), verbose=False, rebase_baseline=False)
        return json.loads((small / "root" / "summary.json").read_text())

    def command(*arguments: str) -> str:
        return subprocess.run(
            [BIN / "tfx-recommender", *arguments[:-1], str(path), *arguments[-1].split()],
            check=True, capture_output=True, text=True, env=os.environ,
        ).stdout  # fmt: skip

    first = run()
    assert first["status"] == "pushed"
    served = served_models.served(place)
    assert served is not None
    assert served.version == first["pushed_version"]

    # A disappointing model, and what the operator does then.
    served_models.fetch(served, str(small / "other"))
    (small / "other" / "assets.extra" / "note").write_text("another model")
    bad = served_models.push(str(small / "other"), place, served.record)
    command("rollback", "")
    back = served_models.served(place)
    assert back is not None
    assert back.version > bad.version
    assert (back.digest, back.record["withdrawn"]) == (served.digest, [bad.digest])

    answer = command("recommend", "--user u1 -k 3")
    assert answer.startswith(f"user u1 (version {back.version})\n")
    assert answer.count("Títle") == 3
    patch = yaml.safe_load(command("kubeflow", "serving-patch", ""))
    uri = patch["spec"]["predictor"]["model"]["storageUri"]
    assert f"{uri}/{back.version}" == back.path

    # What the patch makes KServe do: its storage initializer fetches that URI, and nothing else of
    # the place, into the folder below which TensorFlow Serving looks for numbers.
    models = small / "mnt" / "models"
    subprocess.run([sys.executable, "-c", INITIALIZER, uri, models], check=True, env=os.environ)
    assert os.listdir(models) == [str(back.version)]
    assert served_models.digest(str(models / str(back.version))) == back.digest
    best = tf.saved_model.load(str(models / str(back.version))).signatures["recommend"](
        user_id=tf.constant(["u1"]),
        k=tf.constant(3),
        liked_item_ids=tf.constant([[]], tf.string),
    )
    for item, score in zip(best["item_id"].numpy()[0], best["score"].numpy()[0], strict=True):
        assert f"{score:9.4f}  {item.decode():<12}" in answer

    second = run()
    assert second["status"] == "unchanged"
    assert second["baseline"]["model"] == f"mf, served version {back.version}"
    assert "Trainer-mf" in second["cached_nodes"]
    assert not (small / "s3:").exists()
