"""Writes `accuracy.md`: what was reached, the ablations, and what validation chose."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from typing import NamedTuple

from benchmarks.accuracy.protocols import LAST_OUT, PROTOCOLS
from benchmarks.accuracy.results import BEST, Fit, Goal, Results, TableRow

COLUMNS = {
    "rating": {"rmse": "RMSE", "mae": "MAE"},
    "ranking": {
        "full_hit_rate": "full HR@10",
        "full_ndcg": "full NDCG@10",
        "sampled_hit_rate": "sampled HR@10",
        "sampled_ndcg": "sampled NDCG@10",
    },
}
FOLDS = {"5-fold": [f"5-fold/{n}" for n in range(5)], "90-10": ["90-10"], LAST_OUT: [LAST_OUT]}


class Row(NamedTuple):
    """A model's fits in one protocol: a list of splits' for each seed."""

    model: TableRow
    seeds: list[list[Fit]]

    def values(self, name: str) -> list[float]:
        """A metric, or `seconds` or `cpu_seconds` of a fit: a mean over splits for each seed."""
        return [
            statistics.fmean(
                fit.metrics[name] if name in fit.metrics else getattr(fit, name) for fit in fits
            )
            for fits in self.seeds
        ]

    def mean(self, name: str) -> float:
        """The same, over seeds."""
        return statistics.fmean(self.values(name))


def render(
    models: list[TableRow], goals: list[Goal], results: Results, code: dict[str, str]
) -> str:
    """All tables, of all that was measured."""
    rows = {
        (protocol, model.name): row
        for protocol in PROTOCOLS
        for model in models
        if protocol in model.protocols and (row := _row(model, protocol, results)).seeds
    }
    parts = [_INTRODUCTION, _goals(goals, rows)]
    for protocol in PROTOCOLS:
        for title, ablation in (("", False), (": what each idea brings", True)):
            chosen = [
                row
                for (name, _), row in rows.items()
                if name == protocol and row.model.ablation == ablation
            ]
            if chosen:
                parts += [f"## {protocol}{title}", _measured(chosen, code)]
    parts.append("## What validation chose\n\nThe choice is bold; lower RMSE, higher NDCG@10.")
    for model in models:
        if len(model.settings) > 1:
            parts += [
                table
                for protocol in model.protocols
                if (table := _search(model, protocol, results))
            ]
    return "\n\n".join(parts) + "\n"


_INTRODUCTION = """# Accuracy on MovieLens-100k

Written by `make bench-accuracy`; [README.md](README.md) says what the protocols are. ± is the
standard deviation over seeds. Seconds are of one fit, from arrays in memory to the fitted model.
M ratings/s: millions of ratings that fitting goes over in a second, epochs and sweeps counted."""


def _row(model: TableRow, protocol: str, results: Results) -> Row:
    seeds = []
    for seed in range(100):
        fits = []
        for split in FOLDS[protocol]:
            settings = results.choice(model, split)
            fit = None if settings is None else results.find(model, split, settings, seed)
            if fit is None:
                break
            fits.append(fit)
        if len(fits) < len(FOLDS[protocol]):
            break
        seeds.append(fits)
    return Row(model, seeds)


def _measured(rows: list[Row], code: dict[str, str]) -> str:
    columns = COLUMNS[rows[0].model.task]
    lines = []
    for row in rows:
        fits = [fit for seed in row.seeds for fit in seed]
        stale = any(fit.code != code[row.model.by] for fit in fits)
        passes = sum(fit.passes * fit.ratings for fit in fits)
        speed = passes / sum(fit.seconds for fit in fits) / 1e6
        lines.append(
            [
                row.model.name + (" (by former code)" if stale else ""),
                *(_spread(row.values(name)) for name in columns),
                f"{row.mean('seconds'):.1f}",
                f"{row.mean('cpu_seconds'):.1f}",
                f"{speed:.2f}" if passes else "–",
                str(len(row.seeds)),
            ]
        )
    titles = ["model", *columns.values(), "seconds", "CPU seconds", "M ratings/s", "seeds"]
    return _table(titles, lines)


def _goals(goals: list[Goal], rows: dict[tuple[str, str], Row]) -> str:
    lines = []
    for goal in goals:
        row = rows.get((goal.protocol, goal.model))
        bound = goal.at_most if goal.at_least is None else goal.at_least
        other = rows.get((goal.protocol, bound)) if isinstance(bound, str) else None
        if row is None or (isinstance(bound, str) and other is None):
            continue
        value = row.mean(goal.metric)
        limit = other.mean(goal.metric) if other else float(bound or 0)
        reached = value <= limit if goal.at_least is None else value >= limit
        sign, digits = ("≤" if goal.at_least is None else "≥"), _digits(goal.metric)
        text = f"{sign} {digits(limit)}" + (f" ({bound})" if other else "")
        lines.append(
            [
                goal.protocol,
                goal.model,
                goal.metric.replace("_", " "),
                text,
                digits(value),
                "yes" if reached else "**no**",
            ]
        )
    titles = ["protocol", "model", "metric", "bar", "measured", "reached"]
    return "## What was aimed at\n\n" + _table(titles, lines)


def _search(model: TableRow, protocol: str, results: Results) -> str:
    metric, _ = BEST[model.task]
    lines = []
    for settings in model.settings:
        line = [f"`{json.dumps(settings)}`"]
        for split in FOLDS[protocol]:
            fit = results.find(model, f"{split}/validation", settings, 0)
            chosen = settings == results.choice(model, split)
            value = "–" if fit is None else _number(fit.metrics[metric])
            line.append(f"**{value}**" if chosen else value)
        lines.append(line)
    if all(value == "–" for line in lines for value in line[1:]):
        return ""
    return _table([f"{model.name}, {protocol}", *FOLDS[protocol]], lines)


def _spread(values: list[float]) -> str:
    spread = f" ±{_number(statistics.stdev(values))}" if len(values) > 1 else ""
    return _number(statistics.fmean(values)) + spread


def _digits(metric: str) -> Callable[[float], str]:
    return (lambda value: f"{value:.1f}") if metric.endswith("seconds") else _number


def _number(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


def _table(titles: Iterable[str], lines: Iterable[list[str]]) -> str:
    titles = list(titles)
    rows = [titles, ["---"] * len(titles), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
