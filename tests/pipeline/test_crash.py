"""C1: killed in one node, resumed, killed in the next, resumed: the same final state."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfx_recommender.components.serving import served_models
from tfx_recommender.pipeline.local.store import Store

pytestmark = pytest.mark.slow

COMMAND = str(Path(sys.executable).with_name("tfx-recommender"))


def run_until(config: Path, node: str | None) -> int:
    """Starts a run; kills it (-9) as soon as it is in that node."""
    with subprocess.Popen([COMMAND, "run", str(config)], stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if node and line.rstrip().endswith(f"] {node} …"):
                time.sleep(0.7)  # a node takes longer: the kill falls into its work
                run.send_signal(signal.SIGKILL)
        return run.wait()


def test_c1_a_chain_of_kills_ends_in_the_same_state_as_an_undisturbed_run(small: Path) -> None:
    config = small / "config.yaml"
    assert run_until(config, "Trainer-mf") == -signal.SIGKILL
    assert run_until(config, "Evaluator-mf") == -signal.SIGKILL
    assert not (small / "serving" / "small").exists()
    assert run_until(config, None) == 0
    summary = json.loads((small / "root" / "summary.json").read_text())
    assert summary["status"] == "pushed"
    assert set(summary["cached_nodes"]) == {
        "RatingsExampleGen", "StatisticsGen", "ExampleValidator", "DataGate", "Transform",
        "ServedBaseline", "Trainer-mf",
    }  # fmt: skip
    served = small / "serving" / "small"
    assert served_models.versions(str(served)) == [summary["pushed_version"]]
    assert all(path.name.isdecimal() for path in served.iterdir() if path.name != ".lock")

    import tfx.components  # noqa: F401 - before ML Metadata's store on older glibc
    from ml_metadata.proto import metadata_store_pb2

    with Store(str(small / "root" / "metadata.sqlite")).open() as store:
        states = [execution.last_known_state for execution in store.get_executions()]
    assert metadata_store_pb2.Execution.RUNNING not in states
    assert states.count(metadata_store_pb2.Execution.FAILED) == 2
