"""A class's name says which class is meant: no two share one."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import tfx_recommender

PACKAGE, ROOT = Path(tfx_recommender.__file__).parent, Path(__file__).parents[2]


def test_no_two_classes_share_a_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in (*PACKAGE.glob("*/**/*.py"), *(ROOT / "benchmarks").glob("**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path}:{node.lineno}")
    assert "MatrixFactorizationHead" in places
    assert "TableRow" in places
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
