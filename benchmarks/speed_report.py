"""Writes speed.md and speed.png from what benchmarks/speed.py measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# What does the same work on either side.
STEPS = {
    "ingest": (["CsvExampleGen", "ImportSchemaGen"], ["fingerprint", "RatingsExampleGen"]),
    "statistics": (["StatisticsGen"], ["StatisticsGen"]),
    "validate": (["ExampleValidator"], ["ExampleValidator", "DataGate"]),
    "transform": (["Transform"], ["Transform"]),
    "train": (["Trainer"], ["Trainer-mlp"]),
    "evaluate": (["Evaluator"], ["Evaluator-mlp"]),
    "push": (["Pusher"], ["ModelSelector", "Pusher"]),
}
# What only we do; the parts in brackets are inside a node, and taken off its line above.
EXTRA = {
    "the baseline": "ServedBaseline",
    "training the ranking head": "(Trainer-mlp)",
    "ranks in the whole catalogue, by both models": "(Evaluator-mlp)",
}

Node = dict[str, float]


def lines(measured: dict[str, dict[str, Node]]) -> dict[str, tuple[Node | None, Node | None]]:
    """Line -> what stock took and what we took for it; None: not at all, or not measured."""
    stock, ours = measured.get("stock"), measured["ours"]
    inside = {name.strip("()"): ours[name] for name in ours if name.startswith("(")}
    net = {
        name: _minus(node, inside[name]) if name in inside else node for name, node in ours.items()
    }
    found: dict[str, tuple[Node | None, Node | None]] = {
        "start-up": (stock["start-up"] if stock else None, ours["start-up"])
    }
    for step, (theirs, own) in STEPS.items():
        found[step] = (_sum(stock, theirs) if stock else None, _sum(net, own))
    same = [x for x in found if x != "start-up"]
    found["ingest to push"] = (
        _sum({n: found[n][0] for n in same}, same) if stock else None,
        _sum({n: found[n][1] for n in same}, same),
    )
    for step, node in EXTRA.items():
        found[f"only ours: {step}"] = (None, ours[node])
    return found


def write(results: dict[str, dict[str, Any]], folder: Path) -> None:
    """Writes both files.

    Args:
      results: rows -> `machine`, and side -> node -> `wall`, `processor` (s), `peak` (GiB).
      folder: where to.
    """
    parts = [_INTRODUCTION]
    for rows in sorted(results, key=int):
        parts += [f"\n## {int(rows):,} ratings ({results[rows]['machine']})\n\n", _HEAD]
        for line, (theirs, own) in lines(results[rows]).items():
            parts.append(f"| {line} | {_cells(theirs)} | {_cells(own)} | {_ratio(theirs, own)} |\n")
    (folder / "speed.md").write_text("".join(parts), encoding="utf-8")
    _plot(results, folder / "speed.png")


_INTRODUCTION = """# Speed

Stock TFX 1.21 and this pipeline on the same generated ratings (like LibimSeTi's), in one run of
`make bench-speed`: the same MLP, epochs, batch size, splits and launcher, one process each. What
stock TFX does not do (a baseline, a ranking head, full-catalogue ranks of two models) has lines
of its own and is in no other. Ratios of processor seconds are the ones to trust where the
machine had other work. How: the top of `benchmarks/speed.py` and of `benchmarks/stock.py`.

![seconds by rows](speed.png)
"""
_HEAD = """| | stock: wall s | processor s | peak GiB | ours: wall s | processor s | peak GiB \
| wall ratio | processor ratio |
|---|---|---|---|---|---|---|---|---|
""".replace("\\\n", "")


def _cells(node: Node | None) -> str:
    if node is None:
        return " | | "
    return f"{node['wall']:.1f} | {node['processor']:.1f} | {node['peak']:.2f}"


def _ratio(theirs: Node | None, own: Node | None) -> str:
    if theirs is None or own is None:
        return " | "
    ratios = (theirs[x] / own[x] if own[x] > 0.005 else float("inf") for x in ("wall", "processor"))
    return " | ".join(f"{ratio:.1f}" for ratio in ratios)


def _sum(nodes: dict[str, Any], names: list[str]) -> Node:
    return {
        "wall": sum(nodes[name]["wall"] for name in names),
        "processor": sum(nodes[name]["processor"] for name in names),
        "peak": max(nodes[name]["peak"] for name in names),
    }


def _minus(node: Node, part: Node) -> Node:
    return {**node, **{x: node[x] - part[x] for x in ("wall", "processor")}}


def _plot(results: dict[str, dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    steps = [*STEPS, "ingest to push"]
    figure, all_axes = pyplot.subplots(2, 4, figsize=(14, 7), sharex=True)
    measured = {int(rows): lines(results[rows]) for rows in sorted(results, key=int)}
    for axes, step in zip(all_axes.flat, steps, strict=True):
        for side, name in enumerate(("stock TFX", "ours")):
            points = [
                (rows, node["processor"])
                for rows, found in measured.items()
                if (node := found[step][side]) is not None
            ]
            axes.loglog(*zip(*points, strict=True), marker="o", label=name)
        axes.set_title(step)
        axes.grid(alpha=0.3)
    for axes in all_axes[1]:
        axes.set_xlabel("ratings")
    for axes in all_axes[:, 0]:
        axes.set_ylabel("processor seconds")
    all_axes[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
