"""The compiled pipeline in real containers: from ratings to a pushed model that answers.

`make test-kubeflow` builds the image and runs this; without an image and an engine it is skipped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import write_config, write_small_data
from tests.pipeline.test_story import tree
from tfx_recommender.components.serving import served_models
from tfx_recommender.components.tuned_config import OVERLAY
from tfx_recommender.foundation.errors import BadDataError
from tfx_recommender.kubeflow import local_runner
from tfx_recommender.pipeline.settings import config, config_file
from tfx_recommender.pipeline.world import World

IMAGE = os.environ.get("TFX_RECOMMENDER_IMAGE", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not IMAGE, reason="no image to test; make test-kubeflow builds it"),
]
NODES = {
    "World", "RatingsExampleGen", "StatisticsGen", "ExampleValidator", "DataGate",
    "ServedBaseline", "Transform", "Trainer-mf", "Evaluator-mf", "ModelSelector", "Pusher",
}  # fmt: skip
BEFORE_THE_GATE = {"World", "RatingsExampleGen", "StatisticsGen", "ExampleValidator", "DataGate"}


@dataclasses.dataclass
class Run:
    """A finished run: its config, the folder of its artifacts, what its containers said."""

    config: config.Config
    artifacts: Path
    log: str

    def output(self, node: str) -> dict[str, Any]:
        return json.loads((self.artifacts / node / "executor_output.json").read_text())

    def metadata(self, node: str, key: str) -> dict[str, Any]:
        return self.output(node)["artifacts"][key]["artifacts"][0]["metadata"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("containers")
    open_to_the_images_user(folder)
    write_small_data(folder)
    loaded = config_file.load(str(write_config(folder)))
    log = io.StringIO()
    with contextlib.redirect_stdout(log):
        artifacts = local_runner.run(loaded, IMAGE, {})
    yield Run(loaded, Path(artifacts), log.getvalue())


def open_to_the_images_user(folder: Path) -> None:
    """pytest's folders are the caller's alone; the containers run as another user."""
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o755)


def test_k8_each_command_really_runs_and_makes_its_outputs(run: Run) -> None:
    assert {path.name for path in run.artifacts.iterdir()} == NODES
    for node in NODES - {"World", "DataGate"}:
        for key, made in run.output(node)["artifacts"].items():
            folder = Path(made["artifacts"][0]["uri"])
            assert folder == run.artifacts / node / key
            empty_is_right = (node, key) in {
                ("Pusher", "pushed"), ("Trainer-mf", "model_run"), ("Evaluator-mf", "metrics"),
            }  # fmt: skip
            assert empty_is_right or any(folder.rglob("*")), folder
    fields = {field.name for field in dataclasses.fields(World)}
    assert set(run.output("World")["parameterValues"]) == fields


def test_the_pushed_model_answers_in_plain_tensorflow(run: Run) -> None:
    served = served_models.served(run.config.serving_directory)
    assert served is not None
    assert run.metadata("Pusher", "pushed")["pushed_version"] == served.version
    assert served.record["model"] == "mf"
    code = (
        "import sys, tensorflow as tf; m = tf.saved_model.load(sys.argv[1]);"
        "a = m.signatures['recommend'](user_id=tf.constant(['u1']), k=tf.constant(3),"
        " liked_item_ids=tf.zeros([1, 0], tf.string));"
        "assert 'tfx_recommender' not in sys.modules; print(len(set(a['item_id'].numpy()[0])))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, served.path], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "3"


def test_metrics_equal_those_of_a_local_run(run: Run, tmp_path: Path) -> None:
    from tfx_recommender.components.evaluator import verdict
    from tfx_recommender.components.evaluator.predictions import BASELINE, CANDIDATE

    command = str(Path(sys.executable).with_name("tfx-recommender"))
    path = Path(run.config.root).parent / "config.yaml"
    places = [f"--set={key}={tmp_path / key}" for key in ("root", "serving_root")]
    subprocess.run([command, "run", str(path), *places], check=True, capture_output=True)
    summary = json.loads((tmp_path / "root" / "summary.json").read_text())
    evaluation = run.artifacts / "Evaluator-mf" / "evaluation"
    for name, local in ((CANDIDATE, summary["models"]["mf"]), (BASELINE, summary["baseline"])):
        metrics = verdict.metrics_of(str(evaluation), name)
        for metric in ("rmse", "mae", "hit_rate_at_5", "ndcg_at_5"):
            assert metrics[metric] == pytest.approx(local[metric], abs=1e-4), (name, metric)
    shown = run.metadata("Evaluator-mf", "metrics")
    assert shown["blessed"] == 1
    for prefix, local in (("", summary["models"]["mf"]), ("baseline_", summary["baseline"])):
        for metric in ("rmse", "hit_rate_at_5", "ndcg_at_5"):
            assert shown[prefix + metric] == pytest.approx(local[metric], abs=1e-4)


def test_a_steps_overhead_is_small(run: Run) -> None:
    seconds = dict(re.findall(r"tfx-recommender: (\S+): ready after ([0-9.]+) s", run.log))
    assert set(seconds) == NODES - {"World"}
    print(seconds)
    assert max(map(float, seconds.values())) < 15


def test_a_search_writes_its_overlay_and_pushes_nothing(run: Run) -> None:
    folder = Path(run.config.root).parent
    before = tree(run.config.serving_directory)
    path = folder / "space.yaml"
    path.write_text("mf: {rating: {factors: {choice: [2, 4]}}}")
    loaded = config_file.load(str(folder / "config.yaml"), [f"root={folder / 'search'}"])
    with contextlib.redirect_stdout(io.StringIO()):
        made = local_runner.run(loaded, IMAGE, {}, (config_file.load_search_space(str(path)), 2))
    overlay = Path(made) / "TunedConfig" / "overlay" / OVERLAY
    assert yaml.safe_load(overlay.read_text())["models"]["mf"]["rating"]["factors"] in (2, 4)
    config_file.load(str(folder / "config.yaml"), [f"@{overlay}"])
    assert tree(run.config.serving_directory) == before


def test_broken_data_stop_at_the_gate_and_nothing_is_pushed(run: Run) -> None:
    folder = Path(run.config.root).parent
    users = (folder / "users.csv").read_text(encoding="utf-8")
    broken = folder / "broken_users.csv"
    # Nobody has an age.
    broken.write_text(re.sub(r"^([^,\n]*),\d+,", r"\1,,", users, flags=re.M), encoding="utf-8")
    before = tree(run.config.serving_directory)
    root = folder / "broken"
    loaded = config_file.load(
        str(folder / "config.yaml"), [f"data.users.path={broken}", f"root={root}"]
    )
    with (
        contextlib.redirect_stdout(io.StringIO()),
        pytest.raises(BadDataError, match="DataGate: the data do not fit the config: age: "),
    ):
        local_runner.run(loaded, IMAGE, {})
    (artifacts,) = (root / "kubeflow").iterdir()
    assert {path.name for path in artifacts.iterdir()} <= BEFORE_THE_GATE
    assert tree(run.config.serving_directory) == before


def in_container(run: Run, node: str, script: str) -> str:
    """What a shell script says in a step's surroundings."""
    import docker

    client = docker.from_env()
    try:
        container = client.containers.run(
            IMAGE,
            ["sh", "-c", script],
            mounts=local_runner.mounts(run.config, node),
            detach=True,
            **local_runner.container_arguments(),
        )
        container.wait()  # the log of a container that still runs may come to us in part
        said = container.logs(stderr=False).decode()
        container.remove()
        return said
    finally:
        client.close()


def test_k4_non_root_read_only_without_capabilities_and_only_the_push_writes(run: Run) -> None:
    script = (
        "id -u; grep CapEff /proc/self/status; touch /x /opt/x 2>/dev/null && echo WRITABLE;"
        f"touch {run.config.serving_directory}/.x 2>/dev/null && echo served; true"
    )
    for node, served in (("Pusher", True), ("ServedBaseline", False), ("World", False)):
        lines = in_container(run, node, script).split()
        assert lines[0] != "0"
        assert lines[2] == "0000000000000000"
        assert "WRITABLE" not in lines
        assert ("served" in lines) == served, node
    (Path(run.config.serving_directory) / ".x").unlink()
    assert "served" not in in_container(run, "Transform", script)


def test_the_image_has_no_compiler_and_a_bill_of_materials(run: Run) -> None:
    listed = "import json; print(*(c['name'] for c in json.load(open('/opt/venv/sbom.cdx.json'))"
    script = f"""command -v gcc g++ cc clang make; python -c "{listed}['components']))" """
    names = set(in_container(run, "Transform", script).split())
    assert {"tensorflow", "tfx", "apache-beam", "s3fs", "gcsfs"} <= names
    assert not any(name.startswith("/") for name in names), "a compiler's path"
