"""The speed benchmark: like is compared with like, and the rest has lines of its own."""

from __future__ import annotations

import itertools
import math
import sys
import types
from typing import Any

import pytest

from benchmarks import speed, speed_report
from tfx_recommender.foundation import stopwatch

PARTS = {node: {part: {"wall": 1.0, "processor": 2.0}} for node, part in speed_report.PARTS.items()}


def nodes(side: int, **used: tuple[float, float]) -> dict[str, dict[str, float]]:
    """Each step's nodes take 1 s between them, 2 s of processors; those named otherwise."""
    found = {"start-up": (9.0, 9.0), "launcher": (3.0, 3.0)}
    for names in speed_report.STEPS.values():
        found |= {name: (1 / len(names[side]), 2 / len(names[side])) for name in names[side]}
    found |= used
    return {
        name: {"wall": wall, "processor": processor, "peak": 1.0}
        for name, (wall, processor) in found.items()
    }


def measured() -> dict[str, Any]:
    ours = nodes(1, **{"Trainer-mlp": (1.5, 3.0), "Evaluator-mlp": (3.0, 6.0)})
    for seconds, node in zip((7.0, 0.5, 0.25), speed_report.EXTRA, strict=True):
        ours[node] = {"wall": seconds, "processor": seconds, "peak": 8.0}
    return {"stock": {"nodes": nodes(0)}, "ours": {"nodes": ours, "parts": PARTS}}


def test_what_only_we_do_is_in_no_line_that_is_compared() -> None:
    found = speed_report.lines(measured())
    steps = {name: own for name, (_, own) in found.items() if name in speed_report.STEPS}
    seconds = {name: (own["wall"], own["processor"]) for name, own in steps.items() if own}
    expected: dict[str, object] = dict.fromkeys(speed_report.STEPS, pytest.approx((1, 2)))
    expected |= {"train": (0.5, 1.0), "evaluate": (2.0, 4.0)}
    assert seconds == expected
    theirs, own = found[speed_report.TOTAL]
    assert theirs == pytest.approx({"wall": 7, "processor": 14, "peak": 1})
    assert own == pytest.approx({"wall": 7.5, "processor": 15, "peak": 1})
    only_ours = {name: own for name, (stock, own) in found.items() if stock is None}
    assert [own["wall"] for own in only_ours.values() if own] == [1, 1, 7, 0.5, 0.25]
    theirs, own = found[speed_report.WHOLE]
    assert theirs == pytest.approx({"wall": 19, "processor": 26, "peak": 1})
    wall, processor = (own_steps + 7.75 + 12 for own_steps in (7.5 + 2, 15 + 4))
    assert own == pytest.approx({"wall": wall, "processor": processor, "peak": 8})


def test_ratios_are_stock_by_ours() -> None:
    table = speed_report.comparison(speed_report.lines(measured()))
    train = next(line for line in table.splitlines() if line.startswith("| train |"))
    assert train == "| train | 1.0 | 2.0 | 1.00 | 0.5 | 1.0 | 1.00 | 2.0 | 2.0 |"
    extra = next(line for line in table.splitlines() if "only ours: the baseline" in line)
    assert extra.endswith(" |  |  |  | 7.0 | 7.0 | 8.00 |  |  |")


def test_a_part_that_was_not_measured_is_an_error() -> None:
    incomplete = measured()
    incomplete["ours"]["parts"] = {"Trainer-mlp": PARTS["Trainer-mlp"]}
    with pytest.raises(KeyError, match="Evaluator-mlp"):
        speed_report.lines(incomplete)


def test_growth_is_the_exponent_of_the_two_largest_sizes() -> None:
    def shipped(seconds: float) -> dict[str, Any]:
        node = {"wall": 1.0, "processor": seconds, "peak": 1.0}
        quality = {"noise floor": {"rmse": 2.0}, "mf": {"rmse": 2.1, "hit_rate_at_10": 0.5}}
        return {"machine": "", "nodes": {"Trainer-mf": node}, "at_once": 3.0, "quality": quality}

    sizes = {100: shipped(5.0), 1_000: shipped(1.0), 100_000: shipped(10.0)}
    lines = speed_report.growth(sizes).splitlines()
    growth = {line.split(" | ")[0]: line.rstrip(" |").split(" | ")[-1] for line in lines}
    assert growth["| Trainer-mf"] == f"{math.log(10) / math.log(100):.2f}"
    assert growth["| all processes at once"] == "3.00"
    assert "| mf | 2.1000 | 0.5000 | 2.1000 " in speed_report.quality(sizes)
    assert "| noise floor | 2.0000 |  | 2.0000 " in speed_report.quality(sizes)


def test_parts_come_from_the_lines_of_the_stopwatch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.accumulate(itertools.count())  # 0, 1, 3, 6, 10, …
    clock = types.SimpleNamespace(monotonic=lambda: next(ticks), process_time=lambda: 7.25)
    monkeypatch.setattr(stopwatch, "time", clock)
    for node, times in (("ServedBaseline", 0), ("Trainer-mf", 2), ("Pusher", 0)):
        for _ in range(times):
            with stopwatch.timed("fitted the ranking head"):
                pass
        # A real one is in tests/pipeline/test_node_process.py.
        print(f"noise\ntfx-recommender: {node}: 1.0 s of processor time, 3 MiB", file=sys.stderr)
    found = speed.parts_of(capsys.readouterr().err)
    expected = {"wall": 1.0 + 3.0, "processor": 0.0}
    assert found == {"Trainer-mf": {"fitted the ranking head": expected}}
