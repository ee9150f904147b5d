"""Two worlds of taste: a stranger who likes things of one is shown more of that one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.contract import problems
from tfx_recommender.trainer import export
from tfx_recommender.trainer.architectures import model as architectures
from tfx_recommender.trainer.architectures.registry import ARCHITECTURES
from tfx_recommender.trainer.fitting.fit import Fitter
from tfx_recommender.trainer.fitting.interactions import Interactions
from tfx_recommender.trainer.fitting.problem import Problem
from tfx_recommender.trainer.recommender import Recommender


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["mf", "two_tower"])
def test_a_stranger_who_names_liked_items_is_shown_what_goes_with_them(
    architecture: str, tmp_path: Path
) -> None:
    rows, half = problems.two_tastes(), problems.ITEMS // 2
    few = Interactions(*(column[::7] for column in (rows.user, rows.item, rows.known_rating())))
    to_fit = Problem(problems.catalogue(), rows, few, history=8, seed=0)
    settings = ARCHITECTURES[architecture].preference
    training = {"epochs": 20, "patience": 20, "learning_rate": 0.05, "batch_size": 32}
    how = {"l2": 0.001, "training": training}
    head = architectures.fit_preference(
        architecture, settings.model_validate(how), to_fit, Fitter(0)
    )
    model = Recommender(head, head, 3.0, 1.0, (1.0, 5.0))
    path = str(tmp_path / "model")
    known = problems.ratings(
        problems.catalogue().users.raw_ids[rows.user], problems.catalogue().items.raw_ids[rows.item]
    )
    export.export(path, model, to_fit.catalogue, problems.COLUMNS, None, rows, known, {})
    names = problems.catalogue().items.raw_ids
    liked = np.array([names[:2], names[half : half + 2]], object)
    answer = tf.saved_model.load(path).signatures["recommend"](
        user_id=tf.constant(["new", "new"]), k=tf.constant(5), liked_item_ids=tf.constant(liked)
    )
    first, second = answer["item_id"].numpy()
    assert set(first) <= set(names[2:half])
    assert set(second) <= set(names[half + 2 :])
