"""Evaluator: candidate and baseline side by side on the test split, judged by TFMA's gates.

This is the declaration; the work, and what it imports, is in `comparison.py`.
"""

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

from tfx_recommender.components.served_baseline import ANCHOR_FOLDER, DIGEST_PROPERTY
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
    """Scores the test split with both models and lets TFMA compute, slice and judge.

    TFX's own Evaluator would load each model and feed it rows alone. A true rank needs more
    than a row: the catalogue and the training histories of this run. So ratings, ranks and lists
    are computed here and handed to TFMA as predictions.

    Args:
      examples: all splits; `test` is scored, `train` gives the histories.
      model: the candidate.
      baseline: what it has to beat.
      evaluation: TFMA's metrics and validation result, and `verdict.py`'s extract of them.
      blessing: `blessed` is 1 if every gate is passed, else 0.
      eval_config: TFMA's EvalConfig as JSON (see `pipeline/quality_gate.py`).
      relevance_threshold: smallest label of a held-out item that is ranked.
      k: length of the lists of recommended items.
      ranked_users: users whose items are ranked, at most, drawn at random; 0: all.
      comparison: the number of this comparison with the served model, from 1 (`evidence.py` says
        what for).
      beam_pipeline: given by TFX.
    """
    # Not above: the process that launches nodes declares them only.
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
