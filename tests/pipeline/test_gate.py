"""M1-M3, S7: the pipeline that `create_pipeline` builds, on models that are crafted to fail.

One part is replaced: the Trainer's `run_fn` takes a crafted model instead of fitting one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.conftest import table_of, write_config, write_small_data
from tests.pipeline.test_story import tree
from tfx_recommender.components.serving import served_models
from tfx_recommender.pipeline import dag, world
from tfx_recommender.pipeline.local import runner, summary
from tfx_recommender.pipeline.local.screen import Progress
from tfx_recommender.pipeline.local.store import Store
from tfx_recommender.pipeline.nodes import NODE_KINDS
from tfx_recommender.pipeline.settings import config_file
from tfx_recommender.pipeline.settings.config import (
    Bounds,
    HitRateGate,
    RmseBound,
    RmseGate,
    ShareBounds,
)
from tfx_recommender.transform.features import SPLITS

pytestmark = pytest.mark.slow


MODELS = "GATE_MODELS"


def take_crafted_model(fn_args: Any) -> None:
    """A `run_fn`: the model of the number that the config's seed says."""
    crafted = Path(os.environ[MODELS]) / str(fn_args.custom_config["seed"])
    shutil.copytree(crafted, fn_args.serving_model_dir, dirs_exist_ok=True)


class Gate:
    """The pipeline of the small data, and a way to have it judge a given model."""

    def __init__(self, folder: Path) -> None:
        from tfx_recommender.components.ratings_example_gen import dataset

        self.folder = folder
        self.config = config_file.load(str(write_config(folder)))
        self.serving = self.config.serving_directory
        self.store = Store(str(folder / "metadata.sqlite"))
        data = dataset.read(self.config.data, self.config.split, self.config.relevance_threshold)
        place = data.assignment.place
        self.rows = {
            name: table_of(data.ratings, place == SPLITS.index(name)) for name in ("train", "test")
        }
        self.models = 0

    def export(
        self,
        rating_offset: float = 0.0,
        foresight: float = 0.0,
        shuffled: bool = False,
        nan: str = "",
    ) -> str:
        """A model of biases and popularity, made worse or better as asked; returns its folder.

        `rating_offset` is added to every rating; `foresight` weighs the popularity in the test
        split, so that rankings can be as good as a test needs them.
        """
        from tfx_recommender.components import first_baseline
        from tfx_recommender.trainer import baseline, export, input_data
        from tfx_recommender.trainer.architectures.factors import FactorsHead
        from tfx_recommender.trainer.fitting.problem import Catalogue

        train = self.rows["train"]
        rating, item_id = train["rating"].to_numpy(), train["item_id"].cast("binary")
        if shuffled:
            rng = np.random.default_rng(0)
            rating, item_id = rng.permutation(rating), item_id.take(rng.permutation(len(rating)))
        rows = input_data.SplitRows(
            train["user_id"].cast("binary").dictionary_encode().combine_chunks(),
            item_id.dictionary_encode().combine_chunks(),
            rating,
        )
        users = first_baseline.entities(rows.user_id)
        items = first_baseline.entities(rows.item_id)
        fitted = input_data.interactions(rows, users, items)
        model = baseline.bias_and_popularity(fitted, len(users), len(items), (1.0, 5.0))
        model.rating_mean += rating_offset
        assert isinstance(model.preference_head, FactorsHead)
        table = model.preference_head.item_table
        position = {name.decode(): row for row, name in enumerate(items.raw_ids)}
        held_out = np.zeros(table.shape, np.float32)
        for name in self.rows["test"]["item_id"].to_pylist():
            held_out[position.get(name, len(items))] += 1
        table.assign(table + foresight * held_out)
        if nan == "preference":
            table.assign(np.where(np.arange(len(items) + 1)[:, None] == 3, np.nan, table))
        if nan == "rating":
            model.rating_mean = float("nan")
        self.models += 1
        path = self.folder / "models" / str(self.models)
        export.export(
            str(path),
            model,
            Catalogue(
                users,
                items,
                first_baseline.shape("user", users),
                first_baseline.shape("item", items),
            ),
            self.config.data.columns(),
            None,
            fitted,
            rows,
            {"architecture": "mf"},
        )
        return str(path)

    def judge(
        self,
        candidate: str,
        slices: tuple[str, ...] = ("gender",),
        comparison: str = "1",
        **bounds: Any,
    ) -> dict[str, Any]:
        """Runs the pipeline with the candidate; returns ModelSelector's verdict on it.

        `bounds`: of `evaluation.gates`, or `at_least_rows`.
        """
        rows = {name: bounds.pop(name) for name in bounds.keys() & {"at_least_rows"}}
        gates = self.config.evaluation.gates.model_copy(update=bounds)
        evaluation = self.config.evaluation.model_copy(
            update={"slices": slices, "gates": gates, **rows}
        )
        changes = {"evaluation": evaluation, "seed": int(Path(candidate).name)}
        judged = self.config.model_copy(update=changes)
        served = served_models.served(self.serving)
        found = world.observe(judged.data, self.serving, served, rebase_baseline=False)
        found = dataclasses.replace(found, comparison=comparison)
        record = summary.Run()
        runner.run(
            dag.create_pipeline(judged, found, str(self.folder / "root")),
            self.store,
            Progress(Console(quiet=True)),
            record,
            environment={MODELS: str(self.folder / "models")},
        )
        assert not {"Trainer-mf", "Evaluator-mf"} & set(record.cached_nodes)
        outputs = self.store.outputs(record.executions["ModelSelector"])
        return json.loads(outputs["blessing"].custom_properties["verdicts"].string_value)["mf"]


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: pytest.MonkeyPatch) -> Gate:
    folder = tmp_path_factory.mktemp("gate")
    write_small_data(folder)
    code = NODE_KINDS["Trainer"].code
    monkeypatch_module.setitem(code, "run_fn", f"{__name__}.{take_crafted_model.__name__}")
    gate = Gate(folder)
    # Served is a model that can be beaten and missed in either way, by more than chance.
    served = gate.export(rating_offset=0.3, foresight=-1.0)
    served_models.push(served, gate.serving, {})
    return gate


WORSE_RATING, WORSE_RANKING = {"rating_offset": 0.6}, {"foresight": -20.0}
BETTER_RATING, BETTER_RANKING = {"rating_offset": 0.0}, {"foresight": 20.0}


@pytest.mark.parametrize(
    ("crafted", "blocking"),
    [
        (WORSE_RATING | BETTER_RANKING, {"RMSE"}),
        (BETTER_RATING | WORSE_RANKING, {"HitRate@5"}),
        (WORSE_RATING | WORSE_RANKING, {"RMSE", "HitRate@5"}),
        ({"shuffled": True, "foresight": -20.0}, {"RMSE", "HitRate@5"}),
    ],
    ids=["worse in RMSE only", "worse in HitRate only", "worse in both", "shuffled labels"],
)
def test_m1_m2_a_worse_model_is_stopped_by_just_the_gates_it_fails(
    gate: Gate, crafted: dict[str, Any], blocking: set[str]
) -> None:
    before = tree(gate.serving)
    verdict = gate.judge(gate.export(**crafted))
    assert not verdict["blessed"]
    assert {reason.split()[0] for reason in verdict["reasons"]} == blocking
    assert all(": worse by 0." in reason for reason in verdict["reasons"]), "a bound?"
    assert tree(gate.serving) == before


def test_m1_the_served_model_does_not_beat_itself(gate: Gate) -> None:
    before = tree(gate.serving)
    served = served_models.served(gate.serving)
    assert served is not None
    gate.models += 1
    again = gate.folder / "models" / str(gate.models)
    shutil.copytree(served.path, again)
    verdict = gate.judge(str(again))
    assert not verdict["blessed"]
    assert "it is what is served" in verdict["reasons"]
    assert any(
        reason.startswith("HitRate@5 ")
        and reason.endswith(": no difference (at least 0 with 97.5 % confidence), 0.0001 needed")
        for reason in verdict["reasons"]
    )
    assert tree(gate.serving) == before


def test_m2_a_bound_on_any_other_figure_blocks_a_better_model(gate: Gate) -> None:
    before = tree(gate.serving)
    verdict = gate.judge(
        gate.export(rating_offset=0.0, foresight=20.0),
        coverage=ShareBounds(min=0.99),
        calibration_slope=Bounds(max=0.1),
        rmse_by_user_activity_decile=RmseBound(max=0.01),
        gini=ShareBounds(max=1),
    )
    assert not verdict["blessed"]
    by_decile = [
        reason for reason in verdict["reasons"] if "(slice user_activity_decile " in reason
    ]
    others = sorted(set(verdict["reasons"]) - set(by_decile))
    assert [reason.split()[0] for reason in others] == ["calibration_slope", "coverage_at_5"]
    assert len(by_decile) == 10
    assert all(reason.startswith("rmse ") for reason in by_decile)
    assert tree(gate.serving) == before


@pytest.mark.parametrize(
    ("nan", "blocking"),
    [
        ("rating", {"rmse is not a number", "RMSE cannot be compared: "}),
        ("preference", {"hit_rate_at_5 is not a number", "HitRate@5 cannot be compared: "}),
    ],
)
def test_m3_a_nan_blocks(gate: Gate, nan: str, blocking: set[str]) -> None:
    before = tree(gate.serving)
    verdict = gate.judge(gate.export(nan=nan))
    assert not verdict["blessed"]
    for text in blocking:
        assert any(reason.startswith(text) for reason in verdict["reasons"])
    assert tree(gate.serving) == before


def test_m3_a_missing_slice_blocks(gate: Gate) -> None:
    before = tree(gate.serving)
    verdict = gate.judge(gate.export(), slices=("zodiac",))
    assert not verdict["blessed"]
    assert "no test row in slice zodiac" in verdict["reasons"]
    assert tree(gate.serving) == before


def test_m10_too_few_test_rows_block_and_the_reason_says_how_many_would_do(gate: Gate) -> None:
    better = gate.export(rating_offset=0.0, foresight=20.0)
    verdict = gate.judge(better, at_least_rows=100_000)
    assert not verdict["blessed"]
    for heading in ("RMSE", "HitRate@5"):
        pattern = (
            rf"{heading} was compared on \d+ test rows of \d+ users, 100000 rows are needed;"
            r" about [\d,]+ would decide"
        )
        assert [reason for reason in verdict["reasons"] if re.fullmatch(pattern, reason)]


def test_m10_each_further_comparison_asks_for_more(gate: Gate) -> None:
    """After a million nights the very model that the first would push is noise."""
    verdict = gate.judge(gate.export(rating_offset=0.0, foresight=20.0), comparison="1000000")
    assert not verdict["blessed"]
    assert all("; it is comparison 1000000 with that model" in text for text in verdict["reasons"])


def test_m10_not_worse_lets_a_small_loss_pass_but_not_their_sum(gate: Gate) -> None:
    """Each step is within the margin; the second is compared with where the first began, too."""
    before = gate.config, gate.serving
    gate.config = gate.config.model_copy(update={"serving_root": str(gate.folder / "steps")})
    gate.serving = gate.config.serving_directory
    try:
        first = gate.export(rating_offset=0.3, foresight=-1.0)
        proved = served_models.push(first, gate.serving, {})
        policy: dict[str, Any] = {
            "rmse": RmseGate(max=2, policy="not_worse", margin=0.12),
            "hit_rate": HitRateGate(min=0.01, policy="not_worse", margin=0.2),
        }
        step = gate.judge(gate.export(rating_offset=0.45, foresight=20.0), comparison="2", **policy)
        assert step["blessed"], step["reasons"]
        now = served_models.served(gate.serving)
        assert now is not None
        assert now.version > proved.version
        # HitRate@K was proved better, RMSE was not.
        assert now.record["anchor"] == proved.version
        assert now.record["comparisons"] == 2
        second = gate.export(rating_offset=0.55, foresight=20.0)
        (reason,) = gate.judge(second, comparison="3", **policy)["reasons"]
        assert reason.startswith("RMSE against the last model that was proved better: at least -0.")
        best = gate.judge(gate.export(rating_offset=0.0, foresight=20.0), comparison="4", **policy)
        assert best["blessed"], best["reasons"]
        last = served_models.served(gate.serving)
        assert last is not None
        assert not last.record.keys() & {"anchor", "comparisons"}
    finally:
        gate.config, gate.serving = before


def test_s7_a_model_that_is_better_in_both_is_pushed(gate: Gate) -> None:
    before = served_models.versions(gate.serving)
    verdict = gate.judge(gate.export(rating_offset=0.0, foresight=20.0))
    assert verdict == verdict | {"blessed": True, "reasons": []}
    assert len(served_models.versions(gate.serving)) == len(before) + 1
    now = served_models.served(gate.serving)
    assert now is not None
    assert now.digest == verdict["digest"]
