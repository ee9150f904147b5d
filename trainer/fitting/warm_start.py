"""Begins from the model that is served: weights carry over by what they stand for.

A weight's name says what its rows (and columns) stand for (see `layers.Table`): a user id, an
item id, a value of a category. Labels that both models know take their weights along, wherever
either vocabulary puts them; new ids and values start as what the served model takes them for, its
out-of-vocabulary row. Weights without labels, those of dense layers, are taken over whole where
their shapes agree.

Weights are not taken as they are but half of them, and half of what a cold model starts with: a
model that goes on from where it stopped generalises worse than one that shrinks first (Ash and
Adams: On Warm-Starting Neural Network Training, 2020, section 4).
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tfx_recommender.trainer.fitting.head import Head
from tfx_recommender.trainer.fitting.problem import Catalogue, Entities, EntityShape

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_KEPT = 0.5


class Keepsake(tf.Module):
    """What a SavedModel keeps for its successor, found again by plain checkpoint keys.

    Attributes:
      labels: of each kind of label, strings.
      weights: the trainable weights of the heads.
    """

    def __init__(self, rating: Head | None, preference: Head, catalogue: Catalogue) -> None:
        super().__init__()
        kinds = labels(catalogue)
        weights = {
            "rating": [] if rating is None else rating.trainable_variables,
            "preference": preference.trainable_variables,
        }
        index = {
            "labels": list(kinds),
            "weights": {head: [_name(v) for v in variables] for head, variables in weights.items()},
        }
        self.index = tf.Variable(json.dumps(index), trainable=False)
        self.labels = [tf.Variable(kind, trainable=False) for kind in kinds.values()]
        self.rating = [variable.value for variable in weights["rating"]]
        self.preference = [variable.value for variable in weights["preference"]]


class Start:
    """The weights of a served model.

    Args:
      path: its SavedModel.
      catalogue: what the new model will know.
    """

    def __init__(self, path: str, catalogue: Catalogue) -> None:
        self._reader = tf.train.load_checkpoint(os.path.join(path, "variables", "variables"))
        self._index: dict[str, Any] = {"labels": [], "weights": {}}
        if self._reader.has_tensor(f"keepsake/index{_VALUE}"):
            self._index = json.loads(self._read("index"))
        self._old = {
            kind: self._read(f"labels/{n}") for n, kind in enumerate(self._index["labels"])
        }
        self._new = labels(catalogue)

    def _read(self, name: str) -> Any:
        return self._reader.get_tensor(f"keepsake/{name}{_VALUE}")

    def of(self, member: int) -> Callable[[str, list[Any]], int]:
        """`carry_over` for a member of an ensemble; a served model with fewer has its first."""
        return functools.partial(self.carry_over, member=member)

    def carry_over(self, head: str, variables: list[Any], member: int = 0) -> int:
        """Sets what can be carried over; returns how many of the variables that are.

        Args:
          head: `rating` or `preference`.
          variables: all trainable weights of that head, built.
          member: from which member of an ensemble.
        """
        names = [_name(variable) for variable in variables]
        served = self._index["weights"].get(head, [])
        # A head's weights lie side by side; those of other members and stages beside them.
        starts = [n for n in range(len(served)) if served[n : n + len(names)] == names]
        first = starts[member if member < len(starts) else 0] if starts else -1
        if first < 0:
            logging.warning("warm start: the served model has another %s head: starts cold", head)
            return 0
        carried = 0
        for n, variable in enumerate(variables):
            old, new = self._read(f"{head}/{first + n}"), np.array(variable)
            places = [
                self._places(kind, *sizes)
                for kind, *sizes in zip(
                    _kinds(names[n], new.ndim), new.shape, old.shape, strict=True
                )
            ]
            known = [place for place in places if place is not None]
            if len(known) == new.ndim:
                to, of = (np.ix_(*(place[side] for place in known)) for side in (0, 1))
                new[to] = _KEPT * old[of] + (1 - _KEPT) * new[to]
                variable.assign(new)
                carried += 1
        return carried

    def _places(self, kind: str, size: int, old_size: int) -> tuple[Any, Any] | None:
        """Where along an axis the same things stand, in the new and in the old weights."""
        if kind in self._new and kind in self._old:
            old = {label: row for row, label in enumerate(self._old[kind])}
            unknown = next((row for label, row in old.items() if label.startswith(b"\0")), -1)
            of = np.array([old.get(label, unknown) for label in self._new[kind]])
            return np.flatnonzero(of >= 0), of[of >= 0]
        return (np.arange(size), np.arange(size)) if size == old_size else None


def labels(catalogue: Catalogue) -> dict[str, np.ndarray]:
    """What rows of weights stand for: kind -> bytes [rows], each once.

    The kinds are `user` and `item` (ids, then out-of-vocabulary buckets), a side and a feature
    (`item.genres`: its values), and a side's features together (`item.`).
    """
    found = _labels_of(catalogue.users, catalogue.user_shape)
    return found | _labels_of(catalogue.items, catalogue.item_shape)


def _labels_of(entities: Entities, shape: EntityShape) -> dict[str, np.ndarray]:
    # No id starts with a zero byte; what is out of vocabulary has such a label.
    ids = np.array([b"\0%d" % row for row in range(shape.ids)], object)
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


def _name(variable: Any) -> str:
    return str(variable.name)


def _kinds(name: str, rank: int) -> list[str]:
    """`user>item.` -> its two kinds; "" for an axis without labels."""
    return [*name.split(">"), *[""] * rank][:rank]
