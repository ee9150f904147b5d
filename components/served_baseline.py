"""ServedBaseline: what every candidate has to beat; there always is one."""

import os

import numpy as np
import pyarrow as pa
from tfx.dsl.component.experimental.annotations import (
    InputArtifact,
    OutputArtifact,
    Parameter,
)
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from tfx_recommender.components import served_models
from tfx_recommender.trainer import baseline, export, input_data
from tfx_recommender.trainer.problem import Catalogue, Entities, EntityShape
from tfx_recommender.transform.features import SPLITS, TRAIN, Columns, Side

DESCRIPTION_PROPERTY = "description"
DIGEST_PROPERTY = "digest"


@component
def ServedBaseline(  # noqa: N802 - TFX names a component like a class
    examples: InputArtifact[standard_artifacts.Examples],
    model: OutputArtifact[standard_artifacts.Model],
    serving_directory: Parameter[str],
    served_digest: Parameter[str],
    rating_min: Parameter[float],
    rating_max: Parameter[float],
) -> None:
    """The served model; before the first push, biases for ratings and popularity for ranking.

    Args:
      examples: the train split fits the first baseline.
      model: the baseline, a SavedModel; custom property `description` says which.
      serving_directory: where versions are pushed to.
      served_digest: of the served model when the run began; "" if nothing is served.
      rating_min: smallest rating of the scale.
      rating_max: largest rating of the scale.

    Raises:
      RuntimeError: what is served changed since the run began.
      UserError: a bucket does not answer, or the version's files are not those that were pushed.
    """
    target = path_utils.serving_model_dir(model.uri)
    if not served_digest:
        _export_first_baseline(examples, target, Columns(rating_min, rating_max, False))
        model.set_string_custom_property(DESCRIPTION_PROPERTY, "biases and popularity")
        model.set_string_custom_property(DIGEST_PROPERTY, "")
        return
    served = served_models.served(serving_directory)
    if served is None or served.digest != served_digest:
        raise RuntimeError(f"{serving_directory} changed during the run; run again")
    served_models.fetch(served, target)
    architecture = served.record.get("model", "unknown model")
    model.set_string_custom_property(
        DESCRIPTION_PROPERTY, f"{architecture}, served version {served.version}"
    )
    model.set_string_custom_property(DIGEST_PROPERTY, served.digest)


def _export_first_baseline(
    examples: standard_artifacts.Examples, target: str, columns: Columns
) -> None:
    """Fits on the train split and writes the SavedModel."""
    rows = {
        name: input_data.read(os.path.join(artifact_utils.get_split_uri([examples], name), "*"))
        for name in SPLITS
    }
    users, items = _entities(rows[TRAIN].user_id), _entities(rows[TRAIN].item_id)
    train = input_data.interactions(rows[TRAIN], users, items)
    rating_range = (columns.rating_min, columns.rating_max)
    export.export(
        target,
        baseline.bias_and_popularity(train, len(users), len(items), rating_range),
        Catalogue(users, items, _shape("user", users), _shape("item", items)),
        columns,
        transform=None,
        train=train,
        known=input_data.concatenate(*rows.values()),
        card={"architecture": "bias_and_popularity"},
    )


def _entities(ids: pa.DictionaryArray) -> Entities:
    count = len(ids.dictionary)
    return Entities(
        raw_ids=np.array(ids.dictionary.to_pylist(), object),
        index=np.arange(count + 1),
        numeric=np.zeros((count + 1, 0), np.float32),
        categories={},
    )


def _shape(side: Side, entities: Entities) -> EntityShape:
    return EntityShape(side, len(entities) + 1, len(entities), 0, {})
