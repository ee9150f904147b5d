"""InferenceService: our patches and the guide's canary, from a real bucket to the API server.

KServe's controller is not run: what it makes of these fields is its own tests' matter.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import kube
from tests.cluster.conftest import MANIFESTS, NAMESPACE
from tests.pipeline.test_bucket import BIN, server  # noqa: F401 - a fixture
from tests.unit.test_served_models import model
from tfx_recommender.components.serving import served_models

PATH = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices/tfx-recommender"
MERGE = "application/merge-patch+json"
GUIDE = (MANIFESTS.parent / "README.md").read_text(encoding="utf-8")


def predictor(cluster: kube.Cluster) -> dict[str, Any]:
    return cluster.call("GET", PATH).body["spec"]["predictor"]


def scripts(title: str) -> list[str]:
    """The indented blocks of the guide's paragraphs under a bold title."""
    (text,) = re.findall(rf"\*\*{title}\n?.*?\n(.*?)(?=\n\*\*|\n##)", GUIDE, re.S)
    return [
        re.sub("^    ", "", block, flags=re.M)
        for block in re.findall(r"((?:^    .*\n?|^\n(?=    ))+)", text, re.M)
    ]


class Operator:
    """Follows the guide, with a bucket of models and the cluster."""

    def __init__(self, cluster: kube.Cluster, config: Path, place: str) -> None:
        self.cluster, self.config, self.place = cluster, config, place

    def push(self, source: str) -> str:
        """What the storage URI of a newly pushed version is."""
        served_models.push(source, self.place, {})
        return served_models.storage_uri(self.place)

    def do(self, script: str) -> None:
        """Runs a block of the guide as it stands."""
        environment = self.cluster.environment()
        environment["PATH"] = f"{BIN}:{environment['PATH']}"
        script = script.replace("CONFIG", str(self.config)).replace("NAMESPACE", NAMESPACE)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.fixture
def operator(
    cluster: kube.Cluster,
    server: None,  # noqa: F811
    small: Path,
    request: pytest.FixtureRequest,
) -> Operator:
    root = f"s3://models/{request.node.name.replace('_', '-')}"
    config = small / "config.yaml"
    config.write_text(config.read_text().replace(str(small / "serving"), root))
    manifest = yaml.safe_load((MANIFESTS / "inference_service.yaml").read_text())
    manifest["metadata"]["namespace"] = NAMESPACE
    found = cluster.call("GET", PATH).body
    manifest["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
    assert cluster.call("PUT", PATH, manifest).status == 200
    return Operator(cluster, config, f"{root}/small")


def test_a_serving_patch_moves_the_service_to_the_bucket_and_changes_nothing_else(
    operator: Operator, tmp_path: Path
) -> None:
    before = predictor(operator.cluster)
    uri = operator.push(model(tmp_path, "a"))
    (patch,) = re.findall(
        r"(tfx-recommender kubeflow serving-patch CONFIG \\\n.*/dev/stdin)", GUIDE
    )
    operator.do(patch)
    before["model"]["storageUri"] = uri
    assert predictor(operator.cluster) == before


def test_a_canary_by_knative(operator: Operator, tmp_path: Path) -> None:
    first, all_of_them, none_of_them = scripts("Mode Knative: `canaryTrafficPercent`.")
    operator.push(model(tmp_path, "a"))
    better = operator.push(model(tmp_path, "b"))
    operator.do(first)
    found = predictor(operator.cluster)
    assert (found["model"]["storageUri"], found["canaryTrafficPercent"]) == (better, 10)
    operator.do(all_of_them)
    found = predictor(operator.cluster)
    assert found["model"]["storageUri"] == better
    assert "canaryTrafficPercent" not in found

    operator.push(model(tmp_path, "c"))
    operator.do(first)
    operator.do(none_of_them)
    found = predictor(operator.cluster)
    back = served_models.served(operator.place)
    assert back is not None
    assert found["model"]["storageUri"] == served_models.storage_uri(operator.place)
    assert back.digest == served_models.digest(str(tmp_path / "model-b"))
    assert "canaryTrafficPercent" not in found


def test_a_canary_by_two_predictors(operator: Operator, tmp_path: Path) -> None:
    first, promoted, taken_back = scripts("Mode Standard: `canary`")
    operator.push(model(tmp_path, "a"))
    stable = predictor(operator.cluster)
    for content in "bc":  # twice, since a name may not be used by both predictors
        uri = operator.push(model(tmp_path, content))
        name = uri.rpartition("/")[2]
        operator.do(first)
        (canary,) = operator.cluster.call("GET", PATH).body["spec"]["canary"]
        assert canary["trafficPercent"] == 10
        assert canary["predictor"]["name"] == name != stable.get("name")
        assert canary["predictor"]["model"] == {
            "name": "kserve-container",  # that of the first one, which the serving runtime gives
            "modelFormat": {"name": "tensorflow"},
            "storageUri": uri,
        }
        assert predictor(operator.cluster) == stable
        operator.do(promoted)
        stable["name"], stable["model"]["storageUri"] = name, uri
        assert predictor(operator.cluster) == stable
        assert "canary" not in operator.cluster.call("GET", PATH).body["spec"]

    operator.push(model(tmp_path, "d"))
    operator.do(first)
    operator.do(taken_back)
    assert "canary" not in operator.cluster.call("GET", PATH).body["spec"]
    assert predictor(operator.cluster) == stable
    served = served_models.served(operator.place)
    assert served is not None
    assert served.digest == served_models.digest(str(tmp_path / "model-c"))


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"canaryTrafficPercnt": 10}, 'unknown field "spec.predictor.canaryTrafficPercnt"'),
        ({"canaryTrafficPercent": "10"}, "must be of type integer"),
        ({"model": {"storageUrl": "s3://a"}}, 'unknown field "spec.predictor.model.storageUrl"'),
        ({"model": {"storageUri": 1}}, "must be of type string"),
    ],
)
def test_a_patch_that_kserve_would_not_understand_is_refused(
    cluster: kube.Cluster, change: dict[str, Any], refused: str
) -> None:
    patch = {"spec": {"predictor": change}}
    answer = cluster.call("PATCH", PATH, patch, content=MERGE, dryRun="All")
    assert answer.status in (400, 422)
    assert refused in answer.message
