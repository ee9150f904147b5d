"""Writes speed.md, speed.png and speed-growth.png from what benchmarks/speed.py measured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

# What does the same work on either side.
STEPS = {
    "ingest": (["CsvExampleGen", "ImportSchemaGen"], ["fingerprint", "RatingsExampleGen"]),
    "statistics": (["StatisticsGen"], ["StatisticsGen"]),
    "validate": (["ExampleValidator"], ["ExampleValidator"]),
    "transform": (["Transform"], ["Transform"]),
    "train": (["Trainer"], ["Trainer-mlp"]),
    "evaluate": (["Evaluator"], ["Evaluator-mlp"]),
    "push": (["Pusher"], ["Pusher"]),
}
# What only we do, inside a node: it is taken off the node's line above.
PARTS = {"Trainer-mlp": "fitted the ranking head", "Evaluator-mlp": "ranked in the whole catalogue"}
# Nodes that only we have.
EXTRA = {"ServedBaseline": "the baseline", "DataGate": "DataGate", "ModelSelector": "ModelSelector"}
BESIDE = ("start-up", "launcher")
TOTAL, WHOLE = "ingest to push", "whole run"

Node = dict[str, float]
Line = tuple[Node | None, Node | None]


def lines(measured: dict[str, Any]) -> dict[str, Line]:
    """Line -> what stock took and what we took for it; None: not at all.

    Args:
      measured: side -> `nodes` and `parts`, see `speed.measure`.

    Raises:
      KeyError: a node, or a part that only we do, was not measured.
    """
    stock, ours = (measured[side]["nodes"] for side in ("stock", "ours"))
    parts = {node: measured["ours"]["parts"][node][part] for node, part in PARTS.items()}
    net = ours | {name: _minus(ours[name], part) for name, part in parts.items()}
    found: dict[str, Line] = {"start-up": (stock["start-up"], ours["start-up"])}
    for step, (theirs, own) in STEPS.items():
        found[step] = (_sum(stock, theirs), _sum(net, own))
    found[TOTAL] = (_sum(stock, _of(0)), _sum(net, _of(1)))
    found["launcher"] = (stock["launcher"], ours["launcher"])
    for node, part in PARTS.items():
        # Memory is the node's, whose line has it.
        found[f"only ours: {part}"] = (None, parts[node])
    for node, what in EXTRA.items():
        found[f"only ours: {what}"] = (None, ours[node])
    found[WHOLE] = (_sum(stock, list(stock)), _sum(ours, list(ours)))
    return found


def write(results: dict[str, dict[str, Any]], folder: Path) -> None:
    """Writes speed.md, and the plots of what was measured.

    Args:
      results: rows -> side -> what `speed.measure` returned.
      folder: where to.
    """
    sizes = {int(rows): results[rows] for rows in sorted(results, key=int)}
    compared = {rows: of for rows, of in sizes.items() if {"stock", "ours"} <= of.keys()}
    shipped = {rows: of["shipped"] for rows, of in sizes.items() if "shipped" in of}
    found = {rows: lines(of) for rows, of in compared.items()}
    parts = [_INTRODUCTION, _COMPARED] if compared else [_INTRODUCTION]
    for rows in compared:
        machines = (f"{side}: {_machine(compared[rows][side])}" for side in ("stock", "ours"))
        parts.append(f"\n### {rows:,} ratings ({'; '.join(machines)})\n\n{comparison(found[rows])}")
    if compared:
        _plot_comparison(found, folder / "speed.png")
    if shipped:
        parts += [_SHIPPED, growth(shipped), "\n", quality(shipped)]
        _plot_growth(shipped, folder / "speed-growth.png")
    (folder / "speed.md").write_text("".join(parts), encoding="utf-8")


_INTRODUCTION = """# Speed

Written by `make bench-speed`, on generated ratings (like LibimSeTi's). Nodes run one at a time,
each in a process of its own, on either side; seconds are of its execution, memory is what that
process held at most, with what the imports hold. How: the top of `speed.py`, `stock.py`.
"""
_COMPARED = """
## Stock TFX 1.21 and ours

The same MLP, epochs, batch size, splits and launcher. What stock TFX does not do (a ranking head,
ranks in the whole catalogue of two models, a baseline and two more nodes) has lines of its own and
is in no other but the whole run. What ours pushes is larger (both heads, who rated what), and is
written to the disk before it is served. Start-up: the imports of everything that executes nodes,
and ours has the launcher's too. Ratios are stock's seconds by ours: above 1 we are faster;
processor seconds are the ones to trust where the machine had other work.

![processor seconds by ratings](speed.png)
"""
_SHIPPED = """
## Ours as shipped

`SCALE=full make bench-speed`: `pipeline/configs/libimseti-like.yaml` as it stands, all its
architectures, at LibimSeTi's size and at shares of it. Growth is the exponent between the two
largest sizes, in processor seconds by ratings: 1 is linear. Training stops where validation
improves no more, so a Trainer's epochs may differ from size to size. Its settings were chosen at
full size and kept for the others, to compare times: small shares take too few steps to learn much.

![processor seconds by ratings, each node](speed-growth.png)

"""


def _machine(of: dict[str, Any]) -> str:
    """What it ran on, and how it ended (which older results do not tell)."""
    end = {True: ", pushed", False: ", nothing pushed", None: ""}[of.get("pushed")]
    return f"{of['machine']}{end}"


def comparison(found: dict[str, Line]) -> str:
    """The table of one size (see `lines`)."""
    rows = [
        [line, *_cells(theirs), *_cells(own), *_ratios(theirs, own)]
        for line, (theirs, own) in found.items()
    ]
    heads = [f"{side}{what}" for side in ("stock: ", "ours: ") for what in _HEADS]
    return _table(["", *heads, "wall ratio", "processor ratio"], rows)


_HEADS = ("wall s", "processor s", "peak GiB")


def growth(shipped: dict[int, dict[str, Any]]) -> str:
    """What each node takes at each size, ascending."""
    nodes = {rows: of["nodes"] for rows, of in shipped.items()}
    nodes = {rows: of | {WHOLE: _sum(of, list(of))} for rows, of in nodes.items()}
    *_, last = nodes
    rows = []
    for name in nodes[last]:
        cells = [cell for of in nodes.values() for cell in _cells(of[name])]
        rows.append([name, *cells, _exponent({n: of[name] for n, of in nodes.items()})])
    held = [("", "", f"{of['at_once']:.2f}") for of in shipped.values()]
    rows.append(["all processes at once", *(cell for cells in held for cell in cells), ""])
    heads = [f"{rows:,}: {what}" for rows in nodes for what in _HEADS]
    machines = "; ".join(f"{rows:,}: {_machine(of)}" for rows, of in shipped.items())
    return f"{machines}\n\n" + _table(["", *heads, "growth"], rows)


def quality(shipped: dict[int, dict[str, Any]]) -> str:
    """RMSE and HitRate@10 of each model at each size; the noise floor is the generator's."""
    *_, last = shipped.values()
    rows = []
    for name in last["quality"]:
        values = [of["quality"][name] for of in shipped.values()]
        metrics = [of.get(metric) for of in values for metric in ("rmse", "hit_rate_at_10")]
        rows.append([name, *("" if metric is None else f"{metric:.4f}" for metric in metrics)])
    heads = [f"{rows:,}: {what}" for rows in shipped for what in ("RMSE", "HitRate@10")]
    return _table(["", *heads], rows)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in [heads, ["---"] * len(heads), *rows])


def _cells(node: Node | None) -> list[str]:
    if node is None:
        return [""] * 3
    peak = f"{node['peak']:.2f}" if "peak" in node else ""
    return [f"{node['wall']:.1f}", f"{node['processor']:.1f}", peak]


def _ratios(theirs: Node | None, own: Node | None) -> list[str]:
    if theirs is None or own is None:
        return ["", ""]
    ratios = (theirs[x] / own[x] if own[x] > 0.005 else math.inf for x in ("wall", "processor"))
    return [f"{ratio:.1f}" for ratio in ratios]


def _exponent(nodes: dict[int, Node]) -> str:
    if len(nodes) < 2 or min(node["processor"] for node in nodes.values()) < 0.005:
        return ""
    *_, (few, before), (many, after) = nodes.items()
    return f"{math.log(after['processor'] / before['processor']) / math.log(many / few):.2f}"


def _of(side: int) -> list[str]:
    return [name for names in STEPS.values() for name in names[side]]


def _sum(nodes: dict[str, Node], names: list[str]) -> Node:
    return {
        "wall": sum(nodes[name]["wall"] for name in names),
        "processor": sum(nodes[name]["processor"] for name in names),
        "peak": max(nodes[name]["peak"] for name in names),
    }


def _minus(node: Node, part: Node) -> Node:
    return {**node, **{x: node[x] - part[x] for x in ("wall", "processor")}}


def _plot_comparison(measured: dict[int, dict[str, Line]], path: Path) -> None:
    curves: dict[str, dict[str, dict[int, float]]] = {
        step: {
            name: {
                rows: node["processor"]
                for rows, found in measured.items()
                if (node := found[step][side]) is not None
            }
            for side, name in enumerate(("stock TFX", "ours"))
        }
        for step in (*STEPS, TOTAL)
    }
    _plot(curves, path)


def _plot_growth(shipped: dict[int, dict[str, Any]], path: Path) -> None:
    *_, last = shipped.values()
    curves = {}
    for name in last["nodes"]:
        seconds = {rows: of["nodes"][name]["processor"] for rows, of in shipped.items()}
        *_, (most, at_most) = seconds.items()
        if name not in BESIDE:
            curves[name] = {
                "ours": seconds,
                "linear": {rows: at_most * rows / most for rows in seconds},
            }
    _plot(curves, path)


def _plot(curves: dict[str, dict[str, dict[int, float]]], path: Path) -> None:
    """Title -> line -> ratings -> processor seconds."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    depth = math.ceil(len(curves) / 4)
    figure, all_axes = pyplot.subplots(depth, 4, figsize=(14, 3.5 * depth), squeeze=False)
    for axes, (title, of) in zip(all_axes.flat, curves.items(), strict=False):
        for name, seconds in of.items():
            style = {"linestyle": ":", "color": "grey"} if name == "linear" else {"marker": "o"}
            axes.loglog([*seconds], [*seconds.values()], label=name, **style)
        axes.set_title(title)
        axes.set_xlabel("ratings")
        axes.set_ylabel("processor seconds")
        axes.grid(alpha=0.3)
    for axes in [*all_axes.flat][len(curves) :]:
        axes.set_visible(False)
    all_axes[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
