"""What the gate lets through, what that costs, and how soon it sees a better model.

    make bench-gate                              # writes benchmarks/gate.md; about half an hour
    .venv/bin/python -m benchmarks.gate --help

Two hundred retrainings of the same data (`gate_retrainings.py`) and 200 simulated nights of several
worlds (`gate_simulation.py`), each under several rules; and the power of the default.
"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

import click
import numpy as np

from benchmarks import gate_retrainings, gate_simulation
from benchmarks.gate_retrainings import METRICS, Judged
from benchmarks.gate_simulation import MARGIN, NIGHTS, RULES, WORLDS, Rule

_REPORT = Path(__file__).with_suffix(".md")
_KINDS = (("new test rows each night", 943, False), ("the same test rows each night", 943, True),
          ("new test rows each night", 5000, False))  # fmt: skip
_ROWS = (300, 1000, 3000, 10_000, 30_000, 100_000)
_DIFFERENCES = (0.002, 0.005, 0.01, 0.02, 0.05)
_TIMES = 200


@click.command()
@click.option("--retrainings", default=200, show_default=True, help="Models to train.")
@click.option("--lives", default=50, show_default=True, help="Times 200 nights are simulated.")
@click.option("--workers", default=2, show_default=True, help="Processes.")
@click.option("--keep", help="An .npz of retrained models: read if it exists, else written.")
def main(retrainings: int, lives: int, workers: int, keep: str | None) -> None:
    """Writes benchmarks/gate.md."""
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    with ProcessPoolExecutor(workers, mp_context=context) as executor:
        models = _models(executor, retrainings, keep)
        lines = [*_head(), *_of_retrainings(models), *_of_worlds(executor, lives)]
        lines += _of_power(executor)
    _REPORT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    click.echo(f"wrote {_REPORT}")


def _models(executor: Executor, retrainings: int, keep: str | None) -> list[Judged]:
    if keep and Path(keep).exists():
        return gate_retrainings.load(keep)
    models = list(executor.map(gate_retrainings.retrain, range(retrainings)))
    if keep:
        gate_retrainings.save(models, keep)
    return models


def _head() -> list[str]:
    return [
        "# The gate",
        "",
        "Written by `make bench-gate`; the top of [gate.py](gate.py) says how. Rules:",
        "",
        *(f"- **{rule.name}**" for rule in RULES),
        "",
        "*From push to push*: all comparisons since the last push together may err in 5 % of"
        " cases; the t-th may spend 1 / (t (t + 1)) of that. The third rule is the default,"
        " `better`; the last is `not_worse`. The first is what the gate did before; the others show"
        " what each part is for.",
        "",
    ]


def _of_retrainings(models: list[Judged]) -> list[str]:
    spread = {name: np.std([model.truth[name] for model in models], ddof=1) for name in METRICS}
    lines = [
        f"## A/A: {len(models)} retrainings of the same data",
        "",
        "Both heads of `mf`, small but real, each from another seed; 900 test rows of"
        f" {gate_retrainings.USERS} users, gates on RMSE and HitRate@{gate_retrainings.K}. True"
        f" figures are those of {gate_retrainings.USERS * gate_retrainings.FRESH:,} fresh rows;"
        f" seeds alone spread them by {spread['rmse']:.4f} (RMSE) and {spread['hit_rate']:.4f}"
        " (HitRate), standard deviation. *Any two*: how often one would be pushed after the other,"
        " in a first comparison. *Pushed*: of all nights in order, after the first. *Worst fall*:"
        " how far the truly served figure ever lay below the first one's.",
        "",
        "| rule | any two | pushed | worst fall, RMSE | worst fall, HitRate |",
        "|---|---|---|---|---|",
    ]
    for rule in RULES:
        if rule.anchored:
            continue
        rng = np.random.default_rng(0)
        pairs = [rng.choice(len(models), 2, replace=False) for _ in range(1000)]
        any_two = np.mean(
            [gate_retrainings.passes(rule, models[one], models[two], 1) for one, two in pairs]
        )
        served = list(gate_retrainings.pushes(rule, models))
        first = served[0].truth
        rmse = max(model.truth["rmse"] - first["rmse"] for model in served)
        hits = max(first["hit_rate"] - model.truth["hit_rate"] for model in served)
        lines.append(
            f"| {rule.name} | {any_two:.1%} | {len(served) - 1} of {len(models) - 1} |"
            f" {rmse:.4f} | {hits:.4f} |"
        )
    return [*lines, ""]


def _life(job: tuple[Rule, str, int, bool, int]) -> gate_simulation.Life:
    rule, world, rows, same_rows, seed = job
    return gate_simulation.live(rule, WORLDS[world], rows, same_rows, seed)


def _of_worlds(executor: Executor, lives: int) -> Iterator[str]:
    yield from (
        f"## {NIGHTS} simulated nights",
        "",
        f"HitRate@K of {gate_simulation.QUALITY['hit_rate']}, one candidate a night, {lives} times."
        f" Falls and gains are in margins ({MARGIN}): *worst fall*, how far the truly served"
        " figure ever lay below the first push's, on average and at most; *beyond*, how often by"
        " more than the margin; *gain*, where it ended.",
        "",
    )
    for kind, rows, same_rows in _KINDS:
        yield from (
            f"### {rows} test rows, {kind}",
            "",
            "| world | rule | pushes | of a truly worse one | worst fall | beyond | gain |",
            "|---|---|---|---|---|---|---|",
        )
        for world in WORLDS:
            for rule in RULES:
                jobs = [(rule, world, rows, same_rows, seed) for seed in range(lives)]
                found = gate_simulation.summary(executor.map(_life, jobs, chunksize=5))
                yield (
                    f"| {world} | {rule.name} | {found['pushes']:.2f} | {found['worse']:.2f} |"
                    f" {found['mean_fall']:.2f} ({found['largest_fall']:.2f}) |"
                    f" {found['beyond_margin']:.0%} | {found['gain']:+.2f} |"
                )
        yield ""


def _of_power(executor: Executor) -> Iterator[str]:
    yield from (
        "## Power of the default",
        "",
        f"How often, of {_TIMES} times, a model is pushed that is truly better by so much: in the"
        " first comparison since a push, and in the thirtieth. One gate, one candidate a night, one"
        " row a user; a gate more multiplies, roughly. The summary's `…_rows_to_tell` says it for"
        " the data at hand.",
        "",
    )
    for metric, heading in (("rmse", "RMSE"), ("hit_rate", "HitRate@K")):
        columns = " | ".join(f"{difference:g}" for difference in _DIFFERENCES)
        yield f"| {heading} {gate_simulation.QUALITY[metric]}, test rows | {columns} |"
        yield "|---" * (len(_DIFFERENCES) + 1) + "|"
        for rows in _ROWS:
            cells = [
                executor.map(
                    functools.partial(
                        gate_simulation.power, metric, difference, rows, times=_TIMES, seed=0
                    ),
                    (1, 30),
                )
                for difference in _DIFFERENCES
            ]
            shown = (" / ".join(f"{power:.0%}" for power in cell) for cell in cells)
            yield f"| {rows:,} | {' | '.join(shown)} |"
        yield ""


if __name__ == "__main__":
    main()
