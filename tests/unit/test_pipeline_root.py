"""C3, C4, C7: the pipeline root has one writer, one store, and keeps what it cannot read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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
