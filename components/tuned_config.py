"""TunedConfig: the best hyperparameters of all searches, as a file that overrides the config."""

from __future__ import annotations

import json
import os
from typing import Any

import yaml
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.types.artifact_utils import get_single_instance
from tfx.types.component_spec import ChannelParameter

from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
from tfx_recommender.trainer.search_space import nested

OVERLAY = "overlay.yaml"
SEARCHES = "searches.json"
_KINDS = {
    "best_hyperparameters": standard_artifacts.HyperParameters,
    "tuner_results": standard_artifacts.TunerResults,
}
_HEADS = [(name, head) for name in ARCHITECTURES for head in ("rating", "preference")]


class TunedConfigExecutor(base_executor.BaseExecutor):
    """What `TunedConfig` does."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, object],
    ) -> None:
        models: dict[str, dict[str, object]] = {}
        searches = []
        for name, head in _HEADS:
            best_key, results_key = (f"{kind}_{name}_{head}" for kind in _KINDS)
            if not input_dict.get(best_key):
                continue
            best = _read(input_dict[best_key], "best_hyperparameters.txt")["values"]
            trials = _read(input_dict[results_key], "tuner_results.json")
            values = {key: _short(value) for key, value in best.items()}
            models.setdefault(name, {})[head] = nested(values)
            searches.append(
                {
                    "architecture": name,
                    "head": head,
                    "values": values,
                    "score": trials[0]["score"],
                    "trials": len(trials),
                }
            )
        folder = get_single_instance(output_dict["overlay"]).uri
        overlay = yaml.safe_dump({"models": models}, sort_keys=True)
        for file_name, content in ((OVERLAY, overlay), (SEARCHES, json.dumps(searches, indent=2))):
            with fileio.open(os.path.join(folder, file_name), "w") as file:
                file.write(content)
        print(overlay)  # into the step's log


class TunedConfigSpec(types.ComponentSpec):
    """The inputs and outputs of `TunedConfig`."""

    # Kubeflow takes plain channels only, so there is one input of each kind per head.
    INPUTS = {
        f"{kind}_{name}_{head}": ChannelParameter(type=artifact, optional=True)
        for kind, artifact in _KINDS.items()
        for name, head in _HEADS
    }
    OUTPUTS = {"overlay": ChannelParameter(type=standard_artifacts.HyperParameters)}
    PARAMETERS: dict[str, object] = {}


class TunedConfig(base_component.BaseComponent):
    """Collects the results of Tuner nodes.

    Output `overlay`: `overlay.yaml`, for `run CONFIG --set @FILE`, numbers to three digits; and
    `searches.json`: a list of architecture, head, values, score (RMSE or NDCG on validation, of
    the best trial) and trials (how many were completed).
    """

    SPEC_CLASS = TunedConfigSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(TunedConfigExecutor)

    def __init__(self, inputs: dict[str, types.BaseChannel]) -> None:
        """Declares the node.

        Args:
          inputs: `best_hyperparameters_<architecture>_<head>` and `tuner_results_…` of each Tuner.
        """
        overlay = types.Channel(type=standard_artifacts.HyperParameters)
        super().__init__(spec=TunedConfigSpec(**inputs, overlay=overlay))


def _read(artifacts: list[types.Artifact], name: str) -> Any:
    with fileio.open(os.path.join(get_single_instance(artifacts).uri, name)) as file:
        return json.loads(file.read())


def _short(value: object) -> object:
    """Rounds numbers to three digits; further digits are noise."""
    return float(f"{value:.3g}") if isinstance(value, float) else value
