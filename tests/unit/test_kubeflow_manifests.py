"""The manifests: Kubernetes' and KServe's schemas, and that they fit what the compiler writes."""

from __future__ import annotations

import copy
import importlib.util
import ipaddress
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click.testing
import kubernetes.client
import kubernetes_validate
import pytest
import yaml

import tfx_recommender.kubeflow
from tests.contract.kubeflow import cel, pods
from tfx_recommender.components.serving import served_models
from tfx_recommender.kubeflow import cli, compiler

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
    service = named("InferenceService", "tfx-recommender")
    assert service["apiVersion"] == "serving.kserve.io/v1beta1"
    model = service["spec"]["predictor"]["model"]
    assert model["modelFormat"] == {"name": "tensorflow"}
    assert model["storageUri"].startswith("pvc://serving-read/")


@pytest.fixture(scope="module")
def kserve_models() -> ModuleType:
    """The classes that KServe generates from its OpenAPI document.

    The package around them is not run: it would import a web server, which is not installed.
    """
    found = importlib.util.find_spec("kserve")
    assert found is not None
    sys.modules["kserve"] = importlib.util.module_from_spec(found)
    return importlib.import_module("kserve.models")


def require_fit(value: Any, kind: str, classes: ModuleType, where: str) -> None:
    """Raises AssertionError or ValueError unless a value fits a type of these classes."""
    if within := re.fullmatch(r"list\[(.*)\]|dict\(str, (.*)\)", kind):
        assert isinstance(value, list if within[1] else dict), where
        for part in value.values() if isinstance(value, dict) else value:
            require_fit(part, within[1] or within[2], classes, where)
    elif kind in ("str", "int", "bool", "object"):
        assert kind == "object" or type(value).__name__ == kind, (where, kind)
    else:
        model = getattr(classes, kind, None) or getattr(kubernetes.client, kind)
        attributes = {key: name for name, key in model.attribute_map.items()}
        assert value.keys() <= attributes.keys(), (where, value.keys() - attributes.keys())
        for key, part in value.items():
            require_fit(part, model.openapi_types[attributes[key]], classes, f"{where}.{key}")
        model(**{attributes[key]: part for key, part in value.items()})  # misses what is required


def test_the_inference_service_is_what_kserve_takes(kserve_models: ModuleType) -> None:
    service = named("InferenceService", "tfx-recommender")
    require_fit(service, "V1beta1InferenceService", kserve_models, "InferenceService")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"storageUrl": "s3://a"}, "storageUrl"),
        ({"storageUri": ["s3://a"]}, "storageUri"),
        ({"resources": {"limit": {"cpu": "1"}}}, "resources.*limit"),
        ({"modelFormat": None}, "model_format"),
    ],
)
def test_what_kserve_would_not_take_is_noticed(
    kserve_models: ModuleType, change: dict[str, Any], expected: str
) -> None:
    service = named("InferenceService", "tfx-recommender")
    model = service["spec"]["predictor"]["model"]
    model |= change
    service["spec"]["predictor"]["model"] = {k: v for k, v in model.items() if v is not None}
    with pytest.raises((AssertionError, ValueError), match=expected):
        require_fit(service, "V1beta1InferenceService", kserve_models, "InferenceService")


def test_the_serving_patch_points_the_inference_service_at_the_bucket(
    kserve_models: ModuleType, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "s3://models/small/version-17-3fa9c1d2"
    monkeypatch.setattr(served_models, "storage_uri", {"s3://models/small": uri}.__getitem__)
    command = ["kubeflow", "serving-patch", str(small / "config.yaml")]
    command += ["--set", "serving_root=s3://models"]
    printed = click.testing.CliRunner().invoke(cli.pipeline_cli.cli, command).stdout
    service = merged(named("InferenceService", "tfx-recommender"), yaml.safe_load(printed))
    require_fit(service, "V1beta1InferenceService", kserve_models, "InferenceService")
    model = named("InferenceService", "tfx-recommender")["spec"]["predictor"]["model"]
    assert service["spec"]["predictor"]["model"] == model | {"storageUri": uri}


def merged(resource: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7386) without deletions, as `kubectl patch --type merge` does it."""
    if not isinstance(patch, dict):
        return patch
    return resource | {key: merged(resource.get(key, {}), part) for key, part in patch.items()}


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


def test_the_role_and_the_guide_name_the_same_secret() -> None:
    secrets = [
        name
        for rule in named("Role", "tfx-recommender")["rules"]
        if rule["resources"] == ["secrets"]
        for name in rule["resourceNames"]
    ]
    assert secrets == ["mlpipeline-minio-artifact"]
    assert secrets[0] in (FOLDER.parent / "README.md").read_text(encoding="utf-8")


def test_the_network_policy_selects_our_steps_alone() -> None:
    spec = named("NetworkPolicy", "tfx-recommender-steps")["spec"]
    assert spec["podSelector"] == {
        "matchExpressions": [{"key": compiler.NODE_LABEL, "operator": "Exists"}]
    }
    assert compiler.NODE_LABEL in pods.step()["metadata"]["labels"]
    assert compiler.NODE_LABEL not in pods.driver()["metadata"]["labels"]
    assert compiler.NODE_LABEL not in pods.strangers()["metadata"]["labels"]


def test_no_rule_of_the_network_policy_is_open_to_all() -> None:
    spec = named("NetworkPolicy", "tfx-recommender-steps")["spec"]
    assert "ingress" not in spec
    assert {"Ingress", "Egress"} == set(spec["policyTypes"])
    opened = set()
    for rule in spec["egress"]:
        ports = {port["port"] for port in rule["ports"]}
        for place in rule["to"]:  # a rule without `to` is open to every address
            if "ipBlock" in place:
                network = ipaddress.ip_network(place["ipBlock"]["cidr"])
                assert network.is_private, network
                opened |= {("private addresses", port) for port in ports}
            else:
                assert {"namespaceSelector", "podSelector"} == place.keys()
                (namespace,) = place["namespaceSelector"]["matchLabels"].values()
                opened |= {(namespace, port) for port in ports}
    assert opened == {
        ("kube-system", 53),
        ("kubeflow", 8887), ("kubeflow", 8080), ("kubeflow", 8333), ("kubeflow", 9000),
        ("private addresses", 443), ("private addresses", 6443),
    }  # fmt: skip


def mutated(pod: dict[str, Any]) -> dict[str, Any] | None:
    """The pod as the mutating policy makes it, if it selects it."""
    policy = named("MutatingAdmissionPolicy", "tfx-recommender-steps")["spec"]
    if not all(holds(one["expression"], pod) for one in policy["matchConditions"]):
        return None
    # What this expression builds is not evaluated here.
    (mutation,) = policy["mutations"]
    expression = "".join(mutation["applyConfiguration"]["expression"].split())
    assert 'containers:[Object.spec.containers{name:"main",' in expression
    assert "readOnlyRootFilesystem:true,allowPrivilegeEscalation:false" in expression
    changed = copy.deepcopy(pod)
    context = pods.main(changed).setdefault("securityContext", {})
    context.update(readOnlyRootFilesystem=True, allowPrivilegeEscalation=False)
    return changed


def refusals(pod: dict[str, Any]) -> list[str]:
    """The validating policy's messages."""
    policy = named("ValidatingAdmissionPolicy", "tfx-recommender-steps")["spec"]
    if not all(holds(one["expression"], pod) for one in policy["matchConditions"]):
        return []
    variables = {one["name"]: holds(one["expression"], pod) for one in policy["variables"]}
    return [
        one["message"]
        for one in policy["validations"]
        if not holds(one["expression"], pod, variables)
    ]


def holds(expression: str, pod: dict[str, Any], variables: dict[str, Any] | None = None) -> bool:
    found = cel.evaluate(expression, {"object": pod, "variables": variables})
    assert isinstance(found, bool)
    return found


@pytest.mark.parametrize("name", pods.PODS)
def test_admission_lets_kfps_pods_live_and_denies_what_no_step_needs(name: str) -> None:
    pod, refused, read_only = pods.PODS[name]
    changed = mutated(pod)
    assert (changed is not None) == read_only
    found = refusals(changed or pod)
    if refused is None:
        assert found == []
    else:
        assert len(found) == 1
        assert refused in found[0]


def test_a_step_that_nothing_made_read_only_is_refused() -> None:
    (message,) = refusals(pods.step())
    assert message == "a step's root file system must be read-only"


def test_admission_does_not_depend_on_labels_that_a_pod_may_leave_out() -> None:
    for kind in ("MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"):
        policy = named(kind, "tfx-recommender-steps")["spec"]
        assert "objectSelector" not in policy["matchConstraints"]
        assert f'"{compiler.NODE_LABEL}"' in policy["matchConditions"][0]["expression"]
        assert f'"{pods.ACCOUNT}"' in policy["matchConditions"][0]["expression"]
    assert named("ServiceAccount", pods.ACCOUNT)
