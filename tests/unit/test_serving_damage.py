"""S8: nothing damaged or foreign in a serving folder is loaded, waited for, or passed in silence.

Each case ends in one line that says what is wrong and what to do, and rollback is a way out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_served_models import model
from tfx_recommender.components.serving import served_models
from tfx_recommender.foundation.errors import ConfigError, UserError

# A process of its own: what hangs on a pipe cannot be told to stop from inside.
_SERVED = """
import sys
from tfx_recommender.components.serving import served_models
from tfx_recommender.foundation.errors import UserError
try:
    print(served_models.served(sys.argv[1]).version)
except UserError as error:
    print(error)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A serving folder with two versions: models a and b."""
    folder = tmp_path / "serving"
    for name in "ab":
        served_models.push(model(tmp_path, name), str(folder), {"model": name})
    return folder


def newest(place: Path) -> Path:
    return place / str(served_models.versions(str(place))[-1])


def ask(place: Path) -> str:
    """What is served, or why not; fails where the answer takes a minute."""
    command = [sys.executable, "-c", _SERVED, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    (line,) = done.stdout.splitlines()
    return line


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes a JSON file and leaves it well-formed."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def flip(path: Path) -> None:
    """Another byte in the middle, the same size and time."""
    content, times = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped byte": (lambda v: flip(v / "variables/1"), r"\(variables/1 differs\)"),
    "a cut file": (lambda v: os.truncate(v / "saved_model.pb", 0), r"\(saved_model.pb differs\)"),
    "a missing file": (lambda v: (v / "variables/0").unlink(), r"\(variables/0 is missing\)"),
    "missing variables": (
        lambda v: shutil.rmtree(v / "variables"),
        r"\(variables/0 is missing, variables/1 is missing, variables/2 is missing\)",
    ),
    "a file too many": (lambda v: (v / "x").write_text(""), r"\(x is new\)"),
    "a pipe beside": (lambda v: pipe(v / "pipe"), r"pipe in it is a link, a pipe or a device"),
    "a pipe for a file": (lambda v: pipe(v / "saved_model.pb"), r"a link, a pipe or a device"),
    "a link out": (lambda v: (v / "passwd").symlink_to("/etc/passwd"), r"passwd in it is a link"),
    "a linked folder": (lambda v: (v / "etc").symlink_to("/etc"), r"etc in it is a link"),
    "half a record": (
        lambda v: os.truncate(v / served_models.PUSH_RECORD, 200),
        r"its push record \(assets.extra/push.json\) is damaged",
    ),
    "an altered record": (
        lambda v: edit(v / served_models.PUSH_RECORD, lambda r: r.update(withdrawn=[])),
        r"its push record \(assets.extra/push.json\) is damaged",
    ),
    "a record that is a list": (
        lambda v: (v / served_models.PUSH_RECORD).write_text("[1]"),
        "is damaged",
    ),
    "no record": (lambda v: (v / served_models.PUSH_RECORD).unlink(), "has no push record"),
    "a pipe for a record": (lambda v: pipe(v / served_models.PUSH_RECORD), "has no push record"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_s8_a_damaged_served_version_is_named_with_advice_and_rollback_is_the_way_out(
    place: Path, damage: str
) -> None:
    first, _ = served_models.versions(str(place))
    version = newest(place)
    hurt, expected = DAMAGES[damage]
    hurt(version)
    line = ask(place)
    assert line.startswith(f"{version}: ")
    with pytest.raises(UserError, match=expected):
        served_models.served(str(place))
    advice = f"roll back (tfx-recommender rollback CONFIG --to VERSION; there are: {first})"
    assert advice in line
    now = served_models.rollback(str(place), first)
    assert served_models.served(str(place)) == now
    assert now.version > int(version.name)
    assert now.record["model"] == "a"


def test_s8_a_flipped_byte_of_any_file_is_noticed(place: Path) -> None:
    """The push record's own bytes too."""
    version = newest(place)
    paths = [path for path in version.rglob("*") if path.is_file()]
    assert len(paths) == 5
    for path in paths:
        before = path.read_bytes()
        for position in range(0, len(before), 7):
            path.write_bytes(
                before[:position] + bytes([before[position] ^ 1]) + before[position + 1 :]
            )
            with pytest.raises(UserError, match=rf"^{version}: "):
                served_models.served(str(place))
        path.write_bytes(before)
    assert served_models.served(str(place)) is not None


def command(small: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit code and lines on standard error of the command line."""
    path = Path(sys.executable).with_name("tfx-recommender")
    name, *rest = arguments
    done = subprocess.run(
        [path, name, small / "config.yaml", *rest],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr.splitlines()


def test_s8_neither_run_nor_recommend_touches_a_damaged_served_model(small: Path) -> None:
    """Nor do they wait for a pipe. Rolled back, the place is asked for its answer again."""
    place = small / "serving" / "small"
    for name in "ab":
        served_models.push(model(small, name), str(place), {"model": name})
    version = newest(place)
    pipe(version / "variables" / "1")
    before = sorted(place.iterdir())
    for arguments in (("run",), ("recommend", "--user", "u1")):
        code, lines = command(small, *arguments)
        assert code == 1
        assert f"{version}: variables/1 in it is a link, a pipe or a device" in lines[-1]
        assert "roll back (tfx-recommender rollback CONFIG --to VERSION; there are: " in lines[-1]
    assert sorted(place.iterdir()) == before
    first = served_models.versions(str(place))[0]
    assert command(small, "rollback", "--to", str(first))[0] == 0
    served = served_models.served(str(place))
    assert served is not None
    assert served.record["model"] == "a"


FOREIGN: dict[str, Callable[[Path], object]] = {
    "9999999999 empty": lambda place: (place / "9999999999").mkdir(),
    "9999999999 a file": lambda place: (place / "9999999999").write_text("1"),
    "9999999999 a link": lambda place: (place / "9999999999").symlink_to(newest(place)),
    "9999999999 a copy": lambda place: shutil.copytree(newest(place), place / "9999999999"),
    "9999999999 a pipe": lambda place: os.mkfifo(place / "9999999999"),
    "9999999999 a model": lambda place: shutil.copytree(
        place.parent / "model-a", place / "9999999999"
    ),
    "٩٩٩٩٩٩٩٩٩٩ digits that are not ASCII": lambda place: (place / "٩٩٩٩٩٩٩٩٩٩").mkdir(),
    "00009999999999 zeros in front": lambda place: (place / "00009999999999").mkdir(),
    f"{2**63 - 2} nearly the last number": lambda place: (place / str(2**63 - 2)).mkdir(),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_s8_what_others_put_above_the_served_version_stops_with_advice_and_is_never_loaded(
    place: Path, name: str
) -> None:
    _, second = served_models.versions(str(place))
    FOREIGN[name](place)
    entry = place / name.split(maxsplit=1)[0]
    line = ask(place)
    assert line.startswith(f"{entry}: ")
    assert f"roll back (tfx-recommender rollback CONFIG --to VERSION; there are: {second}" in line
    assert line.endswith(", or move it out of the serving place")
    assert second in served_models.versions(str(place))
    with pytest.raises(UserError, match=str(entry)):
        served_models.rollback(str(place))  # which one was served is not for us to say
    now = served_models.rollback(str(place), second)
    assert now.version == int(entry.name) + 1
    assert served_models.served(str(place)) == now
    assert now.record["model"] == "b"


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 10**200], ids=["last", "next", "huge"])
def test_s8_the_last_version_number_of_all_is_to_be_moved_away(place: Path, number: int) -> None:
    first, _ = served_models.versions(str(place))
    (place / str(number)).mkdir()
    assert "; move it out of the serving place" in ask(place)
    with pytest.raises(UserError, match=rf"{number}: leaves no larger version number; move it out"):
        served_models.rollback(str(place), first)
    (place / str(number)).rmdir()
    assert served_models.rollback(str(place), first).record["model"] == "a"


def test_s8_what_lies_below_the_served_version_is_passed_over_with_a_remark(place: Path) -> None:
    first, second = served_models.versions(str(place))
    os.truncate(place / str(first) / served_models.PUSH_RECORD, 100)
    (place / "7").mkdir()
    (place / "notes").mkdir()
    served = served_models.served(str(place))
    assert served is not None
    assert served.version == second
    foreign, damaged = served_models.remarks(str(place))
    assert foreign == (
        f"{place}/7: has no push record (assets.extra/push.json), without which nothing is served;"
        " it is passed over; move it away"
    )
    assert damaged.startswith(f"{place}/{first}: its push record (assets.extra/push.json) is dam")
    assert damaged.endswith("; it is passed over; restore it from a backup, or remove it")
    with pytest.raises(ConfigError, match="no version before the served one"):
        served_models.rollback(str(place))
    with pytest.raises(ConfigError, match=rf"--to 7: has no sound push record .*are: {second}$"):
        served_models.rollback(str(place), 7)


def test_s8_a_place_with_nothing_but_a_foreign_folder_is_no_empty_place(tmp_path: Path) -> None:
    shutil.copytree(model(tmp_path, "a"), tmp_path / "serving" / "1")
    with pytest.raises(UserError, match=r"1: has no push record .*; move it out of the serving"):
        served_models.served(str(tmp_path / "serving"))
    assert served_models.versions(str(tmp_path / "serving")) == []


def test_what_an_older_release_pushed_is_served_rolled_back_to_and_checked(place: Path) -> None:
    """Its push records list no files and have no checksum."""
    for version in served_models.versions(str(place)):

        def age(record: dict[str, Any]) -> None:
            del record["files"], record["checksum"]

        edit(place / str(version) / served_models.PUSH_RECORD, age)
    served = served_models.served(str(place))
    assert served is not None
    assert served.record["model"] == "b"
    assert served_models.rollback(str(place)).record["model"] == "a"
    flip(newest(place) / "saved_model.pb")
    with pytest.raises(UserError, match="not those that were pushed"):
        served_models.served(str(place))


def test_s5_a_withdrawn_model_stays_withdrawn_when_the_push_record_is_damaged(place: Path) -> None:
    first, second = served_models.versions(str(place))
    bad = served_models.served(str(place), second)
    assert bad is not None
    served_models.rollback(str(place))
    os.truncate(newest(place) / served_models.PUSH_RECORD, 300)
    with pytest.raises(UserError, match=r"push record .* is damaged"):
        served_models.served(str(place))  # so no run begins
    with pytest.raises(ConfigError, match="not known what was withdrawn; say which version"):
        served_models.rollback(str(place))
    now = served_models.rollback(str(place), first)
    assert bad.digest in now.record["withdrawn"]


def test_s5_rollback_without_a_number_never_goes_back_to_what_was_withdrawn(place: Path) -> None:
    back = served_models.rollback(str(place))
    with pytest.raises(ConfigError, match="no version before the served one"):
        served_models.rollback(str(place))  # a is served; b is withdrawn
    os.truncate(newest(place) / "saved_model.pb", 0)
    again = served_models.rollback(str(place))
    assert (again.digest, again.record["model"]) == (back.digest, "a")
    assert served_models.served(str(place)) == again


def test_a_full_disk_is_told_in_one_line_and_changes_nothing(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = served_models.served(str(place))
    monkeypatch.setattr(shutil, "copytree", _no_space)
    with pytest.raises(UserError, match=r"could not be written \(No space left on device\)"):
        served_models.push(str(tmp_path / "model-a"), str(place), {})
    assert served_models.served(str(place)) == before
    assert not [name for name in os.listdir(place) if name.startswith(".incoming-")]


def _no_space(source: str, target: str) -> None:
    os.mkdir(target)
    raise shutil.Error([(source, target, "No space left on device")])
