"""What the docs name is there: files, tests, targets of make, commands and their options."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from tfx_recommender.kubeflow.cli import pipeline_cli

TOP = Path(__file__).parents[2]
DOCS = [TOP / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")]
DOCS.append(TOP / "kubeflow" / "README.md")
# What a run, a user or a build makes.
_MADE = re.compile(
    r"\.venv|runs/|data/|build/|assets\.extra/|artifacts/|profiles/|overlay\.yaml|.*\.tuned"
)


@pytest.mark.parametrize("doc", DOCS, ids=lambda doc: str(doc.relative_to(TOP)))
def test_every_file_that_is_named_is_there(doc: Path) -> None:
    text = doc.read_text(encoding="utf-8")
    names = re.findall(r"`([\w./-]+(?:\.(?:py|md|yaml|sh|toml|in|txt)|/))(?:::[\w…]+)?`", text)
    assert len(names) > 5
    there = [f"/{path.relative_to(TOP)}" for path in TOP.rglob("*") if ".venv" not in path.parts]
    missing = [
        name
        for name in names
        if not _MADE.match(name) and not any(p.endswith(f"/{name.strip('/')}") for p in there)
    ]
    assert missing == []


@pytest.mark.parametrize("doc", DOCS, ids=lambda doc: str(doc.relative_to(TOP)))
def test_every_test_that_is_named_is_there(doc: Path) -> None:
    for file, name in re.findall(r"`([\w/]+\.py)::(\w+)…?`", doc.read_text(encoding="utf-8")):
        assert f"def {name}" in (TOP / "tests" / file).read_text(encoding="utf-8"), (file, name)


def test_every_target_of_make_that_is_named_is_there() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (TOP / "Makefile").read_text(), re.MULTILINE))
    for doc in DOCS:
        named = re.findall(r"(?:`|^    )make ([a-z0-9-]+)", doc.read_text(), re.MULTILINE)
        assert set(named) <= targets, doc


def test_every_command_and_option_that_is_named_is_there() -> None:
    for doc in DOCS:
        lines = re.findall(r"^    tfx-recommender (.*)", doc.read_text(), re.MULTILINE)
        for line in lines:
            command: click.Command = pipeline_cli.cli
            words = line.partition("#")[0].split()
            while isinstance(command, click.Group) and words and words[0] in command.commands:
                command = command.commands[words.pop(0)]
            known = {name for option in command.params for name in option.opts}
            given = set(re.findall(r"--[a-z-]+", " ".join(words)))
            assert given <= known, (doc.name, line)


def test_links_lead_somewhere() -> None:
    for doc in DOCS:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", doc.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (doc.parent / target).exists(), (doc.name, target)
