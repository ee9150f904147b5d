"""S2, S3, S5: a push is all or nothing, versions only increase, rollback lasts.

In a folder, and in a bucket: fsspec's own one in memory. `test_serving_bucket.py` has the rest of
the bucket.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tfx_recommender.components.serving import served_models
from tfx_recommender.foundation.errors import ConfigError, UserError


def model(folder: Path, content: str, files: int = 3) -> str:
    path = folder / f"model-{content}"
    (path / "variables").mkdir(parents=True)
    for number in range(files):
        (path / "variables" / f"{number}").write_text(f"{content} {number}")
    (path / "saved_model.pb").write_text(content)
    return str(path)


@pytest.fixture(params=["folder", "bucket"])
def serving(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "serving")
        return
    bucket = fsspec.filesystem("memory")
    bucket.mkdir("/bucket")
    yield "memory://bucket/serving"
    bucket.rm("/bucket", recursive=True)


def test_s3_versions_increase_also_when_the_clock_steps_back(
    tmp_path: Path, serving: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([1000.0, 1000.0, 10.0])
    monkeypatch.setattr(served_models.time, "time", lambda: next(clock))
    pushed = [served_models.push(model(tmp_path, name), serving, {}) for name in "abc"]
    assert [one.version for one in pushed] == [1000, 1001, 1002]


def test_s3_a_push_record_names_its_own_bytes(tmp_path: Path, serving: str) -> None:
    source, copy = model(tmp_path, "a"), tmp_path / "copy"
    pushed = served_models.push(source, serving, {"model": "mf"})
    assert served_models.served(serving) == pushed
    served_models.fetch(pushed, str(copy))
    record = json.loads((copy / served_models.PUSH_RECORD).read_text())
    assert record == pushed.record
    assert record["model"] == "mf"
    assert record["version"] == pushed.version == int(pushed.path.rpartition("/")[2])
    assert record["digest"] == pushed.digest == served_models.digest(source)
    assert served_models.digest(str(copy)) == pushed.digest
    (copy / "saved_model.pb").write_text("b")
    assert served_models.digest(str(copy)) != pushed.digest


def test_s3_bytes_that_are_not_those_of_the_record_are_refused(
    tmp_path: Path, serving: str
) -> None:
    pushed = served_models.push(model(tmp_path, "a"), serving, {})
    with fsspec.open(f"{pushed.path}/saved_model.pb", "w") as file:
        file.write("b")
    with pytest.raises(UserError, match="not those that were pushed"):
        served_models.fetch(pushed, str(tmp_path / "copy"))


def test_s5_rollback_lasts_and_withdraws_what_it_replaced(tmp_path: Path, serving: str) -> None:
    first, second = (served_models.push(model(tmp_path, n), serving, {}) for n in "ab")
    now = served_models.rollback(serving)
    assert now.version > second.version
    assert now.digest == first.digest
    current = served_models.served(serving)
    assert current is not None
    assert current.version == now.version
    assert current.record["withdrawn"] == [second.digest]
    again = served_models.rollback(serving, second.version)
    assert again.digest == second.digest
    assert again.record["withdrawn"] == [first.digest]


@pytest.mark.parametrize(("to", "expected"), [(None, "no version before"), (5, "no such version")])
def test_s5_an_impossible_rollback_is_refused_and_changes_nothing(
    tmp_path: Path, serving: str, to: int | None, expected: str
) -> None:
    served_models.push(model(tmp_path, "a"), serving, {})
    before = served_models.state(serving)
    with pytest.raises(ConfigError, match=expected):
        served_models.rollback(serving, to)
    assert served_models.state(serving) == before


def test_an_empty_place_never_has_a_state_it_had_before(tmp_path: Path, serving: str) -> None:
    assert served_models.state(serving) != served_models.state(serving)
    source = model(tmp_path, "a")
    served_models.push(source, serving, {})
    before = served_models.state(serving)
    assert served_models.state(serving) == before
    served_models.push(source, serving, {})
    assert served_models.state(serving) != before


PUSHER = """
import sys
from tfx_recommender.components.serving import served_models
print("ready", flush=True)
while True:
    served_models.push(sys.argv[1], sys.argv[2], {})
"""


def test_s2_a_reader_never_sees_part_of_a_model_whenever_the_push_is_killed(
    tmp_path: Path,
) -> None:
    source, serving = model(tmp_path, "a", files=40), str(tmp_path / "serving")
    whole = served_models.digest(source)
    interrupted = 0
    for delay in (0.0, 0.01, 0.02, 0.03, 0.05):
        command = [sys.executable, "-c", PUSHER, source, serving]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(delay)
            for number in served_models.versions(serving):
                path = os.path.join(serving, str(number))
                assert served_models.digest(path) == whole
            process.send_signal(signal.SIGKILL)
        if os.path.isdir(serving):  # on a busy machine the kill may come before it is made
            interrupted += any(not name.isdecimal() for name in os.listdir(serving))
        for number in served_models.versions(serving):
            assert served_models.digest(os.path.join(serving, str(number))) == whole
    assert interrupted, "no kill fell into a push; the test proved nothing"
    served_models.push(source, serving, {})
    assert all(name.isdecimal() for name in os.listdir(serving) if name != ".lock")
