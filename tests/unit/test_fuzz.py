"""Whatever configs and data files hold: success, or one line that says what is wrong.

Each test runs some hundred cases here, always the same; the slow ones run ten times as many, other
ones each time. What once failed stands as an example.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from tests.conftest import SMALL_CONFIG, write_config, write_small_data
from tfx_recommender.components.ratings_example_gen import dataset
from tfx_recommender.components.ratings_example_gen.config import Data, LeaveLastOut, Random
from tfx_recommender.foundation.errors import BadDataError, ConfigError, UserError
from tfx_recommender.pipeline.settings import config_file
from tfx_recommender.pipeline.settings.config import Config

FEW = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
MANY = settings(FEW, max_examples=3000, derandomize=False)


def is_one_line(error: UserError) -> bool:
    return "\n" not in str(error) and 10 < len(str(error)) < 1200


# Configs.

# What has meant something else in YAML, Python, NumPy, TensorFlow or Arrow than it looks like.
NASTY = [
    "", "~", "null", "true", "no", "[]", "{}", "[[]]", "{a: 1}", "0", "-1", "1e400", "-0.0", ".nan",
    ".inf", "-.inf", "1:30", "010", "0x10", "0b1", "1_000", "1e3", "9" * 400, "2147483648",
    "9223372036854775808", "18446744073709551616", "1e-320", "3.5e38", "2024-99-99", "2024-01-01",
    "2024-01-01T00:00:00Z", "0001-01-01", "9999-12-31T23:59:59-12:00", "!!int abc", "!!float x",
    "!!binary x", "!!timestamp x", "!!bool x", "!!null x", "!!set {a}", "!!omap [a: 1]",
    "!!pairs [a]", "!!str 5", "!!python/name:os.system", "!x y", "&a [*a]", "&a {b: *a}", "*a",
    "? [a] : b", "? {a: 1} : b", "<<: 1", "{<<: [1]}", "'", '"', '"\\0"', '"\\ud800"', '"\\n"',
    '"\\x1b[31m"', "|", ">", "- a", "a: b: c", "%", "@", "`", "=", "\t", "🎬", "é", "a\u2028b",
    "/dev/zero", "..", "a[1]b", "a*b", "s3://b/x", "s3://b/../x", "gs://", "utf-16", "punycode",
    "rot13", "::", "ab", ",", "|", "\\", "x" * 300, "[1, 5]", "[5, 1]", "[true, 2]", "[.nan, 1]",
    "[1, 2, 3]", "[a, a]", "[user_id, item_id, rating, timestamp, x]", "leave_last_out", "time",
    "{strategy: time, validation_from: 2024-01-01, test_from: 2024-02-01T00:00:00Z}",
    "{strategy: random, validation: 0.5, test: 0.5}", "{strategy: random, seed: 3}",
    "{kind: numeric, min: 3, max: 1}", "{kind: category, values: [yes, no]}",
]  # fmt: skip


def keys_of(values: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for name, value in values.items():
        found.append(f"{prefix}{name}")
        if isinstance(value, dict):
            found += keys_of(value, f"{prefix}{name}.")
    return found


KEYS = [
    *keys_of(SMALL_CONFIG),
    *(f"data.ratings.{name}" for name in ("header", "delimiter", "quote", "encoding", "user")),
    *("split.validation", "split.test", "vocabulary.max_size", "warm_start", "kubeflow"),
    *(
        "models.two_tower",
        "models.mlp.preference.hidden_units",
        "data.events",
        "data.rows_in_memory",
    ),
    *("evaluation.relevance_threshold", "evaluation.ranked_users", "evaluation.gates.ndcg.min"),
    *("", ".", "a", "data..ratings", "models.mf.rating.factors.x", "split.", "é"),
]
VALUES = st.one_of(
    st.sampled_from(NASTY),
    st.sampled_from([*NASTY, *map(str, range(-1, 12)), "0.5", "user_id", "rating", "timestamp"]),
    st.integers().map(str),
    st.text(max_size=8),
)


@functools.cache
def small_folder() -> Path:
    folder = Path(tempfile.mkdtemp())
    write_small_data(folder)
    write_config(folder)
    return folder


def load(text: str | bytes | None, overrides: list[str]) -> Config | None:
    path = small_folder() / "config.yaml"
    if text is not None:
        path = small_folder() / "fuzzed.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="replace"))
    try:
        return config_file.load(str(path), overrides)
    except ConfigError as error:
        assert is_one_line(error), error
        return None


def set_something(overrides: list[tuple[str, str]]) -> None:
    config = load(None, [f"{key}={value}" for key, value in overrides])
    if config is not None:
        # What is taken can be handed on, and says the same there.
        assert Config.model_validate_json(config.model_dump_json()) == config
        read_or_tell(config)


def read_or_tell(config: Config) -> None:
    """What `run` does with the data."""
    try:
        dataset.read(config.data, config.split, config.relevance_threshold)
    except BadDataError as error:
        assert is_one_line(error), error


OVERRIDES = st.lists(st.tuples(st.sampled_from(KEYS), VALUES), min_size=1, max_size=2)


@FEW
@given(OVERRIDES)
@example([("name", "2024-99-99")])
@example([("seed", "!!int abc")])
@example([("seed", "0x_")])
@example([("seed", "9" * 5000)])
@example([("seed", "&x [*x]")])
@example([("seed", "[" * 600)])
@example([("split.seed", str(2**63))])
@example([("data.ratings.quote", "ab")])
@example([("data.ratings.paths", '["a\\0b"]')])
@example([("data.ratings.encoding", "punycode")])
@example([("evaluation.relevance_threshold", ".nan")])
@example([("name", "\n")])
def test_any_setting_is_taken_or_refused_in_one_line(overrides: list[tuple[str, str]]) -> None:
    set_something(overrides)


@pytest.mark.slow
@MANY
@given(OVERRIDES)
def test_any_setting_is_taken_or_refused_in_one_line_at_length(
    overrides: list[tuple[str, str]],
) -> None:
    set_something(overrides)


@pytest.mark.slow
@pytest.mark.parametrize("value", NASTY)
def test_every_nasty_value_at_every_key(value: str) -> None:
    for key in KEYS:
        load(None, [f"{key}={value}"])


CONFIG_BYTES = yaml.safe_dump(SMALL_CONFIG, allow_unicode=True).encode()


def spliced(content: bytes, pieces: list[Any], first: int = 0) -> st.SearchStrategy[bytes]:
    """The content with parts of it left out or replaced by one of the pieces, mostly `first` on."""
    place = st.one_of(*[st.integers(first, len(content))] * 4, st.integers(0, len(content)))
    piece = st.one_of(*[st.sampled_from(pieces)] * 4, st.binary(max_size=6))
    edit = st.tuples(place, st.sampled_from([0, 0, 0, 1, 1, 2, 5, 40]), piece)

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        result = content
        for start, length, piece in edits:
            result = result[:start] + piece + result[start + length :]
        return result

    return st.lists(edit, min_size=1, max_size=3).map(apply)


YAML_PIECES = [value.encode() for value in NASTY] + [
    b"\n", b": ", b"\n  ", b"- ", b"[", b"{", b"}", b"#", b"&a ", b"*a", b"\xff", b"\xef\xbb\xbf",
    b"---\n", b"...\n", b"\r", b"%YAML 9.9\n", b"<<: *a\n", b"? ",
]  # fmt: skip
TEXTS = st.one_of(
    spliced(CONFIG_BYTES, YAML_PIECES),
    st.lists(st.sampled_from(YAML_PIECES), max_size=12).map(b"".join),
    st.text(alphabet="ab:-[]{}&*!|>'\"%@`,?# \n\t0.~é🎬", max_size=40).map(str.encode),
)


@FEW
@given(TEXTS)
def test_any_text_is_a_config_or_refused_in_one_line(text: bytes) -> None:
    load(text, [])


@pytest.mark.slow
@MANY
@given(TEXTS)
def test_any_text_is_a_config_or_refused_in_one_line_at_length(text: bytes) -> None:
    load(text, [])


@FEW
@given(TEXTS)
def test_any_text_is_an_overlay_or_refused_in_one_line(text: bytes) -> None:
    (small_folder() / "overlay.yaml").write_bytes(text)
    load(None, [f"@{small_folder() / 'overlay.yaml'}"])


# Data files.

HEADER = b"user_id,item_id,rating,timestamp\n"
GOOD = HEADER + b"".join(
    b"u%d,i%d,%d,%d\n" % (n % 7, n * 5 % 11, n % 5 + 1, 10**9 + n * 13 % 17) for n in range(60)
)
PIECES = [
    b"", b"\n", b"\r", b"\r\n", b"\n\r", b",", b",,", b'"', b'""', b"'", b"::", b"\t", b"\0",
    b"\xff", b"\xef\xbb\xbf", b"\x1f", b"\x1a", b"nan", b"inf", b"-1", b"1e39", b"1e400", b"0x10",
    b"3.0", b" ", "é".encode(), "e\u0301".encode(), "🎬".encode(), "\u2028".encode(), b"\xc3",
    b"\xed\xa0\x80", b"9" * 30, b"1700000000000", b"-", b"=1+1", b"x" * 500, HEADER, HEADER[:-1],
    b"\n\n\n", b'"a\nb"', b'"a""b"', b"\\", b"#", b"NULL", b"\x1b[31m",
]  # fmt: skip
FORMS = st.fixed_dictionaries(
    {},
    optional={
        "header": st.booleans(),
        "delimiter": st.sampled_from([",", "::", ";", "\t", " ", "é", "ab", '","', "|"]),
        "quote": st.sampled_from(['"', "'", "|", "a"]),
        "encoding": st.sampled_from(
            ["utf-8", "latin-1", "utf-16", "utf-32", "utf-7", "ascii", "cp1252", "shift_jis",
             "iso2022_jp", "utf-8-sig", "hz", "euc_kr", "big5", "mac_roman"]
        ),
        "rating_range": st.sampled_from([(1, 5), (-3e38, 3e38), (0, 1e-40), (0.7, 5)]),
        "timestamp": st.sampled_from(["timestamp", None]),
    },
)  # fmt: skip
NAMES: dict[str, Callable[[bytes], bytes]] = {
    "ratings.csv": bytes,
    "ratings.csv.gz": gzip.compress,
    "ratings.csv.bz2": bz2.compress,
    "ratings.csv.zst": functools.partial(pa.compress, codec="zstd", asbytes=True),
}


def read_files(name: str, content: bytes, form: dict[str, Any], users: bytes | None = None) -> None:
    folder = small_folder() / "fuzzed"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    files = {
        "paths": [str(folder / name)],
        "columns": ["user_id", "item_id", "rating", "timestamp"],
        "timestamp": "timestamp",
        "rating_range": (1, 5),
    }
    data: dict[str, Any] = {"ratings": files | form}
    if users is not None:
        (folder / "users.csv").write_bytes(users)
        features = {
            "age": {"kind": "numeric", "min": 0, "max": 120},
            "gender": {"kind": "category", "values": ["F", "M"]},
            "tags": {"kind": "categories"},
        }
        data["users"] = {"path": str(folder / "users.csv"), "id": "user_id",
                         "columns": ["user_id", *features], "features": features}  # fmt: skip
    try:
        checked = Data.model_validate(data)
    except ValueError:  # of a form that the config refuses
        return
    has_times = checked.interactions.timestamp is not None
    split = LeaveLastOut(strategy="leave_last_out") if has_times else Random(strategy="random")
    try:
        rows = dataset.read(checked, split, -1e30)
    except BadDataError as error:
        assert is_one_line(error), error
        return
    low, high = form.get("rating_range", (1, 5))
    assert rows.ratings.columns["rating"].min() >= low * (1 - 1e-6) - 1e-6
    assert rows.ratings.columns["rating"].max() <= high * (1 + 1e-6) + 1e-6
    assert not {"", None} & set(rows.ratings.users.ids.to_pylist())


FILES = st.tuples(st.sampled_from(sorted(NAMES)), spliced(GOOD, PIECES, len(HEADER)), FORMS)


def packed(name: str, content: bytes, form: dict[str, Any]) -> None:
    """Reads content that is written as the form says, as far as it can be."""
    content = content.replace(b",", form.get("delimiter", ",").encode())
    with contextlib.suppress(UnicodeError):
        content = content.decode().encode(form.get("encoding", "utf-8"))
    read_files(name, NAMES[name](content), form)


@FEW
@given(FILES)
@example(("ratings.csv", GOOD.replace(b"\n", b"\n\r"), {}))
@example(("ratings.csv", GOOD + b'u1,"a\nb",3,1000000000\n', {}))
@example(("ratings.csv", GOOD + b"+2AA-,a,3,1000000000\n", {"encoding": "utf-7"}))
@example(("ratings.csv", GOOD, {"quote": ","}))
def test_any_text_file_is_read_or_refused_in_one_line(file: Any) -> None:
    packed(*file)


@pytest.mark.slow
@MANY
@given(FILES)
def test_any_text_file_is_read_or_refused_in_one_line_at_length(file: Any) -> None:
    packed(*file)


BROKEN = st.sampled_from(sorted(NAMES)).flatmap(
    lambda name: st.tuples(st.just(name), spliced(NAMES[name](GOOD), PIECES))
)


@settings(FEW, max_examples=150)
@given(BROKEN)
def test_any_broken_compressed_file_is_refused_in_one_line(file: tuple[str, bytes]) -> None:
    read_files(*file, {})


USERS = b"user_id,age,gender,tags\n" + b"".join(
    b"u%d,%d,%s,a|b\n" % (n, 20 + n, b"FM"[n % 2 :][:1]) for n in range(7)
)


@settings(FEW, max_examples=150)
@given(spliced(USERS, [*PIECES, b"u1,", b"|", b"||", b"X"], 23))
def test_any_file_of_users_is_read_or_refused_in_one_line(users: bytes) -> None:
    read_files("ratings.csv", GOOD, {}, users)


def parquet_of(**columns: Any) -> bytes:
    rows = 60
    named = {
        "user_id": [f"u{n % 7}" for n in range(rows)],
        "item_id": [n * 5 % 11 for n in range(rows)],
        "rating": [float(n % 5 + 1) for n in range(rows)],
        "timestamp": [10**9 + n for n in range(rows)],
    } | columns
    sink = io.BytesIO()
    parquet.write_table(pa.table(named), sink)
    return sink.getvalue()


PARQUET = parquet_of()
COLUMNS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: pa.nulls(60),
    "booleans": lambda: pa.array([True] * 60),
    "dates": lambda: pa.array([1] * 60, pa.int32()).cast(pa.date32()),
    "far times": lambda: pa.array([2**62] * 60, pa.timestamp("us")),
    "zoned times": lambda: pa.array([10**9] * 60, pa.timestamp("s", "Europe/Paris")),
    "times of day": lambda: pa.array([1] * 60, pa.time64("us")),
    "durations": lambda: pa.array([1] * 60, pa.duration("s")),
    "decimals": lambda: pa.array([1] * 60, pa.int64()).cast(pa.decimal128(21, 2)),
    "large": lambda: pa.array([2**64 - 1] * 60, pa.uint64()),
    "halves": lambda: pa.array([1.0] * 60, pa.float32()).cast(pa.float16()),
    "bytes": lambda: pa.array([b"\xff"] * 60),
    "structs": lambda: pa.array([{"a": 1}] * 60),
    "lists": lambda: pa.array([[1]] * 60),
    "dictionary": lambda: pa.array(["a", None, ""] * 20).dictionary_encode(),
    "numbers by name": lambda: pa.array([1, 2, 3] * 20).dictionary_encode(),
    "infinite": lambda: pa.array([float("inf"), float("nan"), -1e300] * 20),
    "nested text": lambda: pa.array(["a\nb", "\0", "x" * 1000] * 20),
}


@pytest.mark.parametrize("column", ["user_id", "item_id", "rating", "timestamp"])
@pytest.mark.parametrize("kind", COLUMNS)
def test_any_type_of_parquet_column_is_read_or_refused_in_one_line(column: str, kind: str) -> None:
    read_files("ratings.parquet", parquet_of(**{column: COLUMNS[kind]()}), {})


@FEW
@given(spliced(PARQUET, PIECES))
@example(b"PAR1")
@example(b"")
def test_any_broken_parquet_file_is_read_or_refused_in_one_line(content: bytes) -> None:
    read_files("ratings.parquet", content, {})
