"""What is compared, and every fit that was made: `models.yaml` and `accuracy.json`."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import yaml

from benchmarks.accuracy.protocols import LAST_OUT, RANDOM

BEST = {"rating": ("rmse", min), "ranking": ("full_ndcg", max)}
"""Task -> the metric that chooses settings, and what is best (NDCG: a HitRate has many ties)."""


@dataclasses.dataclass(frozen=True)
class TableRow:
    """One row of a table.

    Attributes:
      name: unique in its task.
      task: "rating" or "ranking".
      by: the worker that fits it.
      model: what the worker calls it.
      settings: those that validation chooses from; one needs no choice.
      seeds: most seeds to use; 1 where nothing is random.
      ablation: whether it stands in the table of ablations.
    """

    name: str
    task: str
    by: str
    model: str
    settings: tuple[dict[str, Any], ...]
    seeds: int
    ablation: bool

    @property
    def protocols(self) -> tuple[str, ...]:
        """Where it is measured."""
        if self.task == "ranking":
            return (LAST_OUT,)
        return ("90-10",) if self.ablation else RANDOM


@dataclasses.dataclass(frozen=True)
class Goal:
    """A bar: `metric` of `model` is at most, or at least, a number or another model's."""

    protocol: str
    model: str
    metric: str
    at_most: float | str | None = None
    at_least: float | str | None = None


@dataclasses.dataclass(frozen=True)
class Fit:
    """One fit and what it was worth.

    Attributes:
      split: name of the split.
      task: "rating" or "ranking".
      by: the worker.
      model: what the worker calls it.
      settings: how it was fitted.
      seed: of everything random.
      code: fingerprint of what it depends on.
      seconds: wall time from arrays in memory to the fitted model.
      cpu_seconds: the same in processor time, of all threads.
      passes: how often fitting went over the ratings; 0 where that means nothing.
      ratings: in train.
      metrics: name -> value.
    """

    split: str
    task: str
    by: str
    model: str
    settings: dict[str, Any]
    seed: int
    code: str
    seconds: float
    cpu_seconds: float
    passes: int
    ratings: int
    metrics: dict[str, float]


class Results:
    """Every fit, one a line in a file of JSON."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        self._fits = {_key(fit): fit for fit in (Fit(**line) for line in lines)}

    def add(self, fits: list[Fit]) -> None:
        """Keeps fits, in place of former ones of the same settings, and writes the file."""
        self._fits |= {_key(fit): fit for fit in fits}
        lines = [
            json.dumps(dataclasses.asdict(self._fits[key]), ensure_ascii=False)
            for key in sorted(self._fits)
        ]
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
        os.replace(temporary, self._path)

    def find(self, model: TableRow, split: str, settings: dict[str, Any], seed: int) -> Fit | None:
        """A fit, if it was made, by whatever code."""
        return self._fits.get(_identity(split, model.task, model.by, model.model, settings, seed))

    def choice(self, model: TableRow, split: str) -> dict[str, Any] | None:
        """The settings that did best on a split's validation; None where some are missing."""
        if len(model.settings) == 1:
            return model.settings[0]
        tried = [self.find(model, f"{split}/validation", each, 0) for each in model.settings]
        if not all(tried):
            return None
        metric, best = BEST[model.task]
        return best((fit for fit in tried if fit), key=lambda fit: fit.metrics[metric]).settings


def read_models(path: Path) -> tuple[list[TableRow], list[Goal]]:
    """Reads `models.yaml`."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    models = [
        TableRow(
            name=name,
            task=task,
            by=values["by"],
            model=values["model"],
            settings=tuple(_listed(values.get("settings", {}))),
            seeds=values.get("seeds", 1 << 30),
            ablation=part == "ablation",
        )
        for task in ("rating", "ranking")
        for part in ("models", "ablation")
        for name, values in content[task][part].items()
    ]
    return models, [Goal(**values) for values in content["goals"]]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _key(fit: Fit) -> str:
    return _identity(fit.split, fit.task, fit.by, fit.model, fit.settings, fit.seed)


def _identity(
    split: str, task: str, by: str, model: str, settings: dict[str, Any], seed: int
) -> str:
    return json.dumps([split, task, by, model, settings, seed], sort_keys=True)
