"""D9: a changed digit in the data, or in our code, changes the fingerprint; nothing else does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tfx_recommender.foundation.errors import BadDataError
from tfx_recommender.pipeline import fingerprint
from tfx_recommender.pipeline.settings import config_file


def test_d9_a_digit_of_the_data_counts_but_neither_size_nor_time_does(small: Path) -> None:
    data = config_file.load(str(small / "config.yaml")).data
    before = fingerprint.of_data_and_code(data)
    os.utime(small / "ratings.csv", (1, 1))
    assert fingerprint.of_data_and_code(data) == before
    for name in ("ratings.csv", "users.csv", "items.csv"):
        path = small / name
        content = path.read_bytes()
        path.write_bytes(content[:-2] + b"7" + content[-1:])
        assert fingerprint.of_data_and_code(data) != before
        path.write_bytes(content)
    assert fingerprint.of_data_and_code(data) == before


def test_d9_a_digit_of_our_code_counts(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = config_file.load(str(small / "config.yaml")).data
    code = small / "code.py"
    code.write_text("x = 1")
    files = fingerprint._code_files()
    assert {"run_fn.py", "preprocessing.py", "ranking.py"} <= {Path(f).name for f in files}
    monkeypatch.setattr(fingerprint, "_code_files", lambda: [*files, str(code)])
    before = fingerprint.of_data_and_code(data)
    code.write_text("x = 2")
    assert fingerprint.of_data_and_code(data) != before


def test_a_missing_file_is_named(small: Path) -> None:
    data = config_file.load(str(small / "config.yaml")).data
    (small / "items.csv").unlink()
    with pytest.raises(BadDataError, match=r"items\.csv: cannot be read"):
        fingerprint.of_data_and_code(data)
