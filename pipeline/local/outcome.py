"""What came of a finished run: its summary, and the result table."""

from __future__ import annotations

import json
import math
from typing import Any

from rich.console import Console
from rich.table import Table

from tfx_recommender.components import served_baseline
from tfx_recommender.components.evaluator import catalogue, verdict
from tfx_recommender.components.evaluator.predictions import BASELINE, CANDIDATE
from tfx_recommender.components.model_selector import NAME_PROPERTY, VERDICTS_PROPERTY
from tfx_recommender.components.pusher import PUSHED_PROPERTY, VERSION_PROPERTY
from tfx_recommender.components.ratings_example_gen.component import DATASET_PROPERTY
from tfx_recommender.pipeline.local.runner import Store
from tfx_recommender.pipeline.local.summary import Run
from tfx_recommender.pipeline.settings.config import Config, node_id
from tfx_recommender.transform.features import DECILES, ITEM_POPULARITY_DECILE, USER_ACTIVITY_DECILE

_OF_LISTS = tuple(
    name for name, row in catalogue.METRICS.items() if isinstance(row, catalogue.ListMetric)
)
_BY_DECILE = {
    f"rmse_by_{USER_ACTIVITY_DECILE}": "worst RMSE by user activity (decile)",
    f"rmse_by_{ITEM_POPULARITY_DECILE}": "worst RMSE by item popularity (decile)",
}


def summarise(config: Config, run: Run, store: Store, world_served_digest: str) -> dict[str, Any]:
    """The summary of a finished run (see `summary.py` for each key)."""
    outputs = {node: store.outputs(execution) for node, execution in run.executions.items()}
    blessing = outputs["ModelSelector"]["blessing"].custom_properties
    verdicts = json.loads(blessing[VERDICTS_PROPERTY].string_value)
    models = {}
    for name in config.models.chosen():
        uri = outputs[node_id("Evaluator", name)]["evaluation"].uri
        models[name] = {
            **_metrics(uri, CANDIDATE),
            "blessed": verdicts[name]["blessed"],
            "reasons": verdicts[name]["reasons"],
            "comparisons": verdict.comparisons(uri),
            "slices": _slices(uri),
        }
    baseline = outputs["ServedBaseline"]["model"].custom_properties
    pushed = outputs["Pusher"]["pushed"].custom_properties
    # A cached Pusher pushed nothing in this run.
    was_pushed = pushed[PUSHED_PROPERTY].int_value == 1 and "Pusher" not in run.cached_nodes
    is_served = world_served_digest in [entry["digest"] for entry in verdicts.values()]
    champion = outputs["ModelSelector"]["champion"].custom_properties[NAME_PROPERTY].string_value
    return {
        "run_id": run.run_id,
        "status": "pushed" if was_pushed else "unchanged" if is_served else "rejected",
        "dataset": json.loads(
            outputs["RatingsExampleGen"]["examples"]
            .custom_properties[DATASET_PROPERTY]
            .string_value
        ),
        "models": models,
        "baseline": {
            "model": baseline[served_baseline.DESCRIPTION_PROPERTY].string_value,
            **_of_both(_metrics(uri, BASELINE)),
        },
        "champion": champion or None,
        "pushed_version": pushed[VERSION_PROPERTY].int_value if was_pushed else None,
        "node_seconds": run.node_seconds,
        "cached_nodes": run.cached_nodes,
    }


def show(config: Config, summary: dict[str, Any], console: Console) -> None:
    """Prints the result tables: baseline and models, metrics, verdicts, and what was read."""
    rows = {"baseline": summary["baseline"], **summary["models"]}
    k, metrics = config.evaluation.k, config.metrics()
    compared = [metric for metric in metrics if metric.is_compared]
    table = Table(title=f"{config.name}: {summary['status']}", title_justify="left")
    for heading in ("model", *(metric.reported_heading(k) for metric in compared), "verdict"):
        table.add_column(heading)
    for name, values in rows.items():
        names = [metric.reported_name(k) for metric in compared]
        cells = [_cell(values[one], values[f"{one}_standard_error"]) for one in names]
        table.add_row(name, *cells, _verdict(name, values, summary))
    console.print(table)
    table = Table()
    for heading in ("beside these", *rows):
        table.add_column(heading)
    for metric in metrics:
        if not metric.is_compared:
            figures = (values[metric.reported_name(k)] for values in rows.values())
            table.add_row(metric.reported_heading(k), *map(_figure, figures))
    if config.data.ratings is not None:
        for by_decile, heading in _BY_DECILE.items():
            worst = (_worst(values[by_decile]) for values in rows.values())
            table.add_row(heading, *worst)
    console.print(table)
    lines = [f"baseline: {summary['baseline']['model']}"]
    for name, values in summary["models"].items():
        passed = [text for text in values["comparisons"] if text not in values["reasons"]]
        lines += [f"{name}: {text}" for text in (*values["reasons"], *passed)]
    counts = summary["dataset"]
    noun = "ratings" if "ratings" in counts else "interactions"
    (repeated,) = (name for name in counts if name.startswith("repeated_"))
    lines.append(
        f"{counts[noun]} {noun} ({counts['train']} train, {counts['validation']} validation,"
        f" {counts['test']} test) of {counts['users']} users on {counts['items']} items;"
        f" {counts['users_too_few_to_hold_out']} users with too few {noun} to hold any out,"
        f" {counts[repeated]} {repeated.replace('_', ' ')}"
    )
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _verdict(name: str, values: dict[str, Any], summary: dict[str, Any]) -> str:
    if "blessed" not in values:
        return ""
    if not values["blessed"]:
        return "not blessed"
    if name != summary["champion"]:
        return "blessed"
    version = summary["pushed_version"]
    return f"pushed as {version}" if version else "champion"


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _worst(rmse: dict[str, float | None]) -> str:
    """The largest RMSE of all deciles, and which decile it is."""
    decile = max(rmse, key=lambda decile: math.inf if (r := rmse[decile]) is None else r)
    return f"{_figure(rmse[decile])} ({decile})"


def _cell(value: float | None, error: float | None) -> str:
    return "none" if value is None else f"{value:.4f} ±{error or 0.0:.4f}"


def _metrics(uri: str, model: str) -> dict[str, Any]:
    """Metrics on all rows by name, and RMSE by decile ("1" to "10", those that have rows)."""
    sliced = verdict.sliced_metrics_of(uri, model)
    by_decile = {
        f"rmse_by_{feature}": {
            str(decile): _finite(sliced[key]["rmse"])
            for decile in range(1, 11)
            if (key := ((feature, str(decile)),)) in sliced
        }
        for feature in DECILES
    }
    return _numbers(sliced[()]) | {name: values for name, values in by_decile.items() if values}


def _slices(uri: str) -> dict[str, dict[str, float | None]]:
    """The candidate's metrics in each configured slice; lists are per user and left out."""
    return {
        ", ".join(f"{feature}={value}" for feature, value in key): {
            name: value
            for name, value in _numbers(metrics).items()
            if not name.startswith(_OF_LISTS)
        }
        for key, metrics in verdict.sliced_metrics_of(uri, CANDIDATE).items()
        if key and key[0][0] not in DECILES
    }


def _numbers(metrics: dict[str, float]) -> dict[str, float | None]:
    return {
        name: _finite(value)
        for name, value in sorted(metrics.items())
        if not name.endswith("_diff")
    }


def _of_both(metrics: dict[str, Any]) -> dict[str, Any]:
    """Without what tells of both models, and is the candidate's."""
    of_both = ("_improvement", "_anchor_lower_bound")
    return {
        name: value for name, value in metrics.items() if not any(part in name for part in of_both)
    }


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
