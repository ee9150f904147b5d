"""What a run's service account can do and cannot, by the API server's own authorizer."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.cluster import kube
from tests.cluster.conftest import NAMESPACE
from tests.contract.kubeflow import pods

SECRET, SETTINGS = "mlpipeline-minio-artifact", "kfp-launcher"
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")

NAMES = ("", "any")  # none, which means all of them; and one

# verb, group, resource (with subresource), name
CAN = {
    *(("get", "", "pods", name) for name in NAMES),
    *((verb, "argoproj.io", "workflowtaskresults", name)
      for verb in ("create", "patch") for name in NAMES),
    ("get", "", "configmaps", SETTINGS),
    ("get", "", "secrets", SECRET),
}  # fmt: skip
RBAC = "rbac.authorization.k8s.io"
ASKED = {
    *((verb, group, resource, name)
      for (group, resource), verb, name in itertools.product(
          [("", "pods"), ("", "secrets"), ("", "configmaps"), ("", "serviceaccounts"),
           ("", "persistentvolumeclaims"), ("", "events"), ("", "services"),
           ("argoproj.io", "workflows"), ("argoproj.io", "cronworkflows"),
           ("argoproj.io", "workflowtaskresults"), ("batch", "jobs"), ("apps", "deployments"),
           (RBAC, "roles"), (RBAC, "rolebindings"), ("serving.kserve.io", "inferenceservices"),
           ("networking.k8s.io", "networkpolicies")],
          VERBS, NAMES)),
    *((verb, "", "secrets", name) for verb in VERBS for name in (SECRET, "another")),
    *((verb, "", "configmaps", name) for verb in VERBS for name in (SETTINGS, "another")),
    ("get", "", "pods/log", "any"), ("create", "", "pods/exec", "any"),
    ("create", "", "pods/attach", "any"), ("create", "", "pods/portforward", "any"),
    ("update", "", "pods/ephemeralcontainers", "any"), ("create", "", "pods/eviction", "any"),
    ("create", "", "serviceaccounts/token", pods.ACCOUNT),
    ("impersonate", "", "serviceaccounts", "any"),
    ("bind", RBAC, "roles", ""), ("escalate", RBAC, "roles", ""),
}  # fmt: skip
WHOLE_CLUSTER = [
    ("get", "", "nodes"), ("list", "", "namespaces"), ("create", "", "persistentvolumes"),
    ("get", "", "persistentvolumes"), ("create", RBAC, "clusterroles"),
    ("delete", "admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("create", "admissionregistration.k8s.io", "mutatingadmissionpolicies"),
]  # fmt: skip


def allowed(cluster: kube.Cluster, **attributes: str) -> bool:
    resource, _, subresource = attributes.pop("resource").partition("/")
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{NAMESPACE}:{pods.ACCOUNT}",
            "groups": [
                "system:serviceaccounts",
                f"system:serviceaccounts:{NAMESPACE}",
                "system:authenticated",
            ],
            "resourceAttributes": {
                "resource": resource,
                "subresource": subresource,
                **attributes,
            },
        },
    }
    answer = cluster.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer.status == 201, answer.message
    return answer.body["status"]["allowed"]


def test_the_role_can_what_runs_need_and_nothing_else(cluster: kube.Cluster) -> None:
    keys = ("verb", "group", "resource", "name")
    assert CAN <= ASKED
    can = {
        asked
        for asked in ASKED
        if allowed(cluster, namespace=NAMESPACE, **dict(zip(keys, asked, strict=True)))
    }
    assert can == CAN


def test_it_can_nothing_in_another_namespace_or_in_the_whole_cluster(
    cluster: kube.Cluster,
) -> None:
    for verb, group, resource, name in CAN:
        given = {"verb": verb, "group": group, "resource": resource, "name": name}
        assert not allowed(cluster, namespace="secured", **given), given
    for verb, group, resource in WHOLE_CLUSTER:
        assert not allowed(cluster, verb=verb, group=group, resource=resource), (verb, resource)


@pytest.fixture(scope="module")
def token(cluster: kube.Cluster) -> str:
    """A token as the kubelet would mount it into a run's pods; and what there is to read."""
    for kind, names in (("secrets", (SECRET, "another")), ("configmaps", (SETTINGS, "another"))):
        for name in names:
            body: dict[str, Any] = {"metadata": {"name": name}}
            path = f"/api/v1/namespaces/{NAMESPACE}/{kind}"
            assert cluster.call("POST", path, body).status == 201
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{pods.ACCOUNT}/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = cluster.call("POST", path, body)
    assert answer.status == 201, answer.message
    return answer.body["status"]["token"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}", 200),
        (f"/api/v1/namespaces/{NAMESPACE}/secrets/another", 403),
        (f"/api/v1/namespaces/{NAMESPACE}/secrets", 403),
        (f"/api/v1/namespaces/{NAMESPACE}/configmaps/{SETTINGS}", 200),
        (f"/api/v1/namespaces/{NAMESPACE}/configmaps/another", 403),
        ("/api/v1/namespaces/kube-system/configmaps", 403),
        ("/api/v1/nodes", 403),
    ],
)
def test_a_pod_of_a_run_reads_its_key_and_its_settings_alone(
    cluster: kube.Cluster, token: str, path: str, status: int
) -> None:
    answer = cluster.call("GET", path, token=token)
    assert answer.status == status, answer.message
    assert status == 200 or f"{NAMESPACE}:{pods.ACCOUNT}" in answer.message


def test_a_provider_with_another_secret_works_once_the_role_lists_it(
    cluster: kube.Cluster, token: str
) -> None:
    """What the guide tells to do after `403 Forbidden`."""
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles/{pods.ACCOUNT}"
    role = cluster.call("GET", path).body
    (place,) = (n for n, rule in enumerate(role["rules"]) if rule["resources"] == ["secrets"])
    where = {"path": f"/rules/{place}/resourceNames/-", "value": "another"}
    content = "application/json-patch+json"
    assert cluster.call("PATCH", path, [{"op": "add", **where}], content=content).status == 200
    secret = f"/api/v1/namespaces/{NAMESPACE}/secrets/another"
    try:
        kube.until(
            lambda: cluster.call("GET", secret, token=token).status == 200,
            "the role lists both", cluster.folder,
        )  # fmt: skip
    finally:
        where["path"] = where["path"].replace("/-", "/1")
        removed = [{"op": "remove", "path": where["path"]}]
        assert cluster.call("PATCH", path, removed, content=content).status == 200
    kube.until(
        lambda: cluster.call("GET", secret, token=token).status == 403,
        "the role lists one", cluster.folder,
    )  # fmt: skip
