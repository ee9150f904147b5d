"""D9: the fingerprint holds all that a result depends on, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tfx_recommender.components.ratings_example_gen.config import ROWS_IN_MEMORY, Data
from tfx_recommender.foundation.errors import BadDataError
from tfx_recommender.pipeline import dag, fingerprint
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


def test_d9_what_our_code_does_counts_but_not_what_it_says_of_itself(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = config_file.load(str(small / "config.yaml")).data
    code = small / "code.py"
    files = fingerprint._code_files()
    names = {Path(f).name for f in files}
    assert {"run_fn.py", "preprocessing.py", "ranking.py", "formulas.py", "dag.py"} <= names
    monkeypatch.setattr(fingerprint, "_code_files", lambda: [*files, str(code)])
    prints = []
    for text in (
        "def f():\n    return 1",
        'def f():  # of late\n    """Says one."""\n\n    return 1',
        "def f():\n    return 2",
    ):
        code.write_text(text)
        prints.append(fingerprint.of_data_and_code(data))
    assert prints[0] == prints[1]
    assert prints[0] != prints[2]


@pytest.mark.parametrize("library", ["pyarrow", "numpy", "scipy", "apache-beam", "keras-tuner"])
def test_d9_another_version_of_a_library_counts(
    library: str, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = config_file.load(str(small / "config.yaml")).data
    before = fingerprint.of_data_and_code(data)
    (version,) = (line for line in fingerprint.libraries() if line.startswith(f"{library} "))
    others = [line for line in fingerprint.libraries() if line != version]
    monkeypatch.setattr(fingerprint, "libraries", lambda: [*others, f"{library} 99"])
    assert fingerprint.of_data_and_code(data) != before


def test_d9_tools_that_only_develop_are_no_part_of_it() -> None:
    names = {line.split()[0] for line in fingerprint.libraries()}
    assert not names & {"pytest", "ruff", "mypy", "hypothesis"}


def test_d9_the_number_of_threads_counts(small: Path) -> None:
    data = config_file.load(str(small / "config.yaml")).data
    one, two = (fingerprint.of_data_and_code(data, threads) for threads in (1, 2))
    assert one != two


def test_d9_rows_in_memory_change_no_result_and_so_no_execution_property(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(small / "config.yaml")
    loaded = [config_file.load(path, [f"data.rows_in_memory={n}"]) for n in (10, 20)]
    properties = [
        {node.id: dict(node.exec_properties) for node in dag.create_pipeline(one).components}
        for one in loaded
    ]
    assert properties[0] == properties[1]
    monkeypatch.setenv(ROWS_IN_MEMORY, "10")
    assert Data.from_json(loaded[1].data.to_json()).rows_in_memory == 10


def test_a_missing_file_is_named(small: Path) -> None:
    data = config_file.load(str(small / "config.yaml")).data
    (small / "items.csv").unlink()
    with pytest.raises(BadDataError, match=r"items\.csv: cannot be read"):
        fingerprint.of_data_and_code(data)
