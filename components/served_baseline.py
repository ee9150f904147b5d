"""ServedBaseline: the model that every candidate is compared with."""

import os

from tfx.dsl.component.experimental.annotations import (
    InputArtifact,
    OutputArtifact,
    Parameter,
)
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from tfx_recommender.components.serving import served_models
from tfx_recommender.foundation.errors import UserError
from tfx_recommender.transform.features import SPLITS, Columns

DESCRIPTION_PROPERTY = "description"
DIGEST_PROPERTY = "digest"
ANCHOR_FOLDER = "Anchor"
"""Beside the model, if it is another: the last version that was proved better than its baseline."""


@component
def ServedBaseline(  # noqa: N802 - TFX names a component like a class
    examples: InputArtifact[standard_artifacts.Examples],
    model: OutputArtifact[standard_artifacts.Model],
    serving_directory: Parameter[str],
    served_digest: Parameter[str],
    rating_min: Parameter[float] = None,
    rating_max: Parameter[float] = None,
) -> None:
    """Outputs the served model or, before the first push, biases and popularity.

    Args:
      examples: all splits; the first baseline is fitted to `train`.
      model: the baseline, a SavedModel; its custom property `description` names it.
      serving_directory: where versions are pushed to.
      served_digest: of the served model when the run began; "" if nothing is served.
      rating_min: smallest rating of the scale; not given: the examples are events, which have no
        ratings.
      rating_max: largest rating of the scale; not given for events.

    Raises:
      UserError: what is served changed since the run began, or is damaged; or a bucket does not
        answer.
    """
    target = path_utils.serving_model_dir(model.uri)
    if not served_digest:
        # Imported here: the process that launches nodes only declares them.
        from tfx_recommender.components import first_baseline

        splits = {
            name: os.path.join(artifact_utils.get_split_uri([examples], name), "*")
            for name in SPLITS
        }
        columns = Columns(rating_min, rating_max, has_timestamp=False)
        first_baseline.export(splits, target, columns)
        description = "popularity" if rating_min is None else "biases and popularity"
        model.set_string_custom_property(DESCRIPTION_PROPERTY, description)
        model.set_string_custom_property(DIGEST_PROPERTY, "")
        return
    served = served_models.served(serving_directory)
    if served is None or served.digest != served_digest:
        raise UserError(
            f"{serving_directory}: somebody pushed or rolled back since the run began; run again"
        )
    served_models.fetch(served, target)
    architecture = served.record.get("model", "unknown model")
    model.set_string_custom_property(
        DESCRIPTION_PROPERTY, f"{architecture}, served version {served.version}"
    )
    model.set_string_custom_property(DIGEST_PROPERTY, served.digest)
    anchor = served.record.get(served_models.ANCHOR)
    # Where it is gone, the served model is the oldest that can be asked.
    if anchor in served_models.versions(serving_directory) and anchor != served.version:
        proved = served_models.served(serving_directory, anchor)
        if proved is not None:
            served_models.fetch(proved, os.path.join(model.uri, ANCHOR_FOLDER))
