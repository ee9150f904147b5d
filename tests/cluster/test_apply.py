"""`kubectl apply -k kubeflow/manifests`: all is accepted, strictly, and does what it should."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import kube
from tests.cluster.conftest import MANIFESTS, NAMESPACE, create
from tests.contract.kubeflow import pods
from tfx_recommender.kubeflow import compiler


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((MANIFESTS / name).read_text(encoding="utf-8")))


def test_the_api_server_takes_every_resource_without_a_warning(
    first_apply: subprocess.CompletedProcess[str],
) -> None:
    assert (first_apply.returncode, first_apply.stderr) == (0, "")
    names = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]
    kinds = sorted(one["kind"].lower() for name in names for one in documents(name))
    lines = first_apply.stdout.splitlines()
    assert all(line.endswith(" created") for line in lines)
    assert sorted(line.partition("/")[0].partition(".")[0] for line in lines) == kinds


def test_applied_again_nothing_changes(cluster: kube.Cluster) -> None:
    def state() -> dict[tuple[str, str], Any]:
        found = json.loads(cluster.kubectl("get", "-k", str(MANIFESTS), "-o", "json").stdout)
        return {
            (one["kind"], one["metadata"]["name"]): (
                one["metadata"]["labels"], one["metadata"].get("generation"), one.get("spec"),
            )
            for one in found["items"]
        }  # fmt: skip

    before = state()
    assert len(before) == 15
    again = cluster.kubectl("apply", "-k", str(MANIFESTS))
    assert (again.returncode, again.stderr) == (0, "")
    assert state() == before


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("volumes.yaml", "storageClassName", "storageClass"),
        ("network_policy.yaml", "podSelector", "podSelectors"),
        ("admission_policy.yaml", "failurePolicy", "failurePolcy"),
        ("inference_service.yaml", "storageUri", "storageUrl"),
        ("admission_policy.yaml", "c.name == \"main\")", "c.name == \"main\""),
    ],
)  # fmt: skip
def test_what_is_misspelt_is_refused(
    cluster: kube.Cluster, tmp_path: Path, name: str, right: str, wrong: str
) -> None:
    folder = tmp_path / "manifests"
    shutil.copytree(MANIFESTS, folder)
    text = (folder / name).read_text(encoding="utf-8")
    assert right in text
    (folder / name).write_text(text.replace(right, wrong), encoding="utf-8")
    applied = cluster.kubectl("apply", "-k", str(folder), "--dry-run=server")
    assert applied.returncode == 1
    assert "unknown field" in applied.stderr or "invalid" in applied.stderr.lower()


def test_the_policies_expressions_have_the_types_that_pods_have(cluster: kube.Cluster) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/tfx-recommender-steps"

    def checked() -> Any:
        policy = cluster.call("GET", path).body
        status = policy.get("status", {})
        same = status.get("observedGeneration") == policy["metadata"]["generation"]
        return status if same else None

    status = kube.until(checked, "the policy's types are checked", cluster.folder)
    assert status["typeChecking"] == {}


def test_each_claim_is_bound_to_its_own_volume(cluster: kube.Cluster) -> None:
    claims = [one for one in documents("volumes.yaml") if one["kind"] == "PersistentVolumeClaim"]
    assert len(claims) == 3
    for claim in claims:
        name = claim["metadata"]["name"]
        path = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims/{name}"

        def bound(path: str = path) -> Any:
            found = cluster.call("GET", path).body
            return found if found["status"]["phase"] == "Bound" else None

        found = kube.until(bound, f"claim {name} is bound", cluster.folder)
        assert found["spec"]["volumeName"] == claim["spec"]["volumeName"]
        assert found["status"]["accessModes"] == claim["spec"]["accessModes"]
        volume = cluster.call("GET", f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}")
        assert volume.body["spec"]["claimRef"]["name"] == name


@pytest.mark.parametrize(
    ("modes", "size", "reason"),
    [
        (["ReadWriteMany"], "20Gi", "incompatible accessMode"),
        (["ReadOnlyMany"], "21Gi", "requested PV is too small"),
    ],
)
def test_a_claim_that_does_not_fit_its_volume_stays_pending(
    cluster: kube.Cluster, modes: list[str], size: str, reason: str
) -> None:
    name = f"unfit-{size.lower()}"
    volume, claim = (
        next(one for one in documents("volumes.yaml") if one["kind"] == kind and end in repr(one))
        for kind, end in (("PersistentVolume", "-read'"), ("PersistentVolumeClaim", "-read'"))
    )
    volume["metadata"]["name"] = claim["spec"]["volumeName"] = claim["metadata"]["name"] = name
    claim["spec"] |= {"accessModes": modes, "resources": {"requests": {"storage": size}}}
    assert cluster.call("POST", "/api/v1/persistentvolumes", volume).status == 201
    path = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
    assert cluster.call("POST", path, claim).status == 201

    def told() -> str:
        events = cluster.call(
            "GET", f"/api/v1/namespaces/{NAMESPACE}/events",
            fieldSelector=f"involvedObject.name={name}",
        )  # fmt: skip
        return " ".join(one["message"] for one in events.body["items"])

    assert reason in kube.until(told, "an event tells of the claim", cluster.folder)
    assert cluster.call("GET", f"{path}/{name}").body["status"]["phase"] == "Pending"


def test_the_network_policy_selects_our_steps_and_no_other_pod(cluster: kube.Cluster) -> None:
    ours = {f"step-{node.lower()}": pods.step(node) for node in ("World", "Pusher")}
    others = {"driver": pods.driver(), "strangers": pods.strangers()}
    plain = {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": pods.step()["spec"]}
    plain["spec"].pop("serviceAccountName")
    for app in ("ml-pipeline", "seaweedfs"):
        labels = {"labels": {"app": app, "app.kubernetes.io/name": "tfx-recommender"}}
        others[app] = plain | {"metadata": labels}
    made = ours | others
    for name, pod in made.items():
        pod["metadata"] = pod["metadata"] | {"name": name}
        answer = create(cluster, pod, keep=True)
        assert answer.status == 201, answer.message
    policy = cluster.call(
        "GET",
        f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies/tfx-recommender-steps",
    ).body
    assert selected(cluster, policy["spec"]["podSelector"]) & made.keys() == ours.keys()
    # The rules' own selectors find the services that they mean, and no step.
    found = set()
    for rule in policy["spec"]["egress"]:
        for place in rule["to"]:
            if "podSelector" in place:
                found |= selected(cluster, place["podSelector"])
    assert found == {"ml-pipeline", "seaweedfs"}


def selected(cluster: kube.Cluster, selector: dict[str, Any]) -> set[str]:
    """The names of the pods that a LabelSelector selects: the API server's own matching."""
    terms = [f"{key}={value}" for key, value in selector.get("matchLabels", {}).items()]
    for one in selector.get("matchExpressions", []):
        values = ",".join(one.get("values", []))
        terms.append({"Exists": one["key"], "In": f"{one['key']} in ({values})"}[one["operator"]])
    found = cluster.call(
        "GET", f"/api/v1/namespaces/{NAMESPACE}/pods", labelSelector=",".join(terms)
    )
    return {pod["metadata"]["name"] for pod in found.body["items"]}


def test_every_compiled_node_is_selected_by_its_label(cluster: kube.Cluster) -> None:
    _, platform = yaml.safe_load_all((pods.RECORDED.parent / "pipeline.yaml").read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert len(executors) > 10
    for executor in executors.values():
        pod = pods.step()
        pod["metadata"]["labels"] |= executor["podMetadata"]["labels"]
        assert create(cluster, pod).message == ""
        assert compiler.NODE_LABEL in executor["podMetadata"]["labels"]
