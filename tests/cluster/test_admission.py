"""Both admission policies, as Kubernetes' own API server carries them out."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import kube
from tests.cluster.conftest import NAMESPACE, create
from tests.contract.kubeflow import pods

POLICY = "ValidatingAdmissionPolicy 'tfx-recommender-steps' with binding 'tfx-recommender-steps'"
# Kubernetes checks a pod's own sense before it asks a policy.
CONTRADICTION = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
READ_ONLY = {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False}


def sent_as_ephemeral(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod's ephemeral containers, taken out: they come later, by a subresource."""
    return pod["spec"].pop("ephemeralContainers", [])


@pytest.mark.parametrize("name", pods.PODS)
def test_the_table_of_pods_is_judged_as_it_says(cluster: kube.Cluster, name: str) -> None:
    pod, refused, read_only = copy.deepcopy(pods.PODS[name])
    added = sent_as_ephemeral(pod)
    answer = debug(cluster, pod, added) if added else create(cluster, pod)
    if refused is None or added:
        admitted = create(cluster, pod)
        assert admitted.status == 201, admitted.message
        context = pods.main(admitted.body).get("securityContext", {})
        shut = {key: context.get(key) for key in READ_ONLY}
        assert (shut == READ_ONLY) == read_only, shut
    if refused is not None:
        assert answer.status == 422, answer.body
        assert (POLICY in answer.message and refused in answer.message) or (
            CONTRADICTION in answer.message and refused == pods.PRIVILEGED
        )


@pytest.mark.parametrize(("of_the_pod", "status"), [({}, 422), ({"runAsNonRoot": True}, 201)])
def test_a_step_that_says_nothing_of_root_needs_a_pod_that_does(
    cluster: kube.Cluster, of_the_pod: dict[str, bool], status: int
) -> None:
    pod = pods.step()
    del pods.main(pod)["securityContext"]["runAsNonRoot"]
    pod["spec"]["securityContext"] |= of_the_pod
    answer = create(cluster, pod)
    assert answer.status == status
    assert status == 201 or "a step must not run as root" in answer.message


def debug(
    cluster: kube.Cluster, pod: dict[str, Any], containers: list[dict[str, Any]]
) -> kube.Answer:
    """What `kubectl debug` asks for: containers in a pod that is there already."""
    pod["metadata"]["name"] = "debugged"
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    made = cluster.call("POST", path, pod)
    assert made.status == 201, made.message
    try:
        made.body["spec"]["ephemeralContainers"] = containers
        path += "/debugged"
        return cluster.call("PUT", f"{path}/ephemeralcontainers", made.body, dryRun="All")
    finally:
        cluster.call("DELETE", path, {"gracePeriodSeconds": 0})


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, (pod, refused, _) in pods.PODS.items()
        if refused == pods.PRIVILEGED and "ephemeralContainers" not in pod["spec"]
    ],
)
def test_it_is_the_policy_that_forbids_privileges_where_kubernetes_sees_no_contradiction(
    cluster: kube.Cluster, name: str
) -> None:
    pod = copy.deepcopy(pods.PODS[name][0])
    for one in pod["spec"]["containers"] + pod["spec"]["initContainers"]:
        context = one.get("securityContext", {})
        if context.get("privileged"):
            context.pop("allowPrivilegeEscalation", None)
    answer = create(cluster, pod)
    assert answer.status == 422
    if name == "privileged step":  # the mutating policy has written the contradiction into it
        assert CONTRADICTION in answer.message
    else:
        assert POLICY in answer.message
        assert pods.PRIVILEGED in answer.message


@pytest.mark.parametrize("node", ["World", "RatingsExampleGen", "Pusher"])
def test_a_step_is_shut_in_and_otherwise_left_as_it_was_sent(
    cluster: kube.Cluster, node: str
) -> None:
    sent = pods.step(node)
    received = create(cluster, sent).body
    expected = copy.deepcopy(sent)
    pods.main(expected)["securityContext"] |= READ_ONLY
    assert keeps(received["spec"], expected["spec"])
    for kind in ("containers", "initContainers"):
        before, after = sent["spec"][kind], received["spec"][kind]
        for one, other in zip(before, after, strict=True):
            if one["name"] != "main":
                assert other["securityContext"] == one["securityContext"]
    shut = pods.main(received)["securityContext"]
    assert shut == pods.main(sent)["securityContext"] | READ_ONLY


def keeps(received: Any, sent: Any) -> bool:
    """Whether all that was sent is there; the API server adds its defaults."""
    if isinstance(sent, dict):
        return all(keeps(received.get(key), part) for key, part in sent.items())
    if isinstance(sent, list):
        # The API server appends a volume and mounts for the service account's token.
        return all(keeps(one, part) for one, part in zip(received, sent, strict=False))
    return received == sent


def test_a_driver_is_left_as_it_was_sent(cluster: kube.Cluster) -> None:
    sent = pods.driver()
    received = create(cluster, sent).body
    assert keeps(received["spec"], sent["spec"])
    assert pods.main(received)["securityContext"] == pods.main(sent)["securityContext"]


@pytest.fixture
def no_mutation(cluster: kube.Cluster) -> Iterator[None]:
    """The mutating policy is not bound."""
    path = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings"
    name = "tfx-recommender-steps"
    binding = cluster.call("GET", f"{path}/{name}").body
    assert cluster.call("DELETE", f"{path}/{name}").status == 200

    def mutates() -> bool:
        return create(cluster, pods.step()).status == 201

    kube.until(lambda: not mutates(), "the binding is gone", cluster.folder)
    yield
    for key in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
        binding["metadata"].pop(key, None)
    assert cluster.call("POST", path, binding).status == 201
    kube.until(mutates, "the binding is back", cluster.folder)


def test_a_step_that_nothing_made_read_only_is_refused(
    cluster: kube.Cluster, no_mutation: None
) -> None:
    answer = create(cluster, pods.step())
    assert answer.status == 422
    assert f"{POLICY} denied request: a step's root file system must be read-only" in answer.message


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, ""),
        ({"hostNetwork": True}, "host namespaces (hostNetwork=true)"),
        ({"hostPID": True}, "host namespaces (hostPID=true)"),
        ({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}, "hostPath volumes"),
    ],
)
def test_the_guides_profile_of_pod_security_takes_what_runs_and_refuses_the_host(
    cluster: kube.Cluster, changes: dict[str, Any], refused: str
) -> None:
    words = ["label", "namespace", "secured", "pod-security.kubernetes.io/enforce=baseline"]
    assert cluster.kubectl(*words).returncode == 0
    for pod in (pods.step(), pods.driver()):
        pod["metadata"]["namespace"] = "secured"
        pod["spec"] |= changes
        answer = create(cluster, pod, "secured")
        assert answer.status == (403 if refused else 201), answer.message
        assert refused in answer.message
