"""C5: a cached artifact that lost, cut or changed any of its files is made anew, not reused.

H1: what becomes of the champion between its verdict and its push.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_artifacts

from tests.conftest import SMALL_CONFIG
from tests.pipeline.test_story import Life
from tfx_recommender.foundation.errors import UserError
from tfx_recommender.pipeline.local import pipeline_root, runner, summary
from tfx_recommender.pipeline.local.screen import Progress
from tfx_recommender.pipeline.local.store import Store

pytestmark = pytest.mark.slow


@component
def First(made: OutputArtifact[standard_artifacts.Model], content: Parameter[str]) -> None:  # noqa: N802
    """Leaves three files."""
    for name in ("a", "b", "below/c"):
        path = Path(made.uri) / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)


@component
def Second(  # noqa: N802
    made: OutputArtifact[standard_artifacts.Model],
    given: InputArtifact[standard_artifacts.Model],
) -> None:
    """Joins them."""
    names = ("a", "b", "below/c")
    (Path(made.uri) / "joined").write_text(
        "".join((Path(given.uri) / name).read_text() for name in names)
    )


def run(root: Path, content: str = "text") -> tuple[runner.Run, Path, Path]:
    """Runs both; returns the record and the two artifacts' folders."""
    root.mkdir(exist_ok=True)
    first = First(content=content)
    second = Second(given=first.outputs["made"])
    artifacts = pipeline_root.artifact_root(str(root))
    store = Store(pipeline_root.store_path(str(root)))
    store.fail_unfinished()
    record = summary.Run()
    pipeline = Pipeline("two", artifacts, components=[first, second], enable_cache=True)
    runner.run(pipeline, store, Progress(Console(quiet=True)), record)
    folders = [Path(store.outputs(record.executions[n])["made"].uri) for n in ("First", "Second")]
    assert (folders[1] / "joined").read_text() == content * 3
    return record, folders[0], folders[1]


def flip(path: Path) -> None:
    times = path.stat()
    path.write_text("tExt")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "lost": lambda path: path.unlink(),
    "cut": lambda path: os.truncate(path, 1),
    "changed, same size and time": flip,
    "all lost": lambda path: shutil.rmtree(path.parent),
}


def test_c5_a_damaged_artifact_is_made_anew_whichever_file_it_is(tmp_path: Path) -> None:
    root = tmp_path / "root"
    record, first, second = run(root)
    assert record.cached_nodes == []
    assert run(root)[0].cached_nodes == ["First", "Second"]
    for number, damage in enumerate(DAMAGES.values()):
        damage(first / ("a", "below/c")[number % 2])
        record, first, second = run(root)
        assert record.cached_nodes == []
        damage(second / "joined")
        record, first, second = run(root)
        assert record.cached_nodes == ["First"]
    assert run(root)[0].cached_nodes == ["First", "Second"]


def test_c3_a_restored_older_store_goes_on_where_no_folder_is_in_its_way(tmp_path: Path) -> None:
    root = tmp_path / "root"
    run(root)
    shutil.copy(root / "metadata.sqlite", tmp_path / "backup")
    _, lost, _ = run(root, "later")
    shutil.copy(tmp_path / "backup", root / "metadata.sqlite")
    record, first, _ = run(root, "again")
    assert record.cached_nodes == []
    assert first != lost
    assert (lost / "a").read_text() == "later"
    assert run(root, "text")[0].cached_nodes == ["First", "Second"]  # of before the backup


_READER = """
import sqlite3, sys, time
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("BEGIN")
store.execute("SELECT * FROM Type").fetchall()
print("reading", flush=True)
time.sleep(300)
"""


def test_c7_who_reads_the_store_all_the_time_is_told_apart_from_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is under way can only say so once ML Metadata has given up."""
    monkeypatch.setattr(pipeline_root, "_PATIENCE_SECONDS", 0.2)
    run(tmp_path)
    path = pipeline_root.store_path(str(tmp_path))
    command = [sys.executable, "-c", _READER, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        for attempt in (lambda: pipeline_root.artifact_root(str(tmp_path)), lambda: _write(path)):
            with pytest.raises(UserError, match=r"another process reads or writes the metadata"):
                attempt()
        reader.kill()
    assert run(tmp_path)[0].cached_nodes == ["First", "Second"]


def _write(path: str) -> None:
    from ml_metadata.proto import metadata_store_pb2

    with Store(path).open() as store:
        store.put_artifact_type(metadata_store_pb2.ArtifactType(name="new"))


@pytest.mark.parametrize("third", range(3))
def test_c7_a_store_with_a_third_of_zeros_is_refused_and_kept(tmp_path: Path, third: int) -> None:
    run(tmp_path)
    store = Path(pipeline_root.store_path(str(tmp_path)))
    content = bytearray(store.read_bytes())
    size = len(content) // 3
    content[third * size : (third + 1) * size] = bytes(size)
    store.write_bytes(content)
    with pytest.raises(UserError, match=r"no sound metadata store \(.*; restore it from a backup"):
        pipeline_root.artifact_root(str(tmp_path))
    assert store.read_bytes() == content


def test_h1_a_champion_whose_files_were_cut_is_chosen_anew_and_pushed_whole(small: Path) -> None:
    """What the attack did: the serving folder is gone, and the champion's files are too."""
    life = Life(small, models=SMALL_CONFIG["models"])
    first = life.run()
    assert first["status"] == "pushed"
    whole = life.served().digest
    shutil.rmtree(life.serving)
    for path in (small / "root" / "artifacts").glob("*/ModelSelector/champion/*/**/*"):
        if path.is_file():
            os.truncate(path, 0)
    again = life.run()
    assert again["status"] == "pushed"
    assert {"ModelSelector", "Pusher"}.isdisjoint(again["cached_nodes"])
    assert "Trainer-mf" in again["cached_nodes"]
    assert life.served().digest == whole
