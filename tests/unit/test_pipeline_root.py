"""C3, C4, C7: the pipeline root has one writer, one store, and keeps what it cannot read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tfx_recommender.foundation.errors import ConfigError, UserError
from tfx_recommender.pipeline.local import pipeline_root

_HOLDER = """
import sys, time
from tfx_recommender.pipeline.local import pipeline_root
with pipeline_root.exclusive(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_c4_a_second_writer_is_sent_away_and_a_dead_one_leaves_no_lock(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    command = [sys.executable, "-c", _HOLDER, root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match="another run is at work"),
            pipeline_root.exclusive(root),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
    with pipeline_root.exclusive(root):
        pass


def test_c3_each_store_has_an_artifact_root_of_its_own(tmp_path: Path) -> None:
    root = str(tmp_path)
    first = pipeline_root.artifact_root(root)
    assert pipeline_root.artifact_root(root) == first
    os.unlink(pipeline_root.store_path(root))
    assert pipeline_root.artifact_root(root) != first


def test_c7_a_corrupt_store_is_refused_and_kept(tmp_path: Path) -> None:
    store = Path(pipeline_root.store_path(str(tmp_path)))
    store.write_bytes(b"no database, but somebody's bytes" * 100)
    before = store.read_bytes()
    with pytest.raises(UserError, match="restore it from a backup"):
        pipeline_root.artifact_root(str(tmp_path))
    assert store.read_bytes() == before


_OTHER = """
import sqlite3, sys, time
sqlite3.connect(sys.argv[1], isolation_level=None).execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(60)
"""


def test_c7_a_store_that_another_process_has_locked_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_root, "_PATIENCE_SECONDS", 0.2)
    root = str(tmp_path)
    folder = pipeline_root.artifact_root(root)
    command = [sys.executable, "-c", _OTHER, pipeline_root.store_path(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError) as error:
            pipeline_root.artifact_root(root)
        other.kill()
    assert str(error.value) == (
        f"{root}/metadata.sqlite: another process reads or writes the metadata store (a backup, a"
        " database browser?); end it, then run again"
    )
    assert pipeline_root.artifact_root(root) == folder


def test_c6_what_a_full_disk_left_in_the_root_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """The name is `tempfile.mkstemp`'s, which summaries are first written under."""
    descriptor, left = tempfile.mkstemp(dir=tmp_path, suffix=".tmp")
    os.close(descriptor)
    for name in ("summary.json", "tmp.tmp", "mine.tmp"):
        (tmp_path / name).write_text("")
    with pipeline_root.exclusive(str(tmp_path)):
        assert not os.path.exists(left)
    assert {path.name for path in tmp_path.iterdir()} == {
        "summary.json", "tmp.tmp", "mine.tmp", ".lock",
    }  # fmt: skip


def test_c7_a_folder_that_cannot_be_written_is_named_with_its_key(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigError, match=r"serving_root: .*file is not a folder"):
        pipeline_root.require_writable("serving_root", str(file / "below"))
    with (
        pytest.raises(ConfigError, match=r"root: .* cannot be written"),
        pipeline_root.exclusive(str(file / "below")),
    ):
        pass
