"""One row, one place: what it takes to add an architecture, a metric with a gate, and a node.

Each is added to a copy of the package by editing files as a developer would; the files are counted,
and a real run on the small data then uses all three.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tfx_recommender
from tests.conftest import SMALL_CONFIG, write_config, write_small_data

PACKAGE = Path(tfx_recommender.__file__).parent


class Copy:
    """A copy of the package, and which of its files were touched for what."""

    def __init__(self, folder: Path) -> None:
        self.package = folder / "tfx_recommender"
        # The folders are links, which are followed.
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__"))
        self.touched: dict[str, set[str]] = {}

    def edit(self, purpose: str, file: str, *changes: tuple[str, str]) -> None:
        """Puts text before a place in a file that occurs once."""
        path = self.package / file
        text = path.read_text(encoding="utf-8")
        for place, added in changes:
            assert text.count(place) == 1, (file, place)
            text = text.replace(place, added + place)
        path.write_text(text, encoding="utf-8")
        self.touched.setdefault(purpose, set()).add(file)

    def add(self, purpose: str, file: str, text: str) -> None:
        """Writes a new file."""
        path = self.package / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.touched.setdefault(purpose, set()).add(file)


TOY_MODEL = '''
"""An architecture of a few lines: popularity, and the mean rating."""

import numpy as np

from tfx_recommender.trainer.architectures.factors import FactorsHead


def _constant(problem, item):
    users = np.zeros((problem.catalogue.user_shape.ids, 1), np.float32)
    return FactorsHead(users, item.astype(np.float32)[:, None])


def fit_rating(config, problem, fitter):
    return _constant(problem, np.zeros(problem.catalogue.item_shape.ids))


def fit_preference(config, problem, fitter):
    items = problem.catalogue.items.index[problem.train.item]
    return _constant(problem, np.bincount(items, minlength=problem.catalogue.item_shape.ids))
'''

TOY_METRIC = '''class ReciprocalRank(RankingMetric):
    """Mean reciprocal rank among the first K."""

    name, heading, better = "reciprocal_rank", "MRR", "higher"

    def of_rows(self, rank: np.ndarray, k: int) -> np.ndarray:
        """1 / (rank + 1) among the first K, else 0."""
        return formulas.hit(rank, k) / (rank + 1)


'''

TOY_GATE = '''    reciprocal_rank: ShareBounds | None = None
    """MRR@K."""
'''

TOY_COMPONENT = '''
"""Counts the splits that passed the gate."""

from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts


@component
def SplitCount(examples: InputArtifact[standard_artifacts.Examples], file: Parameter[str]) -> None:
    """Writes the number of splits to a file."""
    with open(file, "w") as out:
        out.write(str(len(artifact_utils.decode_split_names(examples.split_names))))
'''


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    copy = Copy(tmp_path_factory.mktemp("package"))
    architectures = "trainer/architectures"
    copy.add("architecture", f"{architectures}/toy/model.py", TOY_MODEL)
    copy.edit(
        "architecture",
        f"{architectures}/registry.py",
        (
            '    Architecture("mlp"',
            '    Architecture("toy", "A toy.", BayesianFactorization, MatrixFactorization),\n',
        ),
    )
    copy.edit(
        "metric",
        "components/evaluator/catalogue.py",
        ("class Ndcg(RankingMetric)", TOY_METRIC),
        ("    Ndcg(),\n", "    ReciprocalRank(),\n"),
    )
    copy.edit(
        "metric",
        "pipeline/settings/config.py",
        ("    ndcg: ComparedShareBounds | None = None", TOY_GATE),
    )
    copy.add("node", "components/split_count.py", TOY_COMPONENT)
    copy.edit(
        "node",
        "pipeline/dag.py",
        (
            "    selector = ModelSelector(",
            "    from tfx_recommender.components.split_count import SplitCount\n\n"
            '    nodes.append(SplitCount(examples=rows, file=config.root + "/splits"))\n',
        ),
    )
    row = 'NodeKind("SplitCount", "tfx_recommender.components.split_count.SplitCount_Executor"),'
    copy.edit("node", "pipeline/nodes.py", ('    NodeKind("ModelSelector"', f"    {row}\n"))
    return copy


def run(copy: Copy, config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.path.insert(0, {str(copy.package.parent)!r}); sys.argv[0] = 'x';"
        "from tfx_recommender.kubeflow.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "run", str(config), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(copy.package.parent)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_an_architecture_a_metric_and_a_node_touch_two_two_and_three_files(grown: Copy) -> None:
    """Of an architecture with settings of its own there is one more, in the same new folder."""
    counts = {purpose: len(files) for purpose, files in grown.touched.items()}
    assert counts == {"architecture": 2, "metric": 2, "node": 3}


@pytest.mark.slow
def test_they_work(grown: Copy, tmp_path: Path) -> None:
    write_small_data(tmp_path)
    gates = SMALL_CONFIG["evaluation"]["gates"] | {"reciprocal_rank": {"min": 0.99}}
    evaluation = SMALL_CONFIG["evaluation"] | {"gates": gates}
    path = write_config(tmp_path, models={"toy": {}}, evaluation=evaluation)
    done = run(grown, path)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "root" / "summary.json").read_text())
    assert 0 < summary["models"]["toy"]["reciprocal_rank_at_5"] < 0.99
    reasons = summary["models"]["toy"]["reasons"]
    assert any(reason.startswith("reciprocal_rank_at_5 ") for reason in reasons), reasons
    assert "MRR@5" in done.stdout
    assert "SplitCount" in summary["node_seconds"]
    assert (tmp_path / "root" / "splits").read_text() == "5"


def test_a_node_without_a_row_is_refused_by_name(grown: Copy, tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    for file in ("components/split_count.py", "pipeline/dag.py"):
        shutil.copy(grown.package / file, copy.package / file)
    write_small_data(tmp_path)
    done = run(copy, write_config(tmp_path))
    assert done.returncode == 1
    assert "pipeline/nodes.py has no row 'SplitCount'" in done.stderr
