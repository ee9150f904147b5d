"""What a search for hyperparameters found: read from its nodes, shown, written as an overlay."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from tfx_recommender.pipeline.config import node_id
from tfx_recommender.pipeline.local_runner import Run, Store
from tfx_recommender.trainer.search_space import nested


@dataclasses.dataclass(frozen=True)
class Search:
    """One head's search.

    Attributes:
      architecture: whose head.
      head: `rating`, judged by RMSE on validation (lower is better), or `preference`, by NDCG.
      values: hyperparameter -> the best trial's value.
      score: of the best trial.
      trials: how many were completed.
    """

    architecture: str
    head: str
    values: dict[str, Any]
    score: float
    trials: int


def searches(heads: list[tuple[str, str]], record: Run, store: Store) -> list[Search]:
    """The outcome of each Tuner node of a run."""
    found = []
    for architecture, head in heads:
        node = f"{node_id('Tuner', architecture)}-{head}"
        outputs = store.outputs(record.executions[node])
        best = _json(outputs["best_hyperparameters"].uri, "best_hyperparameters.txt")["values"]
        trials = _json(outputs["tuner_results"].uri, "tuner_results.json")
        found.append(Search(architecture, head, best, trials[0]["score"], len(trials)))
    return found


def show(found: list[Search], console: Console) -> None:
    """Prints the best of each search."""
    table = Table("model", "head", "validation", "best of", "hyperparameters")
    for search in found:
        metric = "RMSE" if search.head == "rating" else "NDCG"
        values = ", ".join(f"{name}={_short(value)}" for name, value in search.values.items())
        score = f"{metric} {search.score:.4f}"
        table.add_row(search.architecture, search.head, score, str(search.trials), values)
    console.print(table)


def write(path: str, found: list[Search]) -> None:
    """Writes the best values as an overlay, `--set @path`; a reader never sees half of it."""
    models: dict[str, Any] = {}
    for search in found:
        heads = models.setdefault(search.architecture, {})
        heads[search.head] = nested({k: _short(v) for k, v in search.values.items()})
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        yaml.safe_dump({"models": models}, file, sort_keys=True)
    os.replace(f"{path}.part", path)


def _short(value: Any) -> Any:
    """Numbers to three digits: more is chance."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _json(folder: str, name: str) -> Any:
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return json.load(file)
