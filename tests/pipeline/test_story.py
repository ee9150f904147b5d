"""One pipeline through its life, in real runs: push, nothing new, loss, rollback, new data.

The runs are made once, in order; each test then looks at what they left.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.conftest import (
    ITEMS,
    SMALL_CONFIG,
    STRANGE_USER,
    USERS,
    write_config,
    write_small_data,
)
from tfx_recommender.components.serving import served_models
from tfx_recommender.foundation.errors import BadDataError, ConfigError
from tfx_recommender.pipeline import commands
from tfx_recommender.pipeline.local.store import Store
from tfx_recommender.pipeline.settings import config_file

pytestmark = pytest.mark.slow

MODELS = SMALL_CONFIG["models"] | {
    "hybrid": {
        "rating": {
            "mf": {"factors": 4, "sweeps": 20, "burn_in": 10, "samples": 10, "side_information": 8},
            "mlp": {"hidden_units": [8]},
        },
        "preference": {"training": {"epochs": 2, "batch_size": 256, "negatives": 8}},
    }
}

MIN_COUNT, MAX_SIZE = 8, USERS - 10


class Life:
    """The folder of one pipeline and a way to run it."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder = folder
        # Some items are too rare for an embedding of their own, and some users too many.
        vocabulary = {"min_count": MIN_COUNT, "max_size": MAX_SIZE, "oov_buckets": 2}
        self.path = str(write_config(folder, vocabulary=vocabulary, **{"models": MODELS} | changes))
        self.serving = config_file.load(self.path).serving_directory

    def run(self, *overrides: str, rebase: bool = False) -> dict[str, Any]:
        commands.run(config_file.load(self.path, overrides), verbose=False, rebase_baseline=rebase)
        return self.summary()

    def tune(self) -> dict[str, Any]:
        """The overlay that a short search writes."""
        space = self.folder / "space.yaml"
        space.write_text("mf: {preference: {l2: {log: [0.0001, 0.1]}}}")
        out = self.folder / "tuned.yaml"
        loaded = config_file.load(self.path)
        commands.tune(loaded, config_file.load_search_space(str(space)), 2, str(out), verbose=False)
        return yaml.safe_load(out.read_text())

    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "root" / "summary.json").read_text())

    def served(self) -> served_models.ServedModel:
        served = served_models.served(self.serving)
        assert served is not None
        return served


def tree(folder: str) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()
    }


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("life")
    write_small_data(folder)
    life = Life(folder)
    told: dict[str, Any] = {"life": life}

    told["first"] = life.run()
    (told["first artifacts"],) = (folder / "root" / "artifacts").iterdir()
    told["first served"] = life.served()
    told["model"] = shutil.copytree(life.served().path, folder / "first-model")
    before = tree(life.serving)
    told["second"] = life.run()
    told["third"] = life.run()
    told["untouched"] = tree(life.serving) == before
    told["tuned"] = life.tune()
    told["untouched"] &= tree(life.serving) == before

    shutil.rmtree(life.serving)
    told["wiped"] = life.run()

    # An older model is served again: what the operator does when the new one disappoints.
    first_baseline = _baseline_model(folder)
    bad = served_models.push(first_baseline, life.serving, life.served().record)
    good = served_models.push(str(told["model"]), life.serving, life.served().record)
    told["rolled back"] = served_models.rollback(life.serving, bad.version)
    told["withdrawn digest"] = good.digest
    told["after rollback"] = life.run()
    shutil.rmtree(life.serving)
    served_models.push(str(told["model"]), life.serving, told["first served"].record)

    artifacts = {str(p) for p in (folder / "root" / "artifacts").iterdir()}
    os.unlink(folder / "root" / "metadata.sqlite")
    told["store lost"] = life.run()
    told["new artifact roots"] = {
        str(p) for p in (folder / "root" / "artifacts").iterdir()
    } - artifacts

    ratings = folder / "ratings.csv"
    times = (os.stat(ratings).st_atime_ns, os.stat(ratings).st_mtime_ns)
    lines = ratings.read_text().splitlines(keepends=True)
    fields = lines[5].split(",")
    fields[2] = "9"
    lines[5] = ",".join(fields)
    ratings.write_text("".join(lines))
    os.utime(ratings, ns=times)
    try:
        life.run("models.hybrid=null")
    except BadDataError as error:
        told["a digit changed"] = str(error)
    return told


def _baseline_model(folder: Path) -> str:
    (card,) = [
        path
        for path in (folder / "root" / "artifacts").glob("*/ServedBaseline/model/*/**/model.json")
        if json.loads(path.read_text())["architecture"] == "bias_and_popularity"
    ]
    return str(card.parent.parent)


def test_the_first_run_pushes_and_its_summary_keeps_the_contract(story: dict[str, Any]) -> None:
    summary = story["first"]
    assert summary["status"] == "pushed"
    assert summary["champion"] in ("mf", "hybrid")
    assert summary["pushed_version"] == story["first served"].version
    assert summary["dataset"]["ratings"] == sum(
        summary["dataset"][split] for split in ("train", "validation", "test")
    )
    for values in [summary["baseline"], *summary["models"].values()]:
        for metric in ("rmse", "mae", "hit_rate_at_5", "ndcg_at_5"):
            assert values[metric] >= 0
            assert values[f"{metric}_standard_error"] >= 0
        for metric in ("sampled_hit_rate_at_5", "sampled_ndcg_at_5", "coverage_at_5", "gini_at_5"):
            assert 0 <= values[metric] <= 1
        for metric in ("rating_bias", "calibration_slope", "expected_calibration_error"):
            assert isinstance(values[metric], float)
        for decile in ("user_activity_decile", "item_popularity_decile"):
            assert "1" in values[f"rmse_by_{decile}"]
    assert set(summary["models"]["mf"]["slices"]) == {"gender=F", "gender=M"}
    assert len(summary["node_seconds"]) == 8 + 2 * len(MODELS)
    assert summary["cached_nodes"] == []


def test_a_search_writes_an_overlay_and_pushes_nothing(story: dict[str, Any]) -> None:
    assert 0.0001 <= story["tuned"]["models"]["mf"]["preference"]["l2"] <= 0.1
    assert story["untouched"]


def test_training_leaves_tensorboard_logs(story: dict[str, Any]) -> None:
    for name in MODELS:
        logs = story["first artifacts"].glob(f"Trainer-{name}/model_run/*/**/events.out.tfevents.*")
        assert [path for path in logs if path.stat().st_size]


def test_m5_the_champion_beat_biases_and_popularity(story: dict[str, Any]) -> None:
    summary = story["first"]
    champion = summary["models"][summary["champion"]]
    assert summary["baseline"]["model"] == "biases and popularity"
    assert champion["rmse"] <= summary["baseline"]["rmse"]
    assert champion["hit_rate_at_5"] > summary["baseline"]["hit_rate_at_5"]


def test_m1_an_identical_run_pushes_nothing_and_the_next_is_all_from_the_cache(
    story: dict[str, Any],
) -> None:
    assert story["second"]["status"] == "unchanged"
    rerun = set(story["second"]["node_seconds"]) - set(story["second"]["cached_nodes"])
    # The Pusher is asked again too, for the selection is a new one; it does nothing.
    assert rerun == {
        "ServedBaseline", "Evaluator-mf", "Evaluator-hybrid", "ModelSelector", "Pusher",
    }  # fmt: skip
    assert story["second"]["pushed_version"] is None
    assert story["third"]["status"] == "unchanged"
    assert set(story["third"]["cached_nodes"]) == set(story["third"]["node_seconds"])
    assert story["untouched"]


def test_s4_a_wiped_serving_folder_is_filled_again(story: dict[str, Any]) -> None:
    assert story["wiped"]["status"] == "pushed"
    assert set(story["wiped"]["node_seconds"]) - set(story["wiped"]["cached_nodes"]) == {"Pusher"}


def test_s5_a_rollback_lasts_and_becomes_the_baseline(story: dict[str, Any]) -> None:
    after = story["after rollback"]
    assert f"served version {story['rolled back'].version}" in after["baseline"]["model"]
    champion = story["first"]["champion"]
    assert "it was withdrawn by a rollback" in after["models"][champion]["reasons"]
    if after["status"] == "pushed":  # another architecture may rightly take its place
        assert after["champion"] != champion
    else:
        assert after["status"] == "rejected"


def test_c3_a_new_store_has_an_artifact_root_of_its_own(story: dict[str, Any]) -> None:
    assert len(story["new artifact roots"]) == 1
    assert story["store lost"]["cached_nodes"] == []


def test_m4_without_the_store_the_baseline_is_still_what_is_served(story: dict[str, Any]) -> None:
    assert "served version" in story["store lost"]["baseline"]["model"]
    assert story["store lost"]["status"] != "pushed"


def test_m7_the_same_seed_and_data_give_the_same_metrics_and_vocabularies(
    story: dict[str, Any],
) -> None:
    """The store was lost, so everything was computed again."""
    (again,) = map(Path, story["new artifact roots"])
    for name in ("user_id", "item_id", "gender", "genres"):
        files = [
            file
            for root in (story["first artifacts"], again)
            for file in root.glob(f"Transform/transform_graph/*/transform_fn/assets/{name}")
        ]
        assert len(files) == 2
        assert files[0].read_bytes() == files[1].read_bytes()
    assert story["store lost"]["models"].keys() == MODELS.keys()
    for name in MODELS:
        before, after = (story[run]["models"][name] for run in ("first", "store lost"))
        for metric in ("rmse", "mae", "hit_rate_at_5", "ndcg_at_5"):
            assert after[metric] == before[metric]


def test_d9_a_changed_digit_is_noticed_also_with_the_same_size_and_time(
    story: dict[str, Any],
) -> None:
    """To one that is not on the scale, so that only a fresh look can tell."""
    assert "ratings.csv:6: rating '9'" in story["a digit changed"]


def test_s1_the_pushed_model_answers_in_a_clean_process_without_our_package(
    story: dict[str, Any],
) -> None:
    code = """
import sys, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
user = tf.constant(["u1"])
print(float(model.signatures["score"](user_id=user, item_id=tf.constant(["ï1"]))["rating"][0]))
answer = model.signatures["recommend"](
    user_id=user, k=tf.constant(3), liked_item_ids=tf.zeros([1, 0], tf.string))
print([item.decode() for item in answer["item_id"].numpy()[0]])
assert not [name for name in sys.modules if name.startswith(("tfx", "keras"))], "not plain"
"""
    # -I: neither this folder nor the environment; our package's finder is told to stay away.
    hide = "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f)]\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", hide + code, str(story["model"])],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rating, items = done.stdout.splitlines()
    assert 1 <= float(rating) <= 5
    assert len(eval(items)) == 3


def test_d5_a_strange_id_survives_from_the_file_to_the_answer(story: dict[str, Any]) -> None:
    """The answer for this user hides just what the file says the user rated."""
    import tensorflow as tf

    rows = (story["life"].folder / "ratings.csv").read_text(encoding="utf-8").splitlines()
    rated = {row.split(",")[1] for row in rows if row.split(",")[0] == STRANGE_USER}
    answer = tf.saved_model.load(str(story["model"])).signatures["recommend"](
        user_id=tf.constant([STRANGE_USER]),
        k=tf.constant(ITEMS),
        liked_item_ids=tf.zeros([1, 0], tf.string),
    )
    named = {item.decode() for item in answer["item_id"].numpy()[0]} - {""}
    assert rated
    assert not named & rated
    assert len(named) >= ITEMS - len(rated) - 3  # but for items only ever held out


def test_m9_the_served_signature_scores_test_rows_as_the_trainer_does(
    story: dict[str, Any],
) -> None:
    """`serving_default` reads raw examples; `score` the tables made from the trainer's columns.

    Also for items out of vocabulary, of which there are some.
    """
    import tensorflow as tf

    from tfx_recommender.trainer import input_data

    pattern = str(story["first artifacts"] / "RatingsExampleGen/examples/1/Split-test/*")
    rows = input_data.read(pattern)
    users, items = rows.user_id.to_pylist(), rows.item_id.to_pylist()
    assert set(items) - vocabulary(story, "item_id")
    model = tf.saved_model.load(str(story["model"])).signatures
    serialized = tf.constant(list(input_data.serialized_examples(pattern).as_numpy_iterator()))
    served = model["serving_default"](examples=serialized)
    scored = model["score"](user_id=tf.constant(users), item_id=tf.constant(items))
    np.testing.assert_allclose(served["rating"], scored["rating"], rtol=1e-5)
    crossed = model["preference"](user_id=tf.constant(users), item_id=tf.constant(items))
    np.testing.assert_allclose(
        served["preference"], np.diag(crossed["preference"]), rtol=1e-4, atol=1e-5
    )


def vocabulary(story: dict[str, Any], ids: str) -> set[bytes]:
    """The user or item ids that have an embedding of their own."""
    (file,) = story["first artifacts"].glob(f"Transform/transform_graph/*/**/assets/{ids}")
    return set(file.read_bytes().splitlines())


def test_d10_the_vocabularies_hold_the_most_frequent_ids_within_their_bounds(
    story: dict[str, Any],
) -> None:
    from tfx_recommender.trainer import input_data

    pattern = str(story["first artifacts"] / "RatingsExampleGen/examples/1/Split-train/*")
    rows = input_data.read(pattern)
    items, counts = np.unique(rows.item_id.to_pylist(), return_counts=True)
    assert counts.min() < MIN_COUNT
    assert vocabulary(story, "item_id") == set(items[counts >= MIN_COUNT])
    users, counts = np.unique(rows.user_id.to_pylist(), return_counts=True)
    assert counts.min() >= MIN_COUNT
    known = np.isin(users, list(vocabulary(story, "user_id")))
    assert known.sum() == MAX_SIZE < USERS
    assert counts[known].min() >= counts[~known].max()


def test_lineage_leads_from_the_push_back_to_the_data(story: dict[str, Any]) -> None:
    from ml_metadata.proto import metadata_store_pb2

    store = Store(str(story["life"].folder / "root" / "metadata.sqlite"))
    with store.open() as mlmd:
        types = {t.id: t.name for t in mlmd.get_artifact_types()}
        (pushed, *_) = mlmd.get_artifacts_by_type("PushedModel")
        known, wanted = set(), {pushed.id}
        while wanted:
            known |= wanted
            events = mlmd.get_events_by_artifact_ids(list(wanted))
            makers = {e.execution_id for e in events if e.type == metadata_store_pb2.Event.OUTPUT}
            events = mlmd.get_events_by_execution_ids(list(makers))
            wanted = {e.artifact_id for e in events if e.type == metadata_store_pb2.Event.INPUT}
            wanted -= known
        names = {types[a.type_id] for a in mlmd.get_artifacts_by_id(list(known))}
    assert {"PushedModel", "ModelBlessing", "ModelEvaluation", "Model", "Examples"} <= names


def test_another_split_is_refused_until_the_baseline_is_rebased(story: dict[str, Any]) -> None:
    life = story["life"]
    before = tree(life.serving)
    with pytest.raises(ConfigError, match="--rebase-baseline"):
        life.run("split.seed=9")
    assert tree(life.serving) == before


@pytest.mark.parametrize(
    ("break_data", "expected"),
    [
        (lambda text: re.sub(r",\d+,", ",,", text), r"age: .*"),
        (lambda text: re.sub(r",[FM]\n", ",\n", text), r"gender: .*"),
    ],
    ids=["nobody has an age", "nobody has a gender"],
)
def test_anomalies_stop_the_run_at_the_gate(
    story: dict[str, Any],
    tmp_path: Path,
    break_data: Callable[[str], str],
    expected: str,
) -> None:
    write_small_data(tmp_path)
    users = tmp_path / "users.csv"
    users.write_text(break_data(users.read_text()))
    life = Life(tmp_path)
    with pytest.raises(BadDataError, match=f"(?i){expected}"):
        life.run()
    summary = life.summary()
    assert summary["status"] == "bad_data"
    assert list(summary["node_seconds"])[-1] == "DataGate"
    assert not {"Transform", "ServedBaseline"} & set(summary["node_seconds"])
    assert not Path(life.serving).exists()


def test_bad_rows_stop_the_run_before_anything_else(tmp_path: Path) -> None:
    write_small_data(tmp_path)
    with open(tmp_path / "ratings.csv", "a", encoding="utf-8") as file:
        file.write("u1,x,9,5\n")
    life = Life(tmp_path)
    with pytest.raises(BadDataError, match=r"ratings.csv:\d+: rating '9'"):
        life.run()
    assert life.summary()["status"] == "bad_data"
    assert list(life.summary()["node_seconds"]) == ["RatingsExampleGen"]
