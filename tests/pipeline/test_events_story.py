"""Implicit feedback through real runs: push, a worse model stopped, ratings refused, a search."""

from __future__ import annotations

import contextlib
import io
import json
import re
from typing import Any

import pytest
import tensorflow as tf

from tests.conftest import EVENTS, write_config, write_small_data, write_small_events
from tests.pipeline.test_story import Life, tree
from tfx_recommender.foundation.errors import ConfigError, UserError
from tfx_recommender.pipeline import commands
from tfx_recommender.pipeline.settings import config_file

pytestmark = pytest.mark.slow

MF = EVENTS["models"]["mf"]["preference"]
LOGISTIC = {"loss": "logistic", "positive_weight": 4.0}
MODELS = {
    "mf": {"preference": MF | {"training": MF["training"] | LOGISTIC}, "ensemble": 2},
    "hybrid": {"preference": {"training": {"epochs": 2, "batch_size": 256, "negatives": 8}}},
}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("events")
    write_small_data(folder)
    write_small_events(folder)
    life = Life(folder, **EVENTS | {"models": MODELS})
    with contextlib.redirect_stdout(io.StringIO()) as table:
        told: dict[str, Any] = {"life": life, "first": life.run(), "served": life.served()}
    told["table"] = table.getvalue()
    before = tree(life.serving)
    # It begins from the served model, and unlearns.
    worse = {"learning_rate": 3.0, "epochs": 1, "patience": 1, "positive_weight": 0.001}
    settings = [f"models.mf.preference.training.{name}={value}" for name, value in worse.items()]
    told["worse"] = life.run("models.hybrid=null", "warm_start=true", *settings)
    told["tuned"] = life.tune()
    explicit = write_config(tmp_path_factory.mktemp("explicit"))
    overrides = [f"serving_root={folder / 'serving'}", f"name={config_file.load(life.path).name}"]
    with pytest.raises(ConfigError) as told["explicit"]:
        commands.run(
            config_file.load(str(explicit), overrides), verbose=False, rebase_baseline=False
        )
    told["untouched"] = tree(life.serving) == before
    return told


def test_m5_the_first_model_is_pushed_for_its_rankings_alone(story: dict[str, Any]) -> None:
    summary = story["first"]
    assert summary["status"] == "pushed"
    assert summary["baseline"]["model"] == "popularity"
    champion = summary["models"][summary["champion"]]
    assert champion["hit_rate_at_5"] > summary["baseline"]["hit_rate_at_5"]
    for values in [summary["baseline"], *summary["models"].values()]:
        for metric in ("hit_rate_at_5", "ndcg_at_5", "sampled_hit_rate_at_5", "coverage_at_5"):
            assert 0 <= values[metric] <= 1
    assert set(summary["models"]["mf"]["slices"]) == {"gender=F", "gender=M"}
    said = json.dumps(summary)
    assert not [name for name in ("rmse", "mae", "rating", "calibration") if name in said]


def test_d6_repeated_events_are_added_up(story: dict[str, Any]) -> None:
    counts = story["first"]["dataset"]
    rows = len((story["life"].folder / "ratings.csv").read_text().splitlines()) - 1
    assert counts["interactions"] == rows
    assert counts["repeated_events_added_up"] == -(-rows // 3)
    assert sum(counts[split] for split in ("train", "validation", "test")) == rows


def test_the_pushed_model_says_what_it_knows_and_recommends(
    story: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    served = tf.saved_model.load(story["served"].path).signatures
    for name in ("serving_default", "score"):
        assert set(served[name].structured_outputs) == {"preference"}
    assert story["served"].record["feedback"] == "implicit"
    commands.recommend(config_file.load(story["life"].path), ("u1",), (), 3, verbose=False)
    user, *items = capsys.readouterr().out.splitlines()
    assert user.startswith("user u1 (version ")
    assert len(items) == 3


def test_m1_m2_a_model_with_a_worse_hit_rate_is_stopped(story: dict[str, Any]) -> None:
    summary = story["worse"]
    assert summary["status"] == "rejected"
    assert f"served version {story['served'].version}" in summary["baseline"]["model"]
    (reason, *others) = summary["models"]["mf"]["reasons"]
    assert re.match(
        r"HitRate@5 0\.\d{5}, served 0\.\d{5}: worse by 0\.\d+ \(at least -0\.\d+ with 97\.5 %"
        r" confidence\), 0\.0001 needed",
        reason,
    )
    assert not others
    assert story["untouched"]


def test_a_search_judges_by_ndcg_alone(story: dict[str, Any]) -> None:
    assert set(story["tuned"]["models"]["mf"]) == {"preference"}


def test_a_pipeline_of_ratings_does_not_take_it_for_a_baseline(story: dict[str, Any]) -> None:
    assert "was trained with implicit feedback" in str(story["explicit"].value)


def test_where_ratings_are_asked_for_it_is_refused(story: dict[str, Any]) -> None:
    """What no push record could tell: somebody put it into another pipeline's serving place."""
    import tfx.components  # noqa: F401 - must be imported before TFMA on older glibc

    from tfx_recommender.components.evaluator import comparison

    with pytest.raises(UserError, match="the baseline predicts no ratings"):
        comparison._ratings(tf.saved_model.load(story["served"].path), [b""], "baseline")


def test_the_result_table_says_nothing_of_ratings(story: dict[str, Any]) -> None:
    assert "HitRate@5" in story["table"]
    assert "interactions (" in story["table"]
    assert not [name for name in ("RMSE", "MAE", "rating") if name in story["table"]]
