"""S7, S9: the Pusher serves the files that were judged, which load, or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tfx_recommender.components.serving import served_models
from tfx_recommender.foundation.errors import UserError


class Push:
    """A champion as ModelSelector leaves it, and the real Pusher for it."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf
        from tfx.types import standard_artifacts

        self.serving = str(folder / "serving")
        self.model = standard_artifacts.Model()
        self.model.uri = str(folder / "champion")
        self.path = folder / "champion" / "Format-Serving"
        module = tf.Module()
        module.weight = tf.Variable([1.0, 2.0])
        tf.saved_model.save(module, str(self.path))
        self.model.set_string_custom_property("name", "mf")
        self.judge()

    def judge(self) -> None:
        self.model.set_string_custom_property("digest", served_models.digest(str(self.path)))

    def __call__(self, destination_digest: str = "") -> int:
        """Pushes; returns the version, 0 if none."""
        from tfx.types import standard_artifacts

        from tfx_recommender.components import pusher

        blessing, pushed = standard_artifacts.ModelBlessing(), standard_artifacts.PushedModel()
        blessing.set_int_custom_property("blessed", 1)
        executor = getattr(pusher, "Pusher_Executor")  # noqa: B009 - TFX's decorator makes it
        executor().Do(
            {"model": [self.model], "blessing": [blessing]},
            {"pushed": [pushed]},
            {
                "serving_directory": self.serving,
                "destination_state": "",
                "record": "{}",
                "withdrawn": "[]",
                "destination_digest": destination_digest,
                "comparison": "2",
            },
        )
        return pushed.get_int_custom_property(pusher.VERSION_PROPERTY)


@pytest.fixture
def push(tmp_path: Path) -> Push:
    return Push(tmp_path)


def cut_all(path: Path) -> None:
    """What a loss of power leaves of files that were not flushed."""
    for file in path.rglob("*"):
        if file.is_file():
            os.truncate(file, 0)


def test_s7_the_champion_that_was_judged_is_pushed_and_names_its_digest(push: Push) -> None:
    version = push()
    served = served_models.served(push.serving)
    assert served is not None
    assert served.version == version
    assert served.digest == served_models.digest(str(push.path))


def test_m10_what_was_not_proved_better_names_the_last_one_that_was(push: Push) -> None:
    digest = served_models.digest(str(push.path))
    first = push()
    for version in (push(digest), push(digest)):
        record = served_models.served(push.serving, version).record  # type: ignore[union-attr]
        assert (record["anchor"], record["comparisons"]) == (first, 2)
    push.model.set_int_custom_property("proved_better", 1)
    record = served_models.served(push.serving, push(digest)).record  # type: ignore[union-attr]
    assert not record.keys() & {"anchor", "comparisons"}


@pytest.mark.parametrize(
    "damage",
    [
        cut_all,
        lambda path: (path / "saved_model.pb").unlink(),
        lambda path: (path / "variables" / "variables.index").write_text("x"),
        shutil.rmtree,
    ],
    ids=["all files cut", "no saved_model.pb", "a changed file", "no files"],
)
def test_h1_a_damaged_champion_is_never_pushed(push: Push, damage: Callable[[Path], None]) -> None:
    damage(push.path)
    with pytest.raises(UserError) as error:
        push()
    assert str(error.value) == (
        f"{push.path}: its files are not those that were judged, so nothing was pushed; they were"
        " damaged since; remove that folder and run again"
    )
    assert served_models.versions(push.serving) == []


def test_h1_what_does_not_load_is_never_pushed(push: Push) -> None:
    """Damaged before it was judged, so that its digest is no help."""
    (push.path / "saved_model.pb").write_bytes(b"no protocol buffer")
    push.judge()
    with pytest.raises(UserError, match=r"does not load as a SavedModel \(.*; remove .* run again"):
        push()
    assert served_models.versions(push.serving) == []


def test_s9_nothing_is_pushed_if_something_else_is_served_than_when_the_run_began(
    push: Push, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "saved_model.pb").write_text("better")
    other = served_models.push(str(tmp_path / "other"), push.serving, {})
    with pytest.raises(UserError, match="somebody pushed or rolled back meanwhile"):
        push(destination_digest="")
    assert served_models.served(push.serving) == other
    assert push(destination_digest=other.digest) > other.version
