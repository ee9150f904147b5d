"""What `run-local` shows of this machine to which step, and what it says when it cannot run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfx_recommender.foundation.errors import BadDataError, ConfigError, UserError
from tfx_recommender.kubeflow import local_runner
from tfx_recommender.pipeline.settings import config_file


def test_without_an_engine_it_says_what_to_start(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{small}/no.sock")
    with pytest.raises(ConfigError, match=r"no container engine answers at unix://.*no\.sock"):
        local_runner.run(config_file.load(str(small / "config.yaml")), "image", {})
    assert not (small / "serving").exists()


def test_k4_a_step_sees_the_data_or_the_serving_folder_or_nothing(small: Path) -> None:
    loaded = config_file.load(str(small / "config.yaml"))
    data = {str(small / name) for name in ("ratings.csv", "users.csv", "items.csv")}
    serving = loaded.serving_directory

    def seen(node: str) -> dict[str, bool]:
        mounts = local_runner.mounts(loaded, node)
        return {mount["Target"]: mount["ReadOnly"] for mount in mounts}

    assert seen("World") == dict.fromkeys([*data, serving], True)
    assert seen("RatingsExampleGen") == dict.fromkeys(data, True)
    assert seen("ServedBaseline") == {serving: True}
    assert seen("Pusher") == {serving: False}
    assert seen("Transform") == seen("Trainer-mf") == seen("Evaluator-mf") == {}


@pytest.mark.parametrize(
    ("code", "kind"), [(1, UserError), (2, ConfigError), (3, BadDataError), (137, UserError)]
)
def test_a_failed_step_ends_the_command_with_its_code_and_last_line(
    code: int, kind: type[UserError]
) -> None:
    error = local_runner._error(code, "World", "chatter\ntfx-recommender: World: why\n")
    assert type(error) is kind
    assert str(error) == "World: why"
    assert str(local_runner._error(code, "World", "")) == f"World: exit code {code}"
