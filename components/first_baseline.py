"""The baseline before the first push: biases predict ratings (not events), popularity ranks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from tfx_recommender.trainer import baseline, input_data
from tfx_recommender.trainer import export as saved_model
from tfx_recommender.trainer.fitting.problem import Catalogue, EntityShape, EntityTable
from tfx_recommender.transform.features import TRAIN, Columns, Side


def export(splits: Mapping[str, str], target: str, columns: Columns) -> None:
    """Fits on the train split and writes the SavedModel.

    Args:
      splits: split -> file pattern of its tf.Examples; `recommend` hides the ratings of all.
      target: the SavedModel's folder.
      columns: the column contract, without times and features.
    """
    rows = {name: input_data.read(pattern, columns) for name, pattern in splits.items()}
    users, items = entities(rows[TRAIN].user_id), entities(rows[TRAIN].item_id)
    train = input_data.interactions(rows[TRAIN], users, items)
    if columns.rating_range is None:
        model, name = baseline.popularity(train, len(users), len(items)), "popularity"
    else:
        model = baseline.bias_and_popularity(train, len(users), len(items), columns.rating_range)
        name = "bias_and_popularity"
    saved_model.export(
        target,
        model,
        Catalogue(users, items, shape("user", users), shape("item", items)),
        columns,
        transform=None,
        train=train,
        known=input_data.concatenate(*rows.values()),
        card={"architecture": name},
    )


def entities(ids: pa.DictionaryArray) -> EntityTable:
    """The distinct ids, in their order, as users or items without features."""
    count = len(ids.dictionary)
    return EntityTable(
        raw_ids=np.array(ids.dictionary.to_pylist(), object),
        index=np.arange(count + 1),
        numeric=np.zeros((count + 1, 0), np.float32),
        categories={},
    )


def shape(side: Side, of: EntityTable) -> EntityShape:
    """The sizes of users or items without features."""
    return EntityShape(side, len(of) + 1, len(of), 0, {})
