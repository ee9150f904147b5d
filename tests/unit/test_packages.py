"""What is installed is all that is needed: what is forgotten works until somebody uses a wheel."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
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


def imported() -> set[str]:
    """Every top-level module that the package imports anywhere."""
    found = set()
    for path in PACKAGE.rglob("*"):
        files = path.rglob("*.py") if path.is_symlink() else [path] * (path.suffix == ".py")
        for file in files:
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {name.name.partition(".")[0] for name in node.names}
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    found.add(str(node.module).partition(".")[0])
    return found


def test_what_is_imported_is_required() -> None:
    required = {
        re.sub(r"[-_.]+", "-", Requirement(line).name).lower()
        for line in importlib.metadata.requires("tfx-recommender") or ()
    }
    assert {"tfx", "tensorflow", "kfp"} <= required
    providers = importlib.metadata.packages_distributions()
    missing = {}
    for module in imported() - set(sys.stdlib_module_names) - {"tfx_recommender"}:
        names = {re.sub(r"[-_.]+", "-", name).lower() for name in providers.get(module, ())}
        if not names & required:
            missing[module] = names
    # Google's name is shared by many; protobuf has the part that is imported.
    missing.pop("google", None)
    assert missing == {}


def test_there_is_one_version() -> None:
    assert importlib.metadata.version("tfx-recommender") == tfx_recommender.__version__
    top = PACKAGE.parents[1]
    changes = (top / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## ([0-9.]+)", changes, re.MULTILINE)
    assert newest is not None
    assert newest[1] == tfx_recommender.__version__
    assert "VERSION=" not in re.sub(r"ARG VERSION=?unknown", "", _dockerfile(top))


def _dockerfile(top: Path) -> str:
    return (top / "kubeflow" / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_wheel_in_an_empty_environment_works(small: Path, tmp_path: Path) -> None:
    """Its requirements are resolved from the index; only what glibc forbids is replaced."""
    top, uv = PACKAGE.parents[1], str(Path(sys.executable).with_name("uv"))
    subprocess.run(
        [uv, "build", "--quiet", "--wheel", "--out-dir", str(tmp_path / "dist"), str(top)],
        check=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    environment = tmp_path / "environment"
    subprocess.run(
        [uv, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True
    )
    # As installed here: every version, and on an older glibc the two that replace others.
    pins = tmp_path / "pins.txt"
    pins.write_text(
        "".join(
            f"{name}=={importlib.metadata.version(name)}\n"
            for name in _locked(top)
            if _is_installed(name)
        )
    )
    python = str(environment / "bin" / "python")
    command = [uv, "pip", "install", "--quiet", "--python", python, "--overrides", str(pins)]
    subprocess.run([*command, str(wheel)], check=True)
    done = subprocess.run(
        [str(environment / "bin" / "tfx-recommender"), "validate", str(small / "config.yaml")],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ratings" in done.stdout


def _locked(top: Path) -> list[str]:
    lock = (top / "requirements" / "glibc-2.39.txt").read_text(encoding="utf-8")
    return re.findall(r"^([a-z0-9][a-z0-9._-]*)==", lock, re.MULTILINE)


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
