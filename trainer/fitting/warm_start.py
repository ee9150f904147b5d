"""Starts training from the weights of the served model.

An exported model keeps its trainable weights, and says of each axis what its entries stand for (see
`weight_labels.py`). An id or a value that both models know takes its weights along, wherever either
vocabulary puts it. New ids and values start from the served model's out-of-vocabulary row. Weights
without labels, those of dense layers, are carried over whole where their shapes agree.

A new weight is the mean of the served one and of its own random start: a model that goes on from
where it stopped generalises worse than one that shrinks first (Ash and Adams: On Warm-Starting
Neural Network Training, 2020, section 4).
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Literal, NotRequired, TypeAlias, TypedDict

import numpy as np
import tensorflow as tf

from tfx_recommender.trainer.fitting import weight_labels
from tfx_recommender.trainer.fitting.head import Head, Tensor
from tfx_recommender.trainer.fitting.problem import Catalogue

HeadName = Literal["rating", "preference"]

SetStart: TypeAlias = Callable[[HeadName, Sequence[Tensor]], object]
"""Sets the weights of a head, which are built, to what training starts from."""

ATTRIBUTE = "warm_start"
"""The exported model's attribute that holds `StartingWeights`; checkpoint keys begin with it."""

_OLD_ATTRIBUTE = "keepsake"  # of models that version 0.2.0 and earlier exported
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_SERVED_SHARE = 0.5


class _Index(TypedDict):
    """What the weights of an exported model are.

    Attributes:
      labels: the kinds of labels, in the order in which their labels are stored.
      axes: head -> the kind of each axis of each weight, in the order of the weights. Models of
        version 0.2.0 and earlier have `weights` instead.
      weights: head -> a name for each weight, the kinds of its axes joined by ">", or a Keras name.
    """

    labels: list[str]
    axes: NotRequired[dict[str, list[list[str]]]]
    weights: NotRequired[dict[str, list[str]]]


class StartingWeights(tf.Module):
    """What an exported model keeps for its successor; read by plain checkpoint keys.

    Attributes:
      index: `_Index` as JSON.
      labels: the labels of each kind, string [rows].
      rating: the trainable weights of the rating head, one head of an ensemble or of a stage after
        the other.
      preference: likewise, of the ranking head.
    """

    def __init__(self, rating: Head | None, preference: Head, catalogue: Catalogue) -> None:
        """Keeps the weights of both heads; events have no rating head.

        Raises:
          ValueError: a weight's declared labels do not fit the catalogue.
        """
        super().__init__()
        labels = weight_labels.of(catalogue)
        weights: dict[str, list[Tensor]] = {
            "rating": [] if rating is None else rating.trainable_variables,
            "preference": preference.trainable_variables,
        }
        for weight in (*weights["rating"], *weights["preference"]):
            weight_labels.check(weight, labels)
        index: _Index = {
            "labels": list(labels),
            "axes": {
                head: [[*weight_labels.axis_kinds(weight)] for weight in variables]
                for head, variables in weights.items()
            },
        }
        self.index = tf.Variable(json.dumps(index), trainable=False)
        self.labels = [tf.Variable(kind, trainable=False) for kind in labels.values()]
        self.rating = [weight.value for weight in weights["rating"]]
        self.preference = [weight.value for weight in weights["preference"]]


class Start:
    """The weights of a served model, ready to be carried over."""

    def __init__(self, path: str, catalogue: Catalogue) -> None:
        """Reads what the weights are, and the labels of both models.

        Args:
          path: the served SavedModel.
          catalogue: users and items that the new model will know.
        """
        self._reader = tf.train.load_checkpoint(os.path.join(path, "variables", "variables"))
        self._attribute = ATTRIBUTE
        if not self._reader.has_tensor(f"{ATTRIBUTE}/index{_VALUE}"):
            self._attribute = _OLD_ATTRIBUTE
        self._axes: dict[str, list[tuple[str, ...]]] = {}
        self._old: dict[str, np.ndarray] = {}
        self._new = weight_labels.of(catalogue)
        if self._reader.has_tensor(f"{self._attribute}/index{_VALUE}"):
            index: _Index = json.loads(self._read("index"))
            for n, kind in enumerate(index["labels"]):
                self._old[kind] = self._read(f"labels/{n}")
            self._axes = self._axes_of(index)
        else:
            _warn("the served model keeps no weights to start from, so training starts cold")

    def _axes_of(self, index: _Index) -> dict[str, list[tuple[str, ...]]]:
        """Head -> the kind of each axis of each of the served weights."""
        if "axes" in index:
            return {head: [tuple(kinds) for kinds in axes] for head, axes in index["axes"].items()}
        shapes = self._reader.get_variable_to_shape_map()

        def kinds(head: str, n: int, name: str) -> tuple[str, ...]:
            rank = len(shapes[f"{self._attribute}/{head}/{n}{_VALUE}"])
            named = tuple(kind if kind in self._old else "" for kind in name.split(">"))
            return weight_labels.padded(named, rank)

        return {
            head: [kinds(head, n, name) for n, name in enumerate(names)]
            for head, names in index["weights"].items()
        }

    def _read(self, name: str) -> Tensor:
        return self._reader.get_tensor(f"{self._attribute}/{name}{_VALUE}")

    def of(self, member: int) -> SetStart:
        """`carry_over` for a member of an ensemble.

        Where the served model has fewer members, later ones start from its first.
        """
        return functools.partial(self.carry_over, member=member)

    def carry_over(self, head: HeadName, variables: Sequence[Tensor], member: int = 0) -> int:
        """Sets what can be carried over; warns on standard error where something cannot.

        Args:
          head: which head of the recommender.
          variables: all trainable weights of that head, built.
          member: from which member of an ensemble.

        Returns:
          The number of variables that were set.
        """
        axes = [weight_labels.axis_kinds(variable) for variable in variables]
        firsts = _places(axes, self._axes.get(head, []))
        if not firsts:
            if self._axes:
                _warn(f"the served model has another {head} head, so training starts cold")
            return 0
        first = firsts[member if member < len(firsts) else 0]
        missing = []
        for n, variable in enumerate(variables):
            if not self._carry_over(variable, self._read(f"{head}/{first + n}")):
                missing.append(f"{variable.path} {tuple(variable.shape)}")
        if missing:
            _warn(
                f"{len(missing)} of {len(variables)} weights of the {head} head have another shape"
                f" in the served model and start cold: {', '.join(missing)}"
            )
        return len(variables) - len(missing)

    def _carry_over(self, variable: Tensor, old: np.ndarray) -> bool:
        """Mixes a served weight into a new one, where both have the same axes."""
        new = np.array(variable)
        places = []
        for kind, size, old_size in zip(
            weight_labels.axis_kinds(variable), new.shape, old.shape, strict=True
        ):
            if kind in self._new and kind in self._old:
                places.append(self._same(kind))
            elif size == old_size:
                places.append((np.arange(size), np.arange(size)))
            else:
                return False
        to, of = (np.ix_(*(place[model] for place in places)) for model in (0, 1))
        new[to] = _SERVED_SHARE * old[of] + (1 - _SERVED_SHARE) * new[to]
        variable.assign(new)
        return True

    def _same(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Places of the same labels in the new and in the served weights, int [n] each."""
        old = {label: row for row, label in enumerate(self._old[kind])}
        is_unknown = weight_labels.is_out_of_vocabulary
        unknown = next((row for label, row in old.items() if is_unknown(label)), -1)
        of = np.array([old.get(label, unknown) for label in self._new[kind]])
        return np.flatnonzero(of >= 0), of[of >= 0]


def _places(wanted: list[tuple[str, ...]], served: list[tuple[str, ...]]) -> list[int]:
    """Where the weights of a head lie among the served ones; those of members lie side by side."""
    firsts, n = [], 0
    while wanted and n + len(wanted) <= len(served):
        if served[n : n + len(wanted)] == wanted:
            firsts.append(n)
            n += len(wanted)
        else:
            n += 1
    return firsts


def _warn(message: str) -> None:
    print(f"tfx-recommender: warm start: {message}", file=sys.stderr, flush=True)
