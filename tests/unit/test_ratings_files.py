"""D1-D6, D8: whatever is wrong in a file is refused by file and line, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tfx_recommender.components.errors import BadDataError
from tfx_recommender.components.ratings_example_gen import ratings_table
from tfx_recommender.components.ratings_example_gen.config import Data

HEADER = b"user_id,item_id,rating,timestamp\n"
GOOD = HEADER + b"a,x,3,10\nb,y,4.5,11\n"


def read(tmp_path: Path, content: bytes, **settings: Any) -> Any:
    path = tmp_path / "ratings.csv"
    path.write_bytes(content)
    form = {
        "paths": [str(path)],
        "columns": ["user_id", "item_id", "rating", "timestamp"],
        "timestamp": "timestamp",
        "rating_range": [1, 5],
    }
    return ratings_table.read(Data.model_validate({"ratings": form | settings})).table


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
                "features": {"age": {"kind": "numeric"}, "tags": {"kind": "categories"}},
            },
        }
    )


def test_metadata_are_joined_and_unknown_users_counted(tmp_path: Path) -> None:
    ratings = ratings_table.read(metadata(tmp_path, "id,age,tags\na,30,x|y\nq,4,\n"))
    assert ratings.table["age"].to_pylist() == [30.0, None]
    assert ratings.table["tags"].to_pylist() == [["x", "y"], None]
    assert ratings.users_without_metadata == 1


@pytest.mark.parametrize(
    ("users", "what"),
    [
        ("id,age,tags\na,30,x\na,31,y\n", "users.csv:3: id 'a' stands there twice"),
        ("id,age,tags\na,old,x\n", "users.csv:2: age 'old' is not a number"),
        ("id,age,tags\na,nan,x\n", "users.csv:2: age 'nan' is not a number"),
        ("id,age,tags\n,30,x\n", "users.csv:2: id '' is empty"),
        ("id,age\na,30\n", "misses tags"),
    ],
)
def test_bad_metadata_are_named_by_file_and_line(tmp_path: Path, users: str, what: str) -> None:
    with pytest.raises(BadDataError) as error:
        ratings_table.read(metadata(tmp_path, users))
    assert what in str(error.value)
