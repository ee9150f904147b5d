"""The config: every mistake is one line that names file, line or override, key and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.conftest import EVENTS, write_config
from tfx_recommender.foundation.errors import ConfigError
from tfx_recommender.pipeline.settings import config, config_file

SHIPPED = sorted(Path(config.__file__).parents[1].joinpath("configs").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path: Path) -> None:
    loaded = config_file.load(str(path))
    assert loaded.name == path.stem
    assert loaded.models.chosen()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("models.mf.rating.embeding_size=3", "did you mean 'embedding_size'"),
        ("split.strategy=foo", "'leave_last_out', 'time', 'random'"),
        ("evaluation.gates.rmse.max=-1", "greater than 0"),
        ("evaluation.gates.rmse.max=4.5", "this gate stops nothing"),
        ("vocabulary.min_count=0", "--set vocabulary.min_count=0: vocabulary.min_count: input"),
        ("evaluation.gates.hit_rate.min=1", "less than 1"),
        ("evaluation.gates.hit_rate.min_improvement=0", "would beat itself"),
        ("evaluation.gates.hit_rate.min_improvement=-0.1", "greater than or equal to 0"),
        ("evaluation.gates.hit_rate.policy=freshest", "'better' or 'not_worse'"),
        ("evaluation.gates.hit_rate.confidence=1", "less than 1"),
        ("evaluation.gates.hit_rate.margin=0", "greater than 0"),
        ("evaluation.gates.ndcg={min: 0.1, margin: 0.1}", "margin: needs a policy"),
        ("evaluation.gates.mae={}", "give min, max or both"),
        (
            "evaluation.gates={rmse: {max: 1, policy: null}, hit_rate: {min: 0.1, policy: null}}",
            "one gate must have a policy",
        ),
        ("evaluation.at_least_rows=1", "greater than or equal to 2"),
        ("evaluation.gates.coverage=0.3", "valid dictionary"),
        (
            "evaluation.gates.coverage.min=1.1",
            "1: evaluation.gates.coverage.min: input should be less than or equal to 1",
        ),
        ("evaluation.gates.covrage.min=0.1", "did you mean 'coverage'"),
        ("evaluation.gates.gini={}", "give min, max or both"),
        ("evaluation.gates.mae={min: 1, max: 0.5}", "min is above max"),
        ("evaluation.gates.rating_bias.max=.nan", "finite number"),
        ("evaluation.gates.rmse_by_user_activity_decile={max: 1, min: 1}", "decile.min: unknown"),
        ("evaluation.gates.sampled_ndcg.min=0.1", "unknown key"),
        ("evaluation.relevance_threshold=6", "above every rating"),
        ("evaluation.slices=[zodiac]", "known: gender, genres"),
        ("models={}", "name at least one of mf, mlp, hybrid"),
        ("models.mf.preference.training.epochs=many", "valid integer"),
        ("data.ratings.rating_range=[5, 1]", "must be below the largest"),
        ("data.ratings.user=userId", "no column 'userId'"),
        ("data.ratings.encoding=utf-9", "Python knows no"),
        ("data.ratings.timestamp=null", "choose random or name the column"),
        ("data.users.features.age.values=[a]", "min and max instead"),
        ("name=Not_For_Kubeflow", "pattern"),
        ("root=s3://bucket/x", "is a URL; give a folder"),
        ("name", "write it as key.path=value"),
    ],
)
def test_a_wrong_setting_is_named_with_its_override(
    small: Path, override: str, expected: str
) -> None:
    overrides = [override]
    if override == "data.ratings.timestamp=null":
        overrides.insert(0, "split={strategy: leave_last_out}")
    with pytest.raises(ConfigError) as error:
        config_file.load(str(small / "config.yaml"), overrides)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
    assert override.partition("=")[0].split(".")[-1] in str(error.value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.events.rating=clicks", "have no ratings; is this data.ratings?"),
        ("data.events.rating_range=[1, 5]", "have no ratings; is this data.ratings?"),
        ("data.events.strength=hits", "no column 'hits'"),
        ("data.events=null", "data.ratings: is missing"),
        ("data.ratings={paths: [a], columns: [user_id, item_id, rating], rating_range: [1, 5]}",
         "data.events: stand beside ratings"),
        ("data.items.features.strength={kind: numeric}", "'strength' is taken"),
        *(
            (f"evaluation.gates.{gate}={{max: 1}}", "is about ratings, and data.events have none")
            for gate in config._gates_of_ratings()
        ),
        ("evaluation.relevance_threshold=3", "is about ratings, and data.events have none"),
        ("evaluation.select_by=rmse", "choose hit_rate or ndcg"),
        ("evaluation.select_by=mae", "choose hit_rate or ndcg"),
        ("models.mf.rating={}", "is about ratings, and data.events have none"),
        ("models.mf.rating.factors=4", "is about ratings, and data.events have none"),
        ("evaluation.gates.hit_rate.min_improvement=0", "would beat itself"),
        ("data.events.timestamp=null", "needs data.events.timestamp"),
    ],
)  # fmt: skip
def test_with_events_whatever_concerns_ratings_is_refused_by_name(
    small: Path, override: str, expected: str
) -> None:
    path = str(write_config(small, **EVENTS, split={"strategy": "leave_last_out"}))
    assert config_file.load(path).models.chosen()["mf"].rating is None
    overrides = [override]
    if "strength" in override:
        overrides.insert(0, "data.items.columns=[item_id, title, genres, strength]")
    with pytest.raises(ConfigError) as error:
        config_file.load(path, overrides)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
    assert override.partition("=")[0].split(".")[-1] in str(error.value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.ratings.strength=rating", "data.ratings.strength: ratings have none"),
        ("evaluation.gates={hit_rate: {min: 0.01}}", "evaluation.gates.rmse: is missing"),
        ("models.mf.rating=null", "models.mf.rating: is null"),
    ],
)
def test_with_ratings_the_rating_head_and_its_gate_are_needed_and_strengths_refused(
    small: Path, override: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as error:
        config_file.load(str(small / "config.yaml"), [override])
    assert expected in str(error.value)
    assert str(error.value).startswith(f"--set {override}")


def test_an_unknown_key_in_the_file_is_named_with_its_line(small: Path) -> None:
    path = small / "config.yaml"
    path.write_text(path.read_text().replace("seed: 1", "sead: 1"))
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "sead" in text)
    with pytest.raises(ConfigError, match=rf"config.yaml:{line}: split.sead: unknown key"):
        config_file.load(str(path))


def test_a_repeated_key_is_refused(small: Path) -> None:
    path = small / "config.yaml"
    path.write_text(path.read_text() + "name: twice\n")
    with pytest.raises(ConfigError, match="duplicate key 'name'"):
        config_file.load(str(path))


@pytest.mark.parametrize("text", ["", "a: [", "- a list\n"])
def test_what_is_no_config_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        config_file.load(str(path))


def test_overrides_replace_what_the_file_says(small: Path) -> None:
    loaded = config_file.load(
        str(small / "config.yaml"), ["seed=7", "models.mf.preference.training.epochs=2"]
    )
    assert loaded.seed == 7
    assert loaded.models.mf is not None
    assert loaded.models.mf.preference.training.epochs == 2
    with pytest.raises(Exception, match="frozen"):
        loaded.seed = 8  # type: ignore[misc]


def test_every_setting_is_documented() -> None:
    """Each class says what it configures (its fields are documented in the source)."""
    schema = config.Config.model_json_schema()
    assert yaml.safe_dump(schema)  # plain data throughout
    for part in [schema, *schema["$defs"].values()]:
        if "[" not in part["title"]:  # a generic class has its doc where it is defined
            assert part.get("description"), part["title"]
