"""Nodes work side by side in processes of their own, which end when the run does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2
from rich.console import Console
from tfx.dsl.component.experimental.annotations import Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration.pipeline import Pipeline

from benchmarks import speed
from tfx_recommender.foundation import stopwatch
from tfx_recommender.foundation.errors import BadDataError
from tfx_recommender.pipeline.local import runner, summary
from tfx_recommender.pipeline.local.node_process import NodeError
from tfx_recommender.pipeline.local.screen import Progress
from tfx_recommender.pipeline.local.store import Store

pytestmark = pytest.mark.slow


@component
def Node(folder: Parameter[str], name: Parameter[str], act: Parameter[str]) -> None:  # noqa: N802
    """Leaves its process id in the folder, then does what it is told."""
    (Path(folder) / name).write_text(str(os.getpid()))
    if act == "meet":
        wait_for(Path(folder), 2)
    elif act == "sleep":
        time.sleep(600)
    elif act == "refuse":
        wait_for(Path(folder), 2)
        raise BadDataError("line 3 is no rating")
    elif act == "work":
        block = bytearray(b"x") * (200 << 20)
        until = time.process_time() + 0.5
        with stopwatch.timed("worked"):
            while time.process_time() < until:
                block[0] ^= 1
    elif act == "die":
        os.kill(os.getpid(), signal.SIGKILL)


def wait_for(folder: Path, files: int) -> None:
    deadline = time.monotonic() + 120
    while len(list(folder.iterdir())) < files:
        assert time.monotonic() < deadline, "nobody came"
        time.sleep(0.05)


def run(folder: Path, **acts: str) -> summary.Run:
    """Runs a node for each name: what it shall do."""
    (folder / "nodes").mkdir()
    nodes: list[Any] = [
        Node(folder=str(folder / "nodes"), name=name, act=act).with_id(name)
        for name, act in acts.items()
    ]
    record = summary.Run()
    pipeline = Pipeline("nodes", str(folder / "root"), components=nodes, enable_cache=True)
    store = Store(str(folder / "metadata.sqlite"))
    progress = Progress(Console(quiet=True))
    runner.run(pipeline, store, progress, record, parallel_nodes=2)
    return record


def states(folder: Path) -> list[Any]:
    with Store(str(folder / "metadata.sqlite")).open() as store:
        return [execution.last_known_state for execution in store.get_executions()]


def is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def test_independent_nodes_work_at_the_same_time(tmp_path: Path) -> None:
    record = run(tmp_path, here="meet", there="meet")
    assert record.node_seconds.keys() == {"here", "there"}
    assert record.cached_nodes == []


def test_usage_is_that_of_each_nodes_own_process(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    usage = run(tmp_path, idler="nothing", worker="work").usage
    assert 0.5 <= usage["worker"].processor_seconds <= usage["worker"].seconds + 1 < 30
    assert usage["idler"].processor_seconds < 0.5
    assert usage["worker"].memory - usage["idler"].memory == pytest.approx(200 << 20, rel=0.2)
    parts = speed.parts_of(capfd.readouterr().err)
    assert parts.keys() == {"worker"}
    assert 0.4 < parts["worker"]["worked"]["processor"] <= usage["worker"].processor_seconds


def test_a_node_that_fails_stops_the_others_and_keeps_its_kind_of_error(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match=r"^line 3 is no rating$"):
        run(tmp_path, sleeper="sleep", judge="refuse")
    assert states(tmp_path) == [metadata_store_pb2.Execution.FAILED] * 2
    assert not is_alive(int((tmp_path / "nodes" / "sleeper").read_text()))


def test_a_node_whose_process_is_killed_is_named(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match=r"victim: .*memory"):
        run(tmp_path, victim="die")


def test_c1_no_node_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        " from tfx_recommender.pipeline.local import slim_imports;"
        " slim_imports.launch_only(); from tests.pipeline import test_node_process as t;"
        " t.run(Path(sys.argv[1]), one='sleep', two='sleep')"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "nodes").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        wait_for(tmp_path / "nodes", 2)
        time.sleep(0.2)
        nodes = [int(file.read_text()) for file in (tmp_path / "nodes").iterdir()]
        assert all(map(is_alive, nodes))
        process.kill()
    deadline = time.monotonic() + 10
    while any(map(is_alive, nodes)):
        assert time.monotonic() < deadline, "still at work"
        time.sleep(0.05)
