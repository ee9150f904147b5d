"""The config: every mistake is one line that names file, line or override, key and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import EVENTS, write_config
from tfx_recommender.foundation.errors import ConfigError
from tfx_recommender.pipeline.settings import config, config_file
from tfx_recommender.trainer.architectures.mf.settings import MatrixFactorization
from tfx_recommender.trainer.architectures.two_stage.settings import MatrixFactorizationStage

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
        ("name=2024-99-99", "'2024-99-99' cannot be read as what it looks like; put it in quotes"),
        ("seed=!!int abc", "'abc' cannot be read"),
        ("seed=0x_", "'0x_' cannot be read"),
        (f"seed={'9' * 5000}", "… (5002 characters) cannot be read"),
        ("seed=&x [*x]", "nested more than 50 levels deep, or refers to itself"),
        (f"seed={'[' * 600}", "nested more than 50 levels deep"),
        ("seed={? [a] : 1}", "unhashable"),
        (f"{'a.' * 60}a=1", "write it as key.path=value"),
        ("seed=1:30", "'1:30' is 90 to YAML, in base 60; write that"),
        ("seed=010", "'010' is 8 to YAML, in base 8; leave out the 0 in front"),
        ("seed=true", "is true; a number is needed"),
        ("data.ratings.rating_range=[false, 5]", "is false; a number is needed"),
        (f"seed={2**63}", "is a larger number than any setting takes"),
        (f"split.seed={2**63 - 1}0", "is a larger number than any setting takes"),
        (f"evaluation.k={10**30}", "is a larger number than any setting takes"),
        (f"evaluation.k={2**31}", "input should be less than 2147483648"),
        ("evaluation.relevance_threshold=.nan", "finite number"),
        ("models.mf.preference.l2=.inf", "finite number"),
        ("data.ratings.quote=ab", "must be one ASCII character"),
        ("data.ratings.quote=é", "must be one ASCII character"),
        ('data.ratings.quote=","', "must not be a part of the delimiter"),
        (r'data.ratings.delimiter="\n"', "must not hold a line break"),
        ("data.ratings.encoding=punycode", "is no encoding of text files"),
        ("data.ratings.encoding=hex", "Python knows no 'hex'"),
        (r'data.ratings.paths=["a\0b"]', "holds NUL or half a character"),
        (r'data.ratings.paths=["\ud83d"]', "holds NUL or half a character"),
        ("data.ratings.paths=[a.csv, ./a.csv]", "'a.csv' is given twice"),
        ('data.ratings.paths=[""]', "is empty; give a path"),
        ("data.ratings.rating=timestamp", "'timestamp' is the column of timestamp already"),
        ("data.ratings.item=user_id", "'user_id' is the column of user already"),
        ("data.ratings.rating_range=[1, 1.00000001]", "cannot tell its ends apart"),
        ("data.ratings.rating_range=[0, 1e39]", "cannot tell its ends apart"),
        ("data.users.features.age.min=.nan", "finite number"),
        ("data.users.features.age.min=121", "121 is above max, 120; no number fits"),
        ("root=", "should be a valid string"),
        ('root=""', "at least 1 character"),
        ("root=a[1]b", "holds '['"),
        ("root=a\\b", "holds '\\\\'"),
        (
            "split={strategy: time, validation_from: 2024-02-01, test_from: 2024-01-01T00:00:00Z}",
            "must be before test_from",
        ),
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
    assert len(str(error.value)) < 800
    assert override.partition("=")[0].split(".")[-1] in str(error.value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.events.rating=clicks", "have no ratings; is this data.ratings?"),
        ("data.events.rating_range=[1, 5]", "have no ratings; is this data.ratings?"),
        ("data.events.strength=hits", "no column 'hits'"),
        ("data.events=null", "data.ratings: is missing"),
        ("data.ratings={paths: [a], columns: [user_id, item_id, rating], rating_range: [1, 5]}",
         "data.events: set data.ratings or data.events, not both"),
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


# Each alias stands for ten of the one before: a text of 300 bytes for 10^9 values.
BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "holds no settings"),
        ("a: [", r":1: is not YAML"),
        ("- a list\n", "holds no settings"),
        ("a: 1\nx: &x [*x]\n", ":2: is not YAML: is nested more than 50 levels deep, or refers"),
        ("x: &x {a: *x}\n", "refers to itself"),
        ("x: &x {<<: *x}\n", "refers to itself"),
        ("x: " + "[" * 600 + "]" * 600, "nested more than 50"),
        ("x: " + "{a: " * 60 + "1" + "}" * 60, "nested more than 50"),
        (BOMB, r"stands for more than 100,000 values"),
        ("name: a\nseed: 010\n", ":2: is not YAML: '010' is 8"),
        ("name: a\nsplit: 2024-13-01\n", ":2: is not YAML: '2024-13-01'"),
        ("a\0b: 1", "special characters are not allowed"),
        ("x: !!python/object:os.system ls", "could not determine a constructor"),
        ("x: 1 #\n" * 50_000, "at most 262144 characters"),
    ],
)
def test_what_is_no_config_is_refused_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml") as error:
        config_file.load(str(path))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_merge_key_is_no_repeated_one(small: Path) -> None:
    path = small / "config.yaml"
    text = path.read_text().replace("  users:", "  users: &u", 1)
    path.write_text(text + "vocabulary: {<<: &v {min_count: 2}, min_count: 3}\n")
    assert config_file.load(str(path)).vocabulary.min_count == 3


def test_an_endless_config_is_refused() -> None:
    with pytest.raises(ConfigError, match="is no config"):
        config_file.load("/dev/zero")


def test_an_overlay_replaces_settings_as_they_stand_in_its_file(small: Path) -> None:
    write_config(small, split={"strategy": "leave_last_out"})
    overlay = small / "overlay.yaml"
    overlay.write_text(
        """
split: {strategy: time, validation_from: 2024-01-01, test_from: 2024-02-01T00:00:00+02:00}
data:
  ratings: {timestamp: timestamp}
  items: {title: title, delimiter: "🎬"}
seed: 7
""",
        encoding="utf-8",
    )
    loaded = config_file.load(str(small / "config.yaml"), [f"@{overlay}", "seed=8"])
    assert loaded.data.items is not None
    assert loaded.data.items.delimiter == "🎬"
    assert loaded.split.strategy == "time"
    assert loaded.split.validation_from.isoformat() == "2024-01-01T00:00:00"
    assert loaded.split.test_from.isoformat() == "2024-02-01T00:00:00+02:00"
    assert loaded.seed == 8


def test_what_is_wrong_in_an_overlay_is_named_with_its_line(small: Path) -> None:
    overlay = small / "overlay.yaml"
    overlay.write_text("seed: 7\nvocabulary:\n  min_count: 0\n")
    with pytest.raises(ConfigError, match=r"overlay.yaml:3: vocabulary.min_count: input"):
        config_file.load(str(small / "config.yaml"), [f"@{overlay}"])


def test_long_values_are_cut_in_messages(small: Path) -> None:
    for override in (f"seed={'x' * 10_000}", f"name={'X' * 10_000}", f"{'x' * 10_000}=1",
                     f"split.strategy={'x' * 10_000}", f"data.ratings.user={'x' * 10_000}",
                     f"evaluation.select_by={'x' * 10_000}"):  # fmt: skip
        with pytest.raises(ConfigError) as error:
            config_file.load(str(small / "config.yaml"), [override])
        assert len(str(error.value)) < 800


def test_overrides_replace_what_the_file_says(small: Path) -> None:
    loaded = config_file.load(
        str(small / "config.yaml"), ["seed=7", "models.mf.preference.training.epochs=2"]
    )
    assert loaded.seed == 7
    assert loaded.models.chosen()["mf"].preference.training.epochs == 2
    with pytest.raises(Exception, match="frozen"):
        loaded.seed = 8  # type: ignore[misc]


def test_every_setting_is_documented() -> None:
    """Each class says what it configures (its fields are documented in the source)."""
    schema = config.Config.model_json_schema()
    assert yaml.safe_dump(schema)  # plain data throughout
    for part in [schema, *schema["$defs"].values()]:
        if "[" not in part["title"]:  # a generic class has its doc where it is defined
            assert part.get("description"), part["title"]


@pytest.mark.parametrize(
    ("given", "loss"),
    [
        ({}, "ials"),
        ({"embedding_size": 8}, "ials"),
        ({"ials": {"regularization": 0.01}}, "ials"),
        ({"l2": 0.1}, "softmax"),
        ({"training": {"batch_size": 64}}, "softmax"),
        ({"training": {"loss": "logistic"}}, "logistic"),
        ({"l2": 0.1, "training": {"loss": "bpr", "epochs": 3}}, "bpr"),
        ({"training": {"loss": "ials"}}, "ials"),
    ],
)
def test_mf_ranks_by_ials_unless_training_by_gradients_is_asked_for(
    given: dict[str, Any], loss: str
) -> None:
    """What older configs set goes on meaning what it meant."""
    found = MatrixFactorization.model_validate(given)
    assert found.training.loss == loss
    # A Trainer is given all of it, defaults too.
    assert MatrixFactorization.model_validate(found.model_dump()) == found
    assert MatrixFactorizationStage.model_validate(given).training.loss == loss
