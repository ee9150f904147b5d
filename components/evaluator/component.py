"""Evaluator: compares candidate and baseline on the test split; TFMA checks the gates.

This module declares the node; `comparison.py` does the work and has the heavy imports.
"""

import json
import os
from typing import Any

from tfx.dsl.component.experimental.annotations import (
    BeamComponentParameter,
    InputArtifact,
    OutputArtifact,
    Parameter,
)
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from tfx_recommender.components.evaluator import catalogue
from tfx_recommender.components.served_baseline import ANCHOR_FOLDER, DIGEST_PROPERTY
from tfx_recommender.foundation.errors import ConfigError
from tfx_recommender.transform.features import SPLITS

try:
    from apache_beam import Pipeline
except ModuleNotFoundError:  # as TFX itself does: what only launches nodes needs no Beam
    Pipeline = Any

BLESSED_PROPERTY = "blessed"


@component(use_beam=True)
def Evaluator(  # noqa: N802 - TFX names a component like a class
    examples: InputArtifact[standard_artifacts.Examples],
    model: InputArtifact[standard_artifacts.Model],
    baseline: InputArtifact[standard_artifacts.Model],
    evaluation: OutputArtifact[standard_artifacts.ModelEvaluation],
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
    eval_config: Parameter[str],
    relevance_threshold: Parameter[float],
    k: Parameter[int],
    ranked_users: Parameter[int],
    comparison: Parameter[str],
    beam_pipeline: BeamComponentParameter[Pipeline] = None,
) -> None:
    """Scores the test split with both models; TFMA computes and slices metrics, checks gates.

    TFX's own Evaluator gives a model one row at a time. A rank in the whole catalogue also needs
    the catalogue and the training histories of this run. So ratings, ranks and lists are computed
    here, and TFMA gets them as predictions.

    Args:
      examples: all splits; `test` is scored, `train` gives the histories.
      model: the candidate.
      baseline: the model to beat.
      evaluation: TFMA's metrics and validation result, and `verdict.py`'s extract of them.
      blessing: `blessed` is 1 if every gate is passed, else 0.
      eval_config: TFMA's EvalConfig as JSON (see `pipeline/quality_gate.py`).
      relevance_threshold: smallest label of a row whose item is ranked.
      k: length of the lists of recommended items.
      ranked_users: maximum number of users whose items are ranked, drawn at random; 0: all.
      comparison: the number of this comparison with the served model, from 1 (see `evidence.py`).
      beam_pipeline: given by TFX.

    Raises:
      ConfigError: `eval_config` names metrics of other modules, which TFMA would import.
    """
    require_own_metrics(eval_config)
    # Imported here: the process that launches nodes only declares them.
    from tfx_recommender.components.evaluator import comparison as two_models

    splits = {
        name: os.path.join(artifact_utils.get_split_uri([examples], name), "*") for name in SPLITS
    }
    blessed = two_models.evaluate(
        splits,
        path_utils.serving_model_path(model.uri),
        path_utils.serving_model_path(baseline.uri),
        anchor if os.path.isdir(anchor := os.path.join(baseline.uri, ANCHOR_FOLDER)) else None,
        eval_config,
        relevance_threshold,
        k,
        ranked_users,
        int(comparison),
        "served" if baseline.get_string_custom_property(DIGEST_PROPERTY) else "baseline",
        beam_pipeline,
        evaluation.uri,
    )
    blessing.set_int_custom_property(BLESSED_PROPERTY, int(blessed))
    with fileio.open(
        os.path.join(blessing.uri, "BLESSED" if blessed else "NOT_BLESSED"), "w"
    ) as file:
        file.write("")


def require_own_metrics(eval_config: str) -> None:
    """Raises ConfigError unless every metric of an EvalConfig (JSON) is the catalogue's."""
    for spec in json.loads(eval_config).get("metricsSpecs", []):
        for metric in spec.get("metrics", []):
            named = metric.get("module"), metric.get("className")
            if named != (catalogue.TFMA_MODULE, catalogue.TFMA_CLASS):
                raise ConfigError(
                    f"Evaluator: eval_config names the metric {named[1]!r} of {named[0]!r}, which"
                    " is not imported here; compile the pipeline anew"
                )
