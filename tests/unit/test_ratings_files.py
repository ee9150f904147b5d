"""D1-D6, D8: whatever is wrong in a file is refused by file and line, and nothing else is."""

from __future__ import annotations

import bz2
import gzip
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.conftest import table_of
from tfx_recommender.components.ratings_example_gen import (
    dataset,
    parquet_file,
    ratings_table,
    source_file,
    table_file,
    text_file,
)
from tfx_recommender.components.ratings_example_gen.config import Data, Random, TableFile
from tfx_recommender.foundation.errors import BadDataError

HEADER = b"user_id,item_id,rating,timestamp\n"
GOOD = HEADER + b"a,x,3,10\nb,y,4.5,11\n"


def read(tmp_path: Path, content: bytes, name: str = "ratings.csv", **settings: Any) -> pa.Table:
    (tmp_path / name).write_bytes(content)
    return read_paths(tmp_path / name, **settings)


def read_paths(*paths: Path | str, rows_in_memory: int = 1000, **settings: Any) -> pa.Table:
    form = {
        "paths": [str(path) for path in paths],
        "columns": ["user_id", "item_id", "rating", "timestamp"],
        "timestamp": "timestamp",
        "rating_range": [1, 5],
    }
    data = {"ratings": form | settings, "rows_in_memory": rows_in_memory}
    ratings = ratings_table.read(Data.model_validate(data))
    return table_of(ratings, ratings.kept)


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        (b"", "ratings.csv", "is empty"),
        (HEADER, "ratings.csv", "holds no rows"),
        (GOOD + b"c,z,3\n", "ratings.csv:4", "has 3 columns, expected 4"),
        (GOOD + b"c,z,3,12,9\n", "ratings.csv:4", "has 5 columns, expected 4"),
        (GOOD + b'c,"z,3,12\nd,z,3,12\n', "ratings.csv:4", "quotes"),
        (GOOD + b"c,\xff\xfe,3,12\n", "ratings.csv:4", "is not utf-8"),
        (GOOD + b"c,z,6,12\n", "ratings.csv:4", "not within rating_range"),
        (GOOD + b"c,z,0.5,12\n", "ratings.csv:4", "not within rating_range"),
        (GOOD + b"c,z,nan,12\n", "ratings.csv:4", "not within rating_range"),
        (GOOD + b"c,z,inf,12\n", "ratings.csv:4", "not within rating_range"),
        (GOOD + b"c,z,,12\n", "ratings.csv:4", "is empty"),
        (GOOD + b"c,z,good,12\n", "ratings.csv:4", "not a number"),
        (GOOD + b"c,z,3,noon\n", "ratings.csv:4", "not a whole number"),
        (GOOD + b",z,3,12\n", "ratings.csv:4", "user_id '' is empty"),
        (GOOD + b"c,,3,12\n", "ratings.csv:4", "item_id '' is empty"),
        (GOOD + b"\nc,z,3,12\n", "ratings.csv:4", "is empty"),
        (GOOD.replace(b"rating", b"stars"), "ratings.csv:1", "misses rating and has unknown stars"),
        (GOOD.replace(b"timestamp", b"when"), "ratings.csv:1", "has unknown when"),
        (GOOD[len(HEADER) :], "ratings.csv:1", "header"),
        (HEADER + b"a,x,3,10\na,y,3,11\n", "ratings.csv", "fewer than two users"),
        (GOOD + b"c,z,3,0x10\n", "ratings.csv:4", "timestamp '0x10' is not a whole number"),
        (GOOD + b"c,z,0x3,12\n", "ratings.csv:4", "not a number"),
        (GOOD + b"c,z,3,1700000000000\n", "ratings.csv:4", "looks like milliseconds"),
        (GOOD + b"c,z,3,-1700000000000000\n", "ratings.csv:4", "looks like microseconds"),
        (GOOD + b"c,z,3,-9223372036854775808\n", "ratings.csv:4", "looks like nanoseconds"),
        (GOOD + b"c,z,3,9999999999999999999\n", "ratings.csv:4", "is not a whole number"),
        (GOOD + b'c,"z\nz",3,12\n', "ratings.csv:4", "a quote opens and does not close"),
        (GOOD.replace(b"\n", b"\n\r"), "ratings.csv:2", "carriage return"),
        (GOOD.replace(b"\n", b"\r"), "ratings.csv:1", "header"),
        (GOOD + b"c,z,3,12\rd,z,3,12\n", "ratings.csv:4", "carriage return"),
        (b"\n" + GOOD, "ratings.csv:1", "header"),
        (HEADER + b"\n" + GOOD[len(HEADER) :], "ratings.csv:2", "is empty"),
        (GOOD + b"c,z," + b"9" * 100_000 + b",12\n", "ratings.csv:4", "… (100002 characters)"),
        (b"a," * 100_000 + b"\n" + GOOD, "ratings.csv:1", "characters)"),
    ],
)
def test_d1_d3_d5_d8_a_bad_row_is_named_by_file_and_line(
    tmp_path: Path, content: bytes, where: str, what: str
) -> None:
    with pytest.raises(BadDataError) as error:
        read(tmp_path, content)
    assert f"{where}: " in str(error.value)
    assert what in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("content", "settings", "expected"),
    [
        (b"a,x,0.7,1\nb,x,4.9,2\n", {"rating_range": [0.7, 4.9]}, [0.7, 4.9]),
        (b"a,x,0.1,1\nb,x,0.3,2\n", {"rating_range": [0.1, 0.3]}, [0.1, 0.3]),
        (b"a,x,.9,1\nb,x,1.1,2\n", {"rating_range": [0.9, 1.1]}, [0.9, 1.1]),
    ],
)
def test_d3_the_ends_of_the_scale_are_ratings(
    tmp_path: Path, content: bytes, settings: dict[str, Any], expected: list[float]
) -> None:
    table = read(tmp_path, HEADER + content, **settings)
    assert table["rating"].to_pylist() == pytest.approx(expected)
    with pytest.raises(BadDataError, match="not within"):
        read(tmp_path, HEADER + content + b"c,x,0.09,3\n", **settings)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["2024-01-01T00:00:00Z", "2024-01-01T02:00:01.9+02:00"], [1704067200, 1704067201]),
        (["2024-01-01 00:00:00", "1969-12-31T23:59:59.5"], [1704067200, -1]),
        (["2024-01-01", "2024-01-02"], [1704067200, 1704153600]),
    ],
)
def test_times_may_be_iso_8601(tmp_path: Path, times: list[str], expected: list[int]) -> None:
    rows = [f"{user},x,3,{time}\n" for user, time in zip("ab", times, strict=True)]
    table = read(tmp_path, HEADER + "".join(rows).encode())
    assert table["timestamp"].to_pylist() == expected
    for wrong in ("2024-13-01T00:00:00Z", "12", "", "2024-01-01T00:00:00+99:99", "soon"):
        content = HEADER + "".join([*rows, f"c,x,3,{wrong}\n"]).encode()
        with pytest.raises(BadDataError, match=r"ratings.csv:4: timestamp .* is not a time"):
            read(tmp_path, content)


def test_times_of_one_unit_are_kept_as_they_are(tmp_path: Path) -> None:
    content = b"a,x,3,1700000000001\nb,y,4,1700000000000\n"
    table = read(tmp_path, HEADER + content)
    assert table["timestamp"].to_pylist() == [1700000000001, 1700000000000]
    other = tmp_path / "other.csv"
    other.write_bytes(GOOD)
    with pytest.raises(BadDataError, match=r"other.csv:2: .* looks like seconds, but the time at"):
        read_paths(tmp_path / "ratings.csv", other)


def test_a_delimiter_of_several_characters_may_be_quoted(tmp_path: Path) -> None:
    content = b'a::"Tom::Jerry"::3::10\nb::y::4.5::11\nb::"x:::""y"::3::12\n'
    table = read(tmp_path, content, header=False, delimiter="::", quote='"')
    assert table["item_id"].to_pylist() == ["Tom::Jerry", "y", 'x:::"y']


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "NUL", "surrogate"])
@pytest.mark.parametrize("name", ["data.csv", "data.parquet"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str, name: str) -> None:
    path = str(tmp_path / name)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        os.symlink("/dev/zero", path)
    elif kind == "folder":
        os.mkdir(path)
    path += {"NUL": "\0", "surrogate": "\ud83d"}.get(kind, "")
    for read_it in (lambda: read_paths(path), lambda: source_file.fingerprint([path])):
        with pytest.raises(BadDataError, match="cannot be read") as error:
            read_it()
        assert str(error.value).isprintable()


def test_a_file_without_line_breaks_is_not_taken_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_file, "_LINE_BYTES", 1000)
    monkeypatch.setattr(text_file, "_BLOCK_BYTES", 400)
    content = GOOD + b"c,x" + b"x" * 100_000
    with pytest.raises(BadDataError, match=r"ratings.csv.gz:4: is longer than"):
        read(tmp_path, gzip.compress(content), "ratings.csv.gz")


def test_a_long_line_is_read(tmp_path: Path) -> None:
    name = "x" * 3_000_000
    assert read(tmp_path, GOOD + f"c,{name},3,12\n".encode())["item_id"][2].as_py() == name


def test_a_process_that_refused_a_file_ends(tmp_path: Path) -> None:
    """Arrow's threads waited for themselves once a row did not fit into a block."""
    path = tmp_path / "ratings.csv"
    path.write_bytes(b"a,b\na," + b"x" * 3_000_000 + b"\na,b,c\n")
    code = f"""if True:
        from tfx_recommender.components.ratings_example_gen import table_file
        from tfx_recommender.components.ratings_example_gen.config import TableFile
        from tfx_recommender.foundation.errors import BadDataError
        for _ in range(40):
            try:
                list(table_file.blocks({str(path)!r}, TableFile(columns=("a", "b"))))
            except BadDataError as error:
                assert ":3: has 3 columns" in str(error), error
            else:
                raise AssertionError
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


def test_d9_what_was_read_is_fingerprinted_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_file, "_BLOCK_BYTES", 60)
    content = HEADER + b"".join(b"u%d,x,3,10\n" % n for n in range(100))
    path, new = tmp_path / "ratings.csv", tmp_path / "new.csv"
    path.write_bytes(content)
    before = source_file.fingerprint([str(path)])
    form = TableFile(columns=("user_id", "item_id", "rating", "timestamp"))

    def fingerprint_of(meanwhile: Callable[[], Any]) -> str:
        found = source_file.Fingerprint()
        for n, _ in enumerate(table_file.blocks(str(path), form, found)):
            if n == 1:
                meanwhile()
        return found.hexdigest()

    assert fingerprint_of(lambda: None) == before
    # Whoever replaces the file leaves the one that is being read alone.
    new.write_bytes(content.replace(b"u99", b"u98"))
    assert fingerprint_of(lambda: new.rename(path)) == before
    # Whoever writes into it is noticed, though in the end all is as before.
    path.write_bytes(content)
    found = fingerprint_of(lambda: path.write_bytes(content.replace(b"u99", b"u98")))
    path.write_bytes(content)
    assert found != before


@pytest.mark.parametrize("name", ["ratings.csv", "ratings.csv.gz", "ratings.parquet"])
def test_d9_data_that_changed_since_the_run_began_stop_it(tmp_path: Path, name: str) -> None:
    def write(rating: float) -> None:
        content = HEADER + f"a,x,{rating},10\nb,y,4.5,11\n".encode() * 2
        if name.endswith("parquet"):
            parquet.write_table(pa.table(COLUMNS | {"rating": [rating, 3.0]}), tmp_path / name)
        else:
            (tmp_path / name).write_bytes(gzip.compress(content) if "gz" in name else content)

    write(3)
    form = {"paths": [str(tmp_path / name)], "columns": list(COLUMNS), "rating_range": [1, 5]}
    if not name.endswith("parquet"):
        form["columns"] = HEADER.decode().strip().split(",")
    data = Data.model_validate({"ratings": form | {"timestamp": "timestamp"}})
    fingerprint = source_file.fingerprint(data.paths()) + "and of the code"
    write(2)
    split = Random(strategy="random", validation=0.4, test=0.4)
    with pytest.raises(BadDataError, match=f"{name}: one of these changed after the run began"):
        dataset.read(data, split, 1, fingerprint)
    write(3)
    assert ratings_table.read(data).fingerprint == fingerprint[:64]


def test_d2_bom_crlf_and_another_order_of_columns_are_read_the_same(tmp_path: Path) -> None:
    expected = read(tmp_path, GOOD)
    assert read(tmp_path, b"\xef\xbb\xbf" + GOOD).equals(expected)
    assert read(tmp_path, GOOD.replace(b"\n", b"\r\n")).equals(expected)
    swapped = b"rating,user_id,timestamp,item_id\n3,a,10,x\n4.5,b,11,y\n"
    assert read(tmp_path, swapped).equals(expected)
    assert read(tmp_path, GOOD.rstrip(b"\n")).equals(expected)


def test_d2_a_header_where_none_is_configured_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match=r"ratings.csv:1: rating 'rating' .* header: true"):
        read(tmp_path, GOOD, header=False)


def test_a_delimiter_of_two_characters_and_latin_1_are_read(tmp_path: Path) -> None:
    content = "é::x::3::10\nb::y:z::4.5::11\n".encode("latin-1")
    table = read(tmp_path, content, header=False, delimiter="::", encoding="latin-1")
    assert table["user_id"].to_pylist() == ["é", "b"]
    assert table["item_id"].to_pylist() == ["x", "y:z"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="cannot be read"):
        read(tmp_path, GOOD, paths=[str(tmp_path / "nowhere.csv")])


def test_d4_numeric_looking_ids_stay_text(tmp_path: Path) -> None:
    table = read(tmp_path, HEADER + b"007,1e3,3,10\n7,u12,3,11\n")
    assert table["user_id"].to_pylist() == ["007", "7"]
    assert table["item_id"].to_pylist() == ["1e3", "u12"]


def test_d5_unicode_ids_are_kept_to_the_byte(tmp_path: Path) -> None:
    ids = ["é", "e\u0301", "🎬 🎬", "a'b", " x "]
    rows = "".join(f"{name},x,3,{n}\n" for n, name in enumerate(ids))
    table = read(tmp_path, HEADER + rows.encode())
    assert table["user_id"].to_pylist() == ids


def test_d6_of_a_repeated_pair_the_latest_rating_counts(tmp_path: Path) -> None:
    rows = b"a,x,1,20\na,x,2,10\nb,x,3,5\nb,x,4,5\n"
    table = read(tmp_path, HEADER + rows)
    assert table.select(["user_id", "rating"]).to_pylist() == [
        {"user_id": "a", "rating": 1.0},
        {"user_id": "b", "rating": 4.0},
    ]


def test_what_is_wrong_is_named_by_its_line_in_later_blocks_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"u{n % 50},é{n},{n % 5 + 1},{n}\r\n".encode() for n in range(300)]
    expected = read(tmp_path, HEADER + b"".join(lines))
    monkeypatch.setattr(text_file, "_BLOCK_BYTES", 97)
    assert read(tmp_path, HEADER + b"".join(lines)).equals(expected)
    for bad, what in (
        (b"u,\xff,3,1\n", "is not utf-8"),
        (b"u,i,3\n", "has 3 columns"),
        (b"u,i,6,1\n", "not within"),
        (b"u,,3,1\n", "is empty"),
        (b"u,i,3,noon\n", "not a whole number"),
    ):
        content = HEADER + b"".join([*lines[:250], bad, *lines[250:]])
        with pytest.raises(BadDataError, match=f"ratings.csv:252: .*{what}"):
            read(tmp_path, content)


def test_several_files_are_one_and_each_line_is_its_files_own(tmp_path: Path) -> None:
    one, other = tmp_path / "1.csv", tmp_path / "2.csv"
    one.write_bytes(GOOD)
    other.write_bytes(HEADER + b"b,x,2,12\na,x,1,9\n")
    table = read_paths(one, other)
    assert table["user_id"].to_pylist() == ["a", "b", "b"]
    assert table["rating"].to_pylist() == [3, 4.5, 2]
    other.write_bytes(HEADER + b"b,x,7,12\n")
    with pytest.raises(BadDataError, match=r"2\.csv:2: "):
        read_paths(one, other)


def test_compressed_files_are_read_by_name_and_broken_ones_named(tmp_path: Path) -> None:
    expected = read(tmp_path, GOOD)
    assert read(tmp_path, gzip.compress(GOOD), "ratings.csv.gz").equals(expected)
    assert read(tmp_path, bz2.compress(GOOD), "ratings.csv.bz2").equals(expected)
    bad = gzip.compress(GOOD + b"c,z,6,12\n")
    with pytest.raises(BadDataError, match=r"ratings\.csv\.gz:4: .* not within"):
        read(tmp_path, bad, "ratings.csv.gz")
    for broken in (GOOD, bad[:-12]):
        with pytest.raises(BadDataError, match=r"ratings\.csv\.gz: cannot be read"):
            read(tmp_path, broken, "ratings.csv.gz")


COLUMNS = {
    "item_id": pa.array([7, 8]),
    "user_id": pa.array(["a", "b"]),
    "rating": pa.array([3, 4.5]),
    "timestamp": pa.array([10, 11]),
}


def read_parquet(tmp_path: Path, **columns: pa.Array) -> pa.Table:
    path = tmp_path / "ratings.parquet"
    parquet.write_table(pa.table(COLUMNS | columns), path)
    return read_paths(path)


def test_parquet_is_read_as_the_same_text_would_be(tmp_path: Path) -> None:
    expected = read(tmp_path, HEADER + b"a,7,3,10\nb,8,4.5,11\n")
    assert read_parquet(tmp_path).equals(expected)
    same = {
        "item_id": pa.array(["7", "8"], pa.large_string()),
        "user_id": pa.array(["a", "b"]).dictionary_encode(),
        "rating": pa.array([3, 4.5], pa.float32()),
        "timestamp": pa.array([10_000, 11_000], pa.timestamp("ms")),
    }
    assert read_parquet(tmp_path, **same).equals(expected)


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"rating": pa.array([3.5, 6])}, "parquet:2: rating '6' is not within"),
        ({"rating": pa.array([3, None])}, "parquet:2: rating '' is empty"),
        ({"rating": pa.array([float("nan"), 3])}, "parquet:1: rating 'nan' is not within"),
        ({"user_id": pa.array(["a", None])}, "parquet:2: user_id '' is empty"),
        ({"user_id": pa.array(["a", "b\n"])}, "parquet:2: user_id 'b\\n' holds a line break"),
        ({"user_id": pa.array([1.0, 2.0])}, "parquet: user_id holds double"),
        ({"user_id": pa.array([["a"], ["b"]])}, "parquet: user_id holds list"),
        ({"timestamp": pa.array([1.5, 2])}, "parquet:1: timestamp '1.5' is not a whole number"),
        ({"more": pa.array([1, 2])}, "parquet: has unknown more"),
    ],
)
def test_a_bad_row_of_parquet_is_named_by_its_number(
    tmp_path: Path, columns: dict[str, pa.Array], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_file, "_BLOCK_ROWS", 1)
    with pytest.raises(BadDataError) as error:
        read_parquet(tmp_path, **columns)
    assert what in str(error.value)


def test_a_column_that_parquet_holds_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ratings.parquet"
    names = [*COLUMNS, "rating"]
    table = pa.Table.from_arrays([*COLUMNS.values(), COLUMNS["rating"]], names)
    parquet.write_table(table, path)
    with pytest.raises(BadDataError, match="parquet: names a column twice"):
        read_paths(path)


def test_a_flipped_bit_in_parquet_with_checksums_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "ratings.parquet"
    columns = COLUMNS | {"rating": pa.array([3.0, 4.5])}
    parquet.write_table(
        pa.table(columns), path, write_page_checksum=True, compression="none", use_dictionary=False
    )
    content = path.read_bytes()
    assert len(read_paths(path)) == 2
    place = content.index(struct.pack("<dd", 3.0, 4.5))
    path.write_bytes(content[:place] + struct.pack("<d", 2.0) + content[place + 8 :])
    with pytest.raises(BadDataError, match=r"ratings\.parquet: cannot be read .*checksum"):
        read_paths(path)


def test_what_is_not_parquet_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match=r"ratings\.parquet: cannot be read .* is it Parquet"):
        read(tmp_path, GOOD, "ratings.parquet")


def test_how_much_is_sorted_at_a_time_changes_no_result(tmp_path: Path) -> None:
    rows = [f"u{n * 7 % 23},i{n * 5 % 11},{n % 5 + 1},{n * 3 % 17}\n" for n in range(600)]
    content = HEADER + "".join(rows).encode()
    expected = read(tmp_path, content)
    assert len(expected) == 253
    for rows_in_memory in (1, 40, 100):
        assert read(tmp_path, content, rows_in_memory=rows_in_memory).equals(expected)


def metadata(tmp_path: Path, users: str) -> Data:
    (tmp_path / "ratings.csv").write_bytes(GOOD)
    (tmp_path / "users.csv").write_text(users)
    return Data.model_validate(
        {
            "ratings": {
                "paths": [str(tmp_path / "ratings.csv")],
                "columns": ["user_id", "item_id", "rating", "timestamp"],
                "rating_range": [1, 5],
            },
            "users": {
                "path": str(tmp_path / "users.csv"),
                "columns": ["id", "age", "tags"],
                "id": "id",
                "features": {
                    "age": {"kind": "numeric", "min": 0.1, "max": 120},
                    "tags": {"kind": "categories", "values": ["x", "y", "z"]},
                },
            },
        }
    )


def test_metadata_are_joined_and_unknown_users_counted(tmp_path: Path) -> None:
    ratings = ratings_table.read(metadata(tmp_path, "id,age,tags\na,30,x|y\nq,4,\n"))
    assert ratings.users.ids.to_pylist() == ["a", "b"]
    assert ratings.users.features["age"].to_pylist() == [30.0, None]
    assert ratings.users.features["tags"].to_pylist() == [["x", "y"], None]
    assert ratings.users.without_metadata == 1


@pytest.mark.parametrize(
    ("users", "what"),
    [
        ("id,age,tags\na,30,x\na,31,y\n", "users.csv:3: id 'a' is given twice"),
        ("id,age,tags\na,old,x\n", "users.csv:2: age 'old' is not a number"),
        ("id,age,tags\na,nan,x\n", "users.csv:2: age 'nan' is not a finite number"),
        ("id,age,tags\n,30,x\n", "users.csv:2: id '' is empty"),
        ("id,age\na,30\n", "misses tags"),
        ("id,age,tags\nb,30,x\na,inf,x\n", "users.csv:3: age 'inf' is not a finite number"),
        ("id,age,tags\nb,30,x\na,1e39,x\n", "users.csv:3: age '1e39' is not a finite number"),
        ("id,age,tags\nb,0.1,x\na,0.09,x\n", "users.csv:3: age '0.09' is below min, 0.1"),
        ("id,age,tags\nb,,x\na,121,x\n", "users.csv:3: age '121' is above max, 120"),
        ("id,age,tags\nb,,\na,1,x|w\n", "users.csv:3: tags 'x|w' is none of values: x, y, z"),
    ],
)
def test_bad_metadata_are_named_by_file_and_line(tmp_path: Path, users: str, what: str) -> None:
    with pytest.raises(BadDataError) as error:
        ratings_table.read(metadata(tmp_path, users))
    assert what in str(error.value)
