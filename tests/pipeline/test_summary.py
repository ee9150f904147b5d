"""O6: every run leaves a true `summary.json`, whatever ended it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tfx_recommender.components.serving import served_models
from tfx_recommender.foundation.errors import ConfigError, UserError
from tfx_recommender.pipeline import commands
from tfx_recommender.pipeline.settings import config_file


@pytest.fixture
def yesterday(small: Path) -> Path:
    """A pipeline whose last run pushed a model."""
    (small / "root").mkdir()
    (small / "root" / "summary.json").write_text(
        json.dumps({"run_id": "yesterday", "status": "pushed", "pushed_version": 17})
    )
    return small


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "root" / "summary.json").read_text())


def run(folder: Path, *overrides: str) -> None:
    commands.run(config_file.load(str(folder / "config.yaml"), overrides), False, False)


def push_something(folder: Path, record: dict[str, Any]) -> int:
    """Something is served; what it is does not matter here."""
    model = folder / "model"
    model.mkdir()
    (model / "saved_model.pb").write_bytes(b"x")
    directory = config_file.load(str(folder / "config.yaml")).serving_directory
    return served_models.push(str(model), directory, record).version


def test_a_run_that_is_refused_before_its_first_node_says_so(yesterday: Path) -> None:
    push_something(yesterday, {"feedback": "explicit", "split": {"strategy": "time"}})
    with pytest.raises(ConfigError, match="put the split back"):
        run(yesterday)
    told = summary(yesterday)
    assert told["status"] == "failed"
    assert told["run_id"] != "yesterday"
    assert told["pushed_version"] is None
    assert "put the split back" in told["error"]


def test_a_corrupt_store_is_told(yesterday: Path) -> None:
    (yesterday / "root" / "metadata.sqlite").write_bytes(b"not a store" * 1000)
    with pytest.raises(UserError, match="metadata"):
        run(yesterday)
    assert summary(yesterday)["status"] == "failed"
    assert "metadata" in summary(yesterday)["error"]


def test_a_bucket_that_does_not_answer_is_told(yesterday: Path) -> None:
    with pytest.raises(UserError):
        run(yesterday, "serving_root=s3://nowhere-at-all/models")
    assert summary(yesterday)["status"] == "failed"
    assert summary(yesterday)["error"]


def test_a_run_that_was_interrupted_after_its_push_names_what_it_pushed(
    yesterday: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = []

    def push_and_stop(*unused: Any, **also_unused: Any) -> None:
        pushed.append(push_something(yesterday, {}))
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_execute", push_and_stop)
    with pytest.raises(KeyboardInterrupt):
        run(yesterday)
    told = summary(yesterday)
    assert told["pushed_version"] == pushed[0]
    assert told["error"] == "interrupted (Ctrl-C)"


def test_others_may_read_it(yesterday: Path) -> None:
    push_something(yesterday, {"split": {"strategy": "time"}})
    with pytest.raises(ConfigError):
        run(yesterday)
    mode = stat.S_IMODE(os.stat(yesterday / "root" / "summary.json").st_mode)
    umask = os.umask(0)
    os.umask(umask)
    assert mode == 0o666 & ~umask


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGKILL, "running"), (signal.SIGTERM, "failed")]
)
def test_a_run_that_was_killed_leaves_no_summary_of_yesterday(
    yesterday: Path, number: int, status: str
) -> None:
    code = "from tfx_recommender.kubeflow.cli import main; main()"
    command = [sys.executable, "-c", code, "run", str(yesterday / "config.yaml")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "RatingsExampleGen …" in line:
                break
        process.send_signal(number)
        assert process.wait(30) == (-9 if number == signal.SIGKILL else 143)
    told = summary(yesterday)
    assert told["run_id"] != "yesterday"
    assert told["status"] == status
    if number == signal.SIGTERM:
        assert told["error"] == "stopped by SIGTERM"


@pytest.mark.slow
def test_a_script_without_a_guard_runs_the_pipeline_once(small: Path) -> None:
    script = small / "script.py"
    script.write_text(
        "from tfx_recommender.pipeline import commands\n"
        "from tfx_recommender.pipeline.settings import config_file\n"
        "from tfx_recommender.pipeline.local.part import Part\n"
        f"config = config_file.load({str(small / 'config.yaml')!r})\n"
        "commands.run(config, False, False, Part(until='DataGate'))\n"
    )
    subprocess.run([sys.executable, str(script)], check=True, timeout=300)
    assert summary(small)["status"] == "partial"
    with sqlite3.connect(small / "root" / "metadata.sqlite") as store:
        (count,) = store.execute("select count(*) from Execution").fetchone()
    assert count == 4


@pytest.mark.slow
def test_what_cannot_be_imported_for_the_nodes_stops_the_run_with_its_reason(small: Path) -> None:
    """CPython's forkserver passes over an ImportError of its preload."""
    (small / "sitecustomize.py").write_text(
        "import sys\n"
        "class Broken:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'tfx_recommender.components.first_baseline':\n"
        "            raise ImportError('broken on purpose')\n"
        "sys.meta_path.insert(0, Broken())\n"
    )
    code = "from tfx_recommender.kubeflow.cli import main; main()"
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, "run", str(small / "config.yaml")],
        env={**os.environ, "PYTHONPATH": str(small)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, time.monotonic() - start
    assert "cannot be imported: ImportError: broken on purpose" in done.stderr
    assert "broken on purpose" in summary(small)["error"]
