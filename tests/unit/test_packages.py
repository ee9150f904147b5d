"""Every folder of code is installed: what is forgotten works until somebody installs a wheel."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages

import tfx_recommender

PACKAGE = Path(tfx_recommender.__file__).parent


def test_every_folder_with_code_is_a_package() -> None:
    found = set(find_packages(str(PACKAGE)))
    folders = {
        str(path.parent.relative_to(PACKAGE)).replace("/", ".")
        for part in PACKAGE.iterdir()
        for path in part.glob("**/*.py")
    }
    assert "components.evaluator" in folders
    assert folders - found == set()
