"""S9: pushes and rollbacks of several processes to one folder never tear a version.

What a push refuses for the sake of others is here too: something else is served than what it
compared with.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.unit.test_served_models import PUSHER, model
from tfx_recommender.components.serving import folder as serving_folder
from tfx_recommender.components.serving import served_models
from tfx_recommender.foundation.errors import UserError

SECONDS = 6

_BUSY = """
import sys, time
from tfx_recommender.components.serving import served_models
from tfx_recommender.foundation.errors import ConfigError
source, place, until = sys.argv[1], sys.argv[2], float(sys.argv[3])
done = 0
while time.time() < until:
    if source == "rollback":
        try:
            served_models.rollback(place, served_models.versions(place)[0])
        except ConfigError:  # it is what is served
            pass
    else:
        served_models.push(source, place, {})
    done += 1
    time.sleep(0.06)  # the lock is asked for every 50 ms
print(done)
"""


def test_s9_pushers_a_rollback_and_kills_leave_whole_versions_only(tmp_path: Path) -> None:
    """Two roots reach the place by different paths, a third pusher is killed again and again."""
    place, other = tmp_path / "serving", tmp_path / "mounted"
    sources = [model(tmp_path, name, files=30) for name in "abc"]
    first = served_models.push(sources[0], str(place), {})
    other.symlink_to(place)
    until = time.time() + SECONDS
    work = [(sources[0], place), (sources[1], other), ("rollback", place)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _BUSY, str(source), str(folder), str(until)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for source, folder in work
    ]
    kills = 0
    while time.time() < until:
        with subprocess.Popen(
            [sys.executable, "-c", PUSHER, sources[2], str(other)],
            stdout=subprocess.PIPE,
            text=True,
        ) as victim:
            assert victim.stdout is not None
            victim.stdout.readline()
            time.sleep(0.1 + 0.05 * kills)
            victim.kill()
        kills += 1
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert int(output)
    numbers = served_models.versions(str(place))
    assert numbers[0] == first.version
    assert len(numbers) > 10
    assert [str(number) for number in numbers] == sorted(
        name for name in os.listdir(place) if name.isdecimal()
    )
    whole = {served_models.digest(source) for source in sources}
    for number in numbers:
        found = served_models.served(str(place), number)  # checks every file
        assert found is not None
        assert found.digest in whole
    served_models.push(sources[0], str(place), {})
    assert {name for name in os.listdir(place) if not name.isdecimal()} == {".lock"}


def test_s9_a_living_push_is_waited_for_and_loses_nothing(tmp_path: Path) -> None:
    place, inside, go_on = str(tmp_path / "serving"), threading.Event(), threading.Event()
    sources = [model(tmp_path, name) for name in "ab"]

    def linger(copy: str) -> None:
        inside.set()
        assert go_on.wait(60)
        assert served_models.digest(copy) == served_models.digest(sources[0])

    slow = threading.Thread(
        target=served_models.push, args=(sources[0], place, {}), kwargs={"try_out": linger}
    )
    fast = threading.Thread(target=served_models.push, args=(sources[1], place, {}))
    slow.start()
    assert inside.wait(60)
    fast.start()
    time.sleep(0.3)
    assert served_models.versions(place) == []
    go_on.set()
    slow.join(60)
    fast.join(60)
    found = [served_models.served(place, number) for number in served_models.versions(place)]
    assert [one.digest for one in found if one] == [served_models.digest(s) for s in sources]


def test_s9_who_waits_too_long_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = str(tmp_path / "serving")
    monkeypatch.setattr(serving_folder, "PATIENCE_SECONDS", 0.1)
    with (
        serving_folder.ServingFolder(place).exclusive(),
        pytest.raises(UserError, match="another push or rollback has been at work there for"),
    ):
        served_models.push(model(tmp_path, "a"), place, {})


@pytest.mark.parametrize("name", [".incoming-0123456789abcdef", ".incoming-othermachine-0123"])
def test_s9_what_another_machine_left_is_removed_only_when_no_push_can_take_as_long(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is the name that an older release gives."""
    place = tmp_path / "serving"
    (place / name / "variables").mkdir(parents=True)
    (place / name / "variables" / "0").write_text("0")
    served_models.push(model(tmp_path, "a"), str(place), {})
    assert (place / name / "variables" / "0").exists()
    monkeypatch.setattr(serving_folder, "_ABANDONED_SECONDS", 0.0)
    time.sleep(0.01)
    served_models.push(model(tmp_path, "b"), str(place), {})
    assert not (place / name).exists()


@pytest.mark.parametrize("act", ["pushed", "rolled back", "pushed the first"])
def test_s9_nothing_is_pushed_over_what_it_was_not_compared_with(tmp_path: Path, act: str) -> None:
    place, candidate = str(tmp_path / "serving"), model(tmp_path, "candidate")
    replaces = ""
    if act != "pushed the first":
        for name in "ab":
            replaces = served_models.push(model(tmp_path, name), place, {}).digest
    if act == "rolled back":
        served_models.rollback(place)
    else:
        served_models.push(model(tmp_path, "better"), place, {})
    before = served_models.served(place)
    with pytest.raises(UserError, match=r"somebody pushed or rolled back meanwhile.*; run again"):
        served_models.push(candidate, place, {}, replaces=replaces)
    assert served_models.served(place) == before


def test_s9_what_was_withdrawn_since_the_run_began_stays_withdrawn(tmp_path: Path) -> None:
    """A push and its rollback between leave the same model served, and one model more withdrawn."""
    place = str(tmp_path / "serving")
    served = served_models.push(model(tmp_path, "a"), place, {})
    source = model(tmp_path, "b")
    bad = served_models.push(source, place, {})
    served_models.rollback(place)
    new = served_models.push(
        model(tmp_path, "c"), place, {"withdrawn": ["x"]}, replaces=served.digest
    )
    assert new.record["withdrawn"] == sorted([bad.digest, "x"])
    with pytest.raises(UserError, match="withdrew this very model; nothing was pushed"):
        served_models.push(source, place, {}, replaces=new.digest, expected_digest=bad.digest)
