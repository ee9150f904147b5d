"""What the rows and columns of a weight stand for: ids, values of a category, or nothing known.

A layer declares it for each axis of a weight that has one entry per id or per value, by the name of
a kind:

| kind | stands for |
|---|---|
| `user`, `item` | ids of the vocabulary, then out-of-vocabulary buckets |
| `user.F`, `item.F` | values of the feature F |
| `user.`, `item.` | values of all features of that side, in order of the features' names |

A warm start (`warm_start.py`) finds the same ids and values again by these declarations, also where
two vocabularies put them in different places. A Keras name means nothing to it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfx_recommender.trainer.fitting.head import Tensor
from tfx_recommender.trainer.fitting.problem import Catalogue, EntityShape, EntityTable

Labels = Mapping[str, np.ndarray]
"""Kind -> a label for each row, bytes [rows], each once."""

_OUT_OF_VOCABULARY = b"\0"  # no id begins with it


def declare(weight: Tensor, rows: str, columns: str = "") -> Tensor:
    """Says which kinds the rows and columns of a weight are; "" where no kind fits.

    Args:
      weight: of a Keras layer.
      rows: kind of its first axis.
      columns: kind of its second axis.

    Returns:
      The weight.
    """
    weight.axis_kinds = (rows, columns)
    return weight


def axis_kinds(weight: Tensor) -> tuple[str, ...]:
    """The declared kind of each axis of a weight; "" where there is none."""
    declared = getattr(weight, "axis_kinds", ())
    return padded(declared, len(weight.shape))


def padded(kinds: tuple[str, ...], rank: int) -> tuple[str, ...]:
    """Kinds of the first axes as kinds of `rank` axes."""
    return (*kinds, *[""] * rank)[:rank]


def of(catalogue: Catalogue) -> dict[str, np.ndarray]:
    """The labels of every kind that a catalogue has."""
    labels = _of_side(catalogue.users, catalogue.user_shape)
    return labels | _of_side(catalogue.items, catalogue.item_shape)


def is_out_of_vocabulary(label: bytes) -> bool:
    """Whether the label is that of ids, or values, that the vocabulary does not have."""
    return label.startswith(_OUT_OF_VOCABULARY)


def check(weight: Tensor, labels: Labels) -> None:
    """Raises ValueError if a weight declares a kind that does not exist, or is of another size."""
    for kind, size in zip(axis_kinds(weight), weight.shape, strict=True):
        if kind and (kind not in labels or len(labels[kind]) != size):
            known = ", ".join(f"{name} ({len(values)})" for name, values in labels.items())
            raise ValueError(
                f"weight {weight.path}: an axis of length {size} is declared as {kind!r};"
                f" the kinds, and their lengths, are {known}"
            )


def _of_side(entities: EntityTable, shape: EntityShape) -> dict[str, np.ndarray]:
    ids = np.array([_OUT_OF_VOCABULARY + b"%d" % row for row in range(shape.ids)], object)
    known = entities.index[:-1] < shape.vocabulary
    ids[entities.index[:-1][known]] = entities.raw_ids[known]
    kinds = {
        f"{shape.side}.{name}": np.array([*values], object)
        for name, values in sorted(shape.categories.items())
    }
    everything = [
        name.encode() + b"\0" + value for name, values in kinds.items() for value in values
    ]
    return {shape.side: ids} | kinds | {f"{shape.side}.": np.array(everything, object)}
