"""The manifests: Kubernetes' own schemas, and that they fit what the compiler writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import tfx_recommender.kubeflow

FOLDER = Path(tfx_recommender.kubeflow.__file__).with_name("manifests")
KUBERNETES = "1.37"


def resources() -> list[dict[str, Any]]:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert sorted([*listed, "kustomization.yaml"]) == sorted(path.name for path in FOLDER.iterdir())
    return [r for name in listed for r in yaml.safe_load_all((FOLDER / name).read_text())]


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = (r for r in resources() if r["kind"] == kind and r["metadata"]["name"] == name)
    return found


@pytest.mark.parametrize(
    "resource",
    [r for r in resources() if "kserve" not in r["apiVersion"]],
    ids=lambda r: f"{r['kind']} {r['metadata']['name']}",
)
def test_it_is_what_kubernetes_takes(resource: dict[str, Any]) -> None:
    kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_a_misspelt_key_would_be_noticed() -> None:
    broken = named("PersistentVolumeClaim", "serving")
    broken["spec"]["accessMode"] = broken["spec"].pop("accessModes")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_only_one_volume_can_be_written_and_claims_are_bound_to_theirs() -> None:
    writable = {
        r["metadata"]["name"]
        for r in resources()
        if r["kind"] == "PersistentVolume" and not r["spec"]["nfs"].get("readOnly")
    }
    assert writable == {"tfx-recommender-serving"}
    for claim in ("serving", "serving-read", "ratings"):
        spec = named("PersistentVolumeClaim", claim)["spec"]
        volume = named("PersistentVolume", spec["volumeName"])
        assert volume["spec"]["accessModes"] == spec["accessModes"]


def test_the_server_reads_by_the_claim_that_cannot_write() -> None:
    """KServe's schema is in no package: its one resource is checked by hand, and only here."""
    service = named("InferenceService", "tfx-recommender")
    assert service["apiVersion"] == "serving.kserve.io/v1beta1"
    model = service["spec"]["predictor"]["model"]
    assert model["modelFormat"] == {"name": "tensorflow"}
    assert model["storageUri"].startswith("pvc://serving-read/")


def test_the_role_grants_no_wildcard_and_nothing_on_volumes_or_workflows() -> None:
    granted = {
        (resource, verb)
        for rule in named("Role", "tfx-recommender")["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == {
        ("workflowtaskresults", "create"), ("workflowtaskresults", "patch"),
        ("configmaps", "get"), ("secrets", "get"), ("pods", "get"),
    }  # fmt: skip


def test_policies_select_the_label_that_kfp_puts_on_a_runs_pods() -> None:
    label = {"pipelines.kubeflow.org/v2_component": "true"}
    network = named("NetworkPolicy", "tfx-recommender-steps")["spec"]
    assert network["podSelector"] == {"matchLabels": label}
    assert network["ingress"] == []
    for kind in ("MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"):
        policy = named(kind, "tfx-recommender-steps")["spec"]
        assert policy["matchConstraints"]["objectSelector"] == {"matchLabels": label}
        assert '"tfx-recommender"' in policy["matchConditions"][0]["expression"]
