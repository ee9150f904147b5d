"""Shows the result of a search for hyperparameters, and copies its overlay."""

from __future__ import annotations

import json
import os
import shutil

from rich.console import Console
from rich.table import Table

from tfx_recommender.components.tuned_config import OVERLAY, SEARCHES


def show(folder: str, console: Console) -> None:
    """Prints the best of each search; `folder` is the output of `TunedConfig`."""
    table = Table("model", "head", "validation", "best of", "hyperparameters")
    with open(os.path.join(folder, SEARCHES), encoding="utf-8") as file:
        searches = json.load(file)
    for search in searches:
        metric = "RMSE" if search["head"] == "rating" else "NDCG"
        values = ", ".join(f"{name}={value}" for name, value in search["values"].items())
        score = f"{metric} {search['score']:.4f}"
        table.add_row(search["architecture"], search["head"], score, str(search["trials"]), values)
    console.print(table)


def write(folder: str, path: str) -> None:
    """Copies the overlay; a reader never sees half of it."""
    shutil.copyfile(os.path.join(folder, OVERLAY), f"{path}.part")
    os.replace(f"{path}.part", path)
