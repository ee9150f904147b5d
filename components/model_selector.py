"""ModelSelector: the best of the blessed models, or none."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.types.artifact_utils import get_single_instance
from tfx.types.component_spec import ChannelParameter, ExecutionParameter
from tfx.utils import path_utils

from tfx_recommender.components.evaluator import verdict
from tfx_recommender.components.evaluator.component import BLESSED_PROPERTY
from tfx_recommender.components.evaluator.predictions import CANDIDATE
from tfx_recommender.components.serving import served_models
from tfx_recommender.trainer.architectures.registry import ARCHITECTURES

VERDICTS_PROPERTY = "verdicts"
NAME_PROPERTY = "name"
PROVED_PROPERTY = "proved_better"
DIGEST_PROPERTY = "digest"
_KINDS = {
    "model": standard_artifacts.Model,
    "blessing": standard_artifacts.ModelBlessing,
    "evaluation": standard_artifacts.ModelEvaluation,
}


class ModelSelectorExecutor(base_executor.BaseExecutor):
    """What `ModelSelector` does."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        withdrawn = json.loads(exec_properties["withdrawn"])
        metric, sign = exec_properties["metric"], -1 if exec_properties["lower_is_better"] else 1
        verdicts: dict[str, dict[str, Any]] = {}
        values: dict[str, float] = {}
        for name in ARCHITECTURES:
            if not input_dict.get(f"model_{name}"):
                continue
            model = get_single_instance(input_dict[f"model_{name}"])
            evaluation = get_single_instance(input_dict[f"evaluation_{name}"])
            blessing = get_single_instance(input_dict[f"blessing_{name}"])
            digest = served_models.digest(path_utils.serving_model_path(model.uri))
            reasons = verdict.reasons(evaluation.uri)
            if digest == exec_properties["served_digest"]:
                reasons.append("it is what is served")
            if digest in withdrawn:
                reasons.append("it was withdrawn by a rollback")
            blessed = not reasons and blessing.get_int_custom_property(BLESSED_PROPERTY) == 1
            verdicts[name] = {"blessed": blessed, "reasons": reasons, "digest": digest}
            if blessed:
                values[name] = sign * verdict.metrics_of(evaluation.uri, CANDIDATE)[metric]
        best = max(values, key=lambda name: values[name], default="")
        champion = get_single_instance(output_dict["champion"])
        blessing = get_single_instance(output_dict["blessing"])
        if best:
            source = get_single_instance(input_dict[f"model_{best}"])
            evaluation = get_single_instance(input_dict[f"evaluation_{best}"])
            is_first = not exec_properties["served_digest"]
            proved = is_first or verdict.is_proved_better(evaluation.uri)
            champion.set_int_custom_property(PROVED_PROPERTY, int(proved))
            shutil.copytree(
                path_utils.serving_model_path(source.uri),
                path_utils.serving_model_dir(champion.uri),
            )
        champion.set_string_custom_property(NAME_PROPERTY, best)
        # Of the files that were judged: what becomes of the copy, the Pusher notices.
        digest = verdicts[best]["digest"] if best else ""
        champion.set_string_custom_property(DIGEST_PROPERTY, digest)
        blessing.set_int_custom_property(BLESSED_PROPERTY, int(bool(best)))
        blessing.set_string_custom_property(VERDICTS_PROPERTY, json.dumps(verdicts))
        path = os.path.join(blessing.uri, "BLESSED" if best else "NOT_BLESSED")
        with fileio.open(path, "w") as file:
            file.write("")


class ModelSelectorSpec(types.ComponentSpec):
    """The inputs, outputs and properties of `ModelSelector`."""

    # Kubeflow takes plain channels only, so there is one input of each kind per architecture.
    INPUTS = {
        f"{kind}_{name}": ChannelParameter(type=artifact, optional=True)
        for kind, artifact in _KINDS.items()
        for name in ARCHITECTURES
    }
    OUTPUTS = {
        "champion": ChannelParameter(type=standard_artifacts.Model),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
    }
    PARAMETERS = {
        "metric": ExecutionParameter(type=str),
        "lower_is_better": ExecutionParameter(type=int),
        "served_digest": ExecutionParameter(type=str),
        "withdrawn": ExecutionParameter(type=str),
    }


class ModelSelector(base_component.BaseComponent):
    """Copies the best blessed model to `champion`, or nothing.

    Outputs: `champion` (custom properties `name` and `digest`, that of the model that was judged;
    "" and no files if none is blessed; `proved_better`, 1 unless a gate's policy let it pass as not
    worse) and `blessing` (`blessed` 1 or 0; `verdicts`: JSON, architecture -> blessed, reasons,
    digest).
    """

    SPEC_CLASS = ModelSelectorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(ModelSelectorExecutor)

    def __init__(
        self,
        inputs: dict[str, types.BaseChannel],
        metric: str,
        lower_is_better: bool,
        served_digest: str,
        withdrawn: tuple[str, ...],
    ) -> None:
        """Declares the node.

        Args:
          inputs: `model_<architecture>`, `blessing_…` and `evaluation_…` of each Trainer.
          metric: the metric to choose by.
          lower_is_better: which way it goes.
          served_digest: of the served model, which is never pushed again; "" if none.
          withdrawn: digests of models that a rollback took out of service.
        """
        super().__init__(
            spec=ModelSelectorSpec(
                **inputs,
                metric=metric,
                lower_is_better=int(lower_is_better),
                served_digest=served_digest,
                withdrawn=json.dumps(sorted(withdrawn)),
                champion=types.Channel(type=standard_artifacts.Model),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
