"""setup.py names every folder of code: what it forgets works until somebody installs a wheel."""

from __future__ import annotations

from pathlib import Path

import tfx_recommender.kubeflow


def test_every_folder_with_code_is_installed() -> None:
    top = Path(tfx_recommender.kubeflow.__file__).parent.parent
    listed = (top / "setup.py").read_text(encoding="utf-8")
    parts = ("pipeline", "components", "trainer", "transform", "kubeflow")
    folders = {
        str(path.parent.relative_to(top)) for part in parts for path in top.glob(f"{part}/**/*.py")
    }
    assert "components/evaluator" in folders
    assert {folder for folder in folders if f'"{folder}"' not in listed} == set()
