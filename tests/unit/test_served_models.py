"""S2, S3, S5: the serving folder is all or nothing, versions only increase, rollback lasts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfx_recommender.components import served_models
from tfx_recommender.components.errors import ConfigError


def model(folder: Path, content: str, files: int = 3) -> str:
    path = folder / f"model-{content}"
    (path / "variables").mkdir(parents=True)
    for number in range(files):
        (path / "variables" / f"{number}").write_text(f"{content} {number}")
    (path / "saved_model.pb").write_text(content)
    return str(path)


def test_s3_versions_increase_also_when_the_clock_steps_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = str(tmp_path / "serving")
    clock = iter([1000.0, 1000.0, 10.0])
    monkeypatch.setattr(served_models.time, "time", lambda: next(clock))
    pushed = [served_models.push(model(tmp_path, name), serving, {}) for name in "abc"]
    assert [one.version for one in pushed] == [1000, 1001, 1002]


def test_s3_a_push_record_names_its_own_bytes(tmp_path: Path) -> None:
    serving, source = str(tmp_path / "serving"), model(tmp_path, "a")
    pushed = served_models.push(source, serving, {"model": "mf"})
    record = json.loads(Path(pushed.path, served_models.PUSH_RECORD).read_text())
    assert record["model"] == "mf"
    assert record["version"] == pushed.version == int(Path(pushed.path).name)
    assert record["digest"] == served_models.digest(source) == served_models.digest(pushed.path)
    Path(pushed.path, "saved_model.pb").write_text("b")
    assert served_models.digest(pushed.path) != record["digest"]


def test_s5_rollback_lasts_and_withdraws_what_it_replaced(tmp_path: Path) -> None:
    serving = str(tmp_path / "serving")
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
    tmp_path: Path, to: int | None, expected: str
) -> None:
    serving = str(tmp_path / "serving")
    served_models.push(model(tmp_path, "a"), serving, {})
    before = served_models.state(serving)
    with pytest.raises(ConfigError, match=expected):
        served_models.rollback(serving, to)
    assert served_models.state(serving) == before


def test_a_wiped_or_missing_folder_never_has_a_state_it_had_before(tmp_path: Path) -> None:
    serving = str(tmp_path / "serving")
    assert served_models.state(serving) != served_models.state(serving)
    served_models.push(model(tmp_path, "a"), serving, {})
    assert served_models.state(serving) == served_models.state(serving)


_PUSHER = """
import sys
from tfx_recommender.components import served_models
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
        command = [sys.executable, "-c", _PUSHER, source, serving]
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
    assert all(name.isdecimal() for name in os.listdir(serving))
