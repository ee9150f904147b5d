"""Every row of the table of nodes is true; no path of a compiled file is imported unknown."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import tfx.components  # noqa: F401 - must be imported before TFDV on older glibc

from tfx_recommender.components.evaluator import catalogue
from tfx_recommender.components.evaluator.component import require_own_metrics
from tfx_recommender.foundation.errors import ConfigError
from tfx_recommender.pipeline import quality_gate
from tfx_recommender.pipeline.nodes import NODE_KINDS, kind_of, require_known_code
from tfx_recommender.pipeline.settings import config_file


@pytest.mark.parametrize("row", [row for row in NODE_KINDS.values() if row.executor])
def test_every_path_of_a_row_can_be_imported(row: object) -> None:
    paths = [row.executor, *row.code.values()]  # type: ignore[attr-defined]
    for path in paths:
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))
    for module in row.imports:  # type: ignore[attr-defined]
        importlib.import_module(module)


@pytest.mark.parametrize(
    ("node", "properties"),
    [
        ("Trainer-mf", {"run_fn": "os.system"}),
        ("Trainer-mf", {"run_fn": "tfx_recommender.trainer.tuner_fn.tuner_fn"}),
        ("Trainer-mf", {"module_file": "s3://elsewhere/trainer.py"}),
        ("Trainer-mf", {"trainer_fn": "os.system"}),
        ("Transform", {"preprocessing_fn": "os.system"}),
        ("Transform", {"module_path": "elsewhere@s3://elsewhere/wheel.whl"}),
        ("StatisticsGen", {"stats_options_updater_fn": "os.system"}),
        ("Tuner-mf-rating", {"tuner_fn": "os.system"}),
        ("DataGate", {"run_fn": kind_of("Trainer").code["run_fn"]}),
    ],
)
def test_k9_other_code_than_the_row_names_is_refused(node: str, properties: dict[str, str]) -> None:
    (name,) = properties
    with pytest.raises(ConfigError, match=f"{node}: {name} names"):
        require_known_code(node, properties)


def test_k9_the_code_of_the_row_is_known() -> None:
    for row in NODE_KINDS.values():
        require_known_code(row.name, {**row.code, "module_file": None, "module_path": ""})


def test_a_missing_row_is_named() -> None:
    with pytest.raises(LookupError, match="has no row 'Reporter'"):
        kind_of("Reporter-mf")


def test_k9_a_metric_of_another_module_is_refused(small: Path) -> None:
    ours = quality_gate.eval_config(config_file.load(str(small / "config.yaml")))
    require_own_metrics(ours)
    for name, other in (("CatalogueMetric", "Recall"), (catalogue.TFMA_MODULE, "os")):
        with pytest.raises(ConfigError, match="Evaluator: eval_config names the metric"):
            require_own_metrics(ours.replace(f'"{name}"', f'"{other}"', 1))
