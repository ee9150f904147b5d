"""Compares our models with the peers on MovieLens-100k: same splits, one judge, several seeds.

    make bench-accuracy OPTIONS="--only mf,hybrid --protocol 90-10 --seeds 1"

`models.yaml` says what is compared, `protocols.py` on what, `evaluation.py` by what measure. Where
a model has several settings, each split chooses those that do best on validation carved out of its
train rows; then it is fitted to all train rows. Every fit is kept in `accuracy.json`, so that a
rerun does what is missing or was done by other code; tables are written to `accuracy.md`.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.accuracy import protocols, tables
from benchmarks.accuracy.protocols import PROTOCOLS, Split
from benchmarks.accuracy.results import Fit, Results, TableRow, read_models
from tfx_recommender.foundation import source

HERE = Path(__file__).parent
PYTHON = {"ours": ".venv/bin/python", "peers": ".venv-peers/bin/python"}
_SHARED = [f"benchmarks/accuracy/{name}.py" for name in ("protocols", "worker", "evaluation")]
_SOURCES = {
    "ours": ["trainer/**/*.py", "benchmarks/accuracy/ours.py", "requirements/runtime.in", *_SHARED],
    "peers": ["benchmarks/accuracy/peers.py", "requirements/peers.txt", *_SHARED],
}
# What a Trainer or Tuner does beside fitting. A new module counts until it is named here.
_BESIDE_FITS = {
    "trainer/export.py",
    "trainer/fitting/validation.py",
    "trainer/fitting/warm_start.py",
    "trainer/input_data.py",
    "trainer/search_space.py",
    "trainer/tuner_fn.py",
}


@click.command(context_settings={"max_content_width": 100})
@click.option("--only", help="Models (of models.yaml), separated by commas.  [default: all]")
@click.option("--protocol", multiple=True, type=click.Choice(PROTOCOLS), help="[default: all]")
@click.option("--seeds", default=3, show_default=True, help="How many, from 0.")
@click.option("--quick", is_flag=True, help="One seed, and no 5-fold.")
@click.option("--tune", is_flag=True, help="Choose settings anew where code has changed since.")
def main(only: str | None, protocol: tuple[str, ...], seeds: int, quick: bool, tune: bool) -> None:
    """Compares our models with the peers on MovieLens-100k; writes accuracy.json and .md."""
    models, goals = read_models(HERE / "models.yaml")
    names = {model.name for model in models}
    chosen = set(only.split(",")) if only else names
    if chosen - names:
        raise click.BadParameter(
            f"models.yaml has no {', '.join(sorted(chosen - names))}", param_hint="--only"
        )
    if quick:
        protocol, seeds = protocol or ("90-10", "last-out"), 1
    bench = Bench(tune)
    for name in protocol or PROTOCOLS:
        for model in models:
            if model.name in chosen and name in model.protocols:
                bench.measure(model, name, seeds)
    text = tables.render(models, goals, bench.results, bench.code)
    (HERE.parent / "accuracy.md").write_text(text, encoding="utf-8")
    click.echo(text)


class Job(NamedTuple):
    """One fit to be made."""

    split: Split
    settings: dict[str, Any]
    seed: int


class Bench:
    """Makes the fits that are missing.

    Attributes:
      results: all that were made.
      code: worker -> a fingerprint of what its results depend on.
    """

    def __init__(self, tune: bool) -> None:
        self.results = Results(HERE.parent / "accuracy.json")
        self.code = {by: _fingerprint(patterns) for by, patterns in _SOURCES.items()}
        self._data = protocols.load(Path("data/movielens-100k"))
        self._tune = tune

    def measure(self, model: TableRow, protocol: str, seeds: int) -> None:
        """Chooses settings on validation, then fits to all train rows with each seed."""
        splits = protocols.splits(protocol, self._data)
        if len(model.settings) > 1:
            tries = [protocols.validation(split, self._data) for split in splits]
            self._fit(
                model,
                [Job(split, each, 0) for split in tries for each in model.settings],
                even_if_stale=self._tune,
            )
        for seed in range(min(seeds, model.seeds)):
            chosen = [self.results.choice(model, split.name) or {} for split in splits]
            jobs = [Job(*pair, seed) for pair in zip(splits, chosen, strict=True)]
            self._fit(model, jobs, even_if_stale=True)

    def _fit(self, model: TableRow, jobs: list[Job], even_if_stale: bool) -> None:
        """Those that are missing, in one process."""
        code = self.code[model.by]
        missing = []
        for job in jobs:
            found = self.results.find(model, job.split.name, job.settings, job.seed)
            if found is None or (even_if_stale and found.code != code):
                missing.append(job)
        if not missing:
            return
        with tempfile.TemporaryDirectory() as folder:
            fits = self._run(model, missing, Path(folder))
        self.results.add(fits)
        for fit in fits:
            metrics = "  ".join(f"{name} {value:.4f}" for name, value in fit.metrics.items())
            click.echo(
                f"{fit.split}  {model.name}  seed {fit.seed}  {metrics}  {fit.seconds:.1f} s",
                err=True,
            )

    def _run(self, model: TableRow, jobs: list[Job], folder: Path) -> list[Fit]:
        lines = []
        for number, job in enumerate(jobs):
            split, answer = folder / f"{number}.split.npz", folder / f"{number}.answer.npz"
            protocols.save(split, job.split, self._data)
            lines.append(
                json.dumps(
                    {
                        "split": str(split),
                        "task": model.task,
                        "model": model.model,
                        "settings": job.settings,
                        "seed": job.seed,
                        "answer": str(answer),
                    }
                )
            )
        done = subprocess.run(
            [PYTHON[model.by], "-m", f"benchmarks.accuracy.{model.by}"],
            input="\n".join(lines),
            text=True,
            stderr=subprocess.PIPE,
            # As implicit asks for; OpenBLAS' threads wait for each other by turning in circles.
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            check=False,
        )
        if done.returncode:
            raise click.ClickException(f"{model.name}: its process failed:\n{done.stderr[-3000:]}")
        return [
            self._judge(model, job, folder / f"{number}.answer.npz")
            for number, job in enumerate(jobs)
        ]

    def _judge(self, model: TableRow, job: Job, answer: Path) -> Fit:
        from benchmarks.accuracy import evaluation  # TFMA takes half a minute to import

        judge = {"rating": evaluation.judge_ratings, "ranking": evaluation.judge_ranking}
        with np.load(answer) as file:
            return Fit(
                split=job.split.name,
                task=model.task,
                by=model.by,
                model=model.model,
                settings=job.settings,
                seed=job.seed,
                code=self.code[model.by],
                seconds=round(float(file["seconds"]), 3),
                cpu_seconds=round(float(file["cpu_seconds"]), 3),
                passes=int(file["passes"]),
                ratings=len(job.split.train),
                metrics=judge[model.task](file["answer"], job.split, self._data),
            )


def _fingerprint(patterns: list[str]) -> str:
    """SHA-256 of sources and locks; how code is laid out and what it says of itself is no part."""
    hasher = hashlib.sha256()
    for pattern in patterns:
        for path in sorted(Path().glob(pattern)):
            if str(path) in _BESIDE_FITS:
                continue
            text = path.read_text(encoding="utf-8")
            hasher.update((source.meaning(text) if path.suffix == ".py" else text).encode())
    return hasher.hexdigest()[:12]


if __name__ == "__main__":
    main()
