"""One node alone, up to a node, in this process under a debugger, with a profile."""

from __future__ import annotations

import json
import pstats
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_config, write_small_data
from tfx_recommender.components import data_gate
from tfx_recommender.foundation.errors import ConfigError
from tfx_recommender.pipeline import commands
from tfx_recommender.pipeline.local.part import Part
from tfx_recommender.pipeline.settings import config_file

pytestmark = pytest.mark.slow


def run(folder: Path, **part: Any) -> dict[str, Any]:
    commands.run(config_file.load(str(folder / "config.yaml")), False, False, Part(**part))
    return json.loads((folder / "root" / "summary.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that was run up to its Trainer."""
    folder = tmp_path_factory.mktemp("part")
    write_small_data(folder)
    write_config(folder)
    with pytest.raises(ConfigError, match="no earlier run has made its inputs"):
        run(folder, only="Trainer-mf")
    told = run(folder, until="Transform")
    assert told["status"] == "partial"
    assert set(told["node_seconds"]) == {
        *("RatingsExampleGen", "StatisticsGen", "ExampleValidator", "DataGate", "Transform"),
    }
    return folder


def test_one_node_executes_on_what_the_last_run_made_also_where_it_is_cached(folder: Path) -> None:
    for _ in range(2):
        told = run(folder, only="Trainer-mf", profile="Trainer-mf")
        assert list(told["node_seconds"]) == ["Trainer-mf"]
        assert told["cached_nodes"] == []
    # The last run had no node that this one needs.
    assert list(run(folder, only="StatisticsGen")["node_seconds"]) == ["StatisticsGen"]
    assert list(run(folder, only="Transform")["node_seconds"]) == ["Transform"]
    profile = pstats.Stats(str(folder / "root" / "profiles" / "Trainer-mf.pstats"))
    assert any(name == "run_fn" for _, _, name in profile.stats)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"until": "Trainer-nn"}, "--until Trainer-nn: no such node; there are RatingsExampleGen,"),
        ({"only": "Trainer"}, "--only Trainer: no such node"),
        ({"until": "DataGate", "profile": "Transform"}, "--profile Transform: is not run"),
    ],
)
def test_a_node_that_is_not_there_is_named(
    folder: Path, part: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(folder, **part)


def test_a_debugger_stops_inside_a_node(folder: Path) -> None:
    with open(data_gate.__file__, encoding="utf-8") as file:
        lines = file.read().splitlines()
    line = 1 + next(n for n, text in enumerate(lines) if "decode_split_names" in text)
    script = folder / "main.py"
    script.write_text("from tfx_recommender.kubeflow.cli import main; main()")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pdb"),
            *("-c", f"break {data_gate.__file__}:{line}", "-c", "continue"),
            *("-c", "p 'stopped in', anomalies.type_name", "-c", "quit"),
            *(str(script), "run", str(folder / "config.yaml"), "--inline", "--only", "DataGate"),
        ],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert "('stopped in', 'ExampleAnomalies')" in done.stdout, done.stdout + done.stderr
