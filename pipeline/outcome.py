"""What came of a run: `summary.json` and the result table."""

from __future__ import annotations

import json
import math
import os
import tempfile
from typing import Any

from rich.console import Console
from rich.table import Table

from tfx_recommender.components import served_baseline
from tfx_recommender.components.evaluator import verdict
from tfx_recommender.components.evaluator.component import BASELINE, CANDIDATE
from tfx_recommender.components.model_selector import NAME_PROPERTY, VERDICTS_PROPERTY
from tfx_recommender.components.pusher import PUSHED_PROPERTY, VERSION_PROPERTY
from tfx_recommender.components.ratings_example_gen.component import DATASET_PROPERTY
from tfx_recommender.pipeline.config import Config, node_id
from tfx_recommender.pipeline.local_runner import Run, Store


def summarise(config: Config, run: Run, store: Store, world_served_digest: str) -> dict[str, Any]:
    """The summary of a finished run (see ARCHITECTURE.md for each key)."""
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
            **_metrics(uri, BASELINE),
        },
        "champion": champion or None,
        "pushed_version": pushed[VERSION_PROPERTY].int_value if was_pushed else None,
        "node_seconds": run.node_seconds,
        "cached_nodes": run.cached_nodes,
    }


def failure(run: Run, status: str, message: str) -> dict[str, Any]:
    """The summary of a run that did not finish."""
    return {
        "run_id": run.run_id,
        "status": status,
        "error": message,
        "dataset": None,
        "models": {},
        "baseline": None,
        "champion": None,
        "pushed_version": None,
        "node_seconds": run.node_seconds,
        "cached_nodes": run.cached_nodes,
    }


def write(path: str, summary: dict[str, Any]) -> None:
    """Writes the summary, all or nothing."""
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), suffix=".tmp")
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(summary, file, indent=2)
        file.write("\n")
    os.replace(temporary, path)


def show(config: Config, summary: dict[str, Any], console: Console) -> None:
    """Prints the result table: baseline and models, metrics, verdicts, and what was read."""
    metrics = [config.metric_name(metric) for metric in ("rmse", "mae", "hit_rate", "ndcg")]
    table = Table(title=f"{config.name}: {summary['status']}", title_justify="left")
    table.add_column("model")
    for metric in metrics:
        name, _, k = metric.partition("_at_")
        table.add_column({"hit_rate": "HitRate"}.get(name, name.upper()) + (f"@{k}" if k else ""))
    table.add_column("verdict")
    for name, values in {"baseline": summary["baseline"], **summary["models"]}.items():
        cells = [_cell(values[m], values[f"{m}_standard_error"]) for m in metrics]
        table.add_row(name, *cells, _verdict(name, values, summary))
    console.print(table)
    lines = [f"baseline: {summary['baseline']['model']}"]
    for name, values in summary["models"].items():
        lines += [f"{name}: {reason}" for reason in values["reasons"]]
    counts = summary["dataset"]
    lines.append(
        f"{counts['ratings']} ratings ({counts['train']} train, {counts['validation']} validation,"
        f" {counts['test']} test) of {counts['users']} users on {counts['items']} items;"
        f" {counts['users_too_few_to_hold_out']} users with too few ratings to hold any out,"
        f" {counts['repeated_ratings_dropped']} repeated ratings dropped"
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


def _cell(value: float | None, error: float | None) -> str:
    return "none" if value is None else f"{value:.4f} ±{error or 0.0:.4f}"


def _metrics(uri: str, model: str, slice_key: tuple[Any, ...] = ()) -> dict[str, float | None]:
    values = verdict.metrics_of(uri, model, slice_key)
    return {
        name: None if math.isnan(value) else value
        for name, value in sorted(values.items())
        if not name.endswith("_diff")
    }


def _slices(uri: str) -> dict[str, dict[str, float | None]]:
    return {
        ", ".join(f"{feature}={value}" for feature, value in key): _metrics(uri, CANDIDATE, key)
        for key in verdict.slices_of(uri, CANDIDATE)
        if key
    }
