"""One cluster for all tests of this folder; `make test-cluster` runs them, `make test` does not.

CLUSTER_BINARIES names the folder of etcd, kube-apiserver, kube-controller-manager and kubectl.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import tfx_recommender.kubeflow
from tests.cluster import kserve_crd, kube
from tests.contract.kubeflow import pods

MANIFESTS = Path(tfx_recommender.kubeflow.__file__).with_name("manifests")
NAMESPACE = "kubeflow"

if "CLUSTER_BINARIES" not in os.environ:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kube.Cluster]:
    """A cluster with the namespaces, and with KServe's definition, as an operator has it."""
    binaries = Path(os.environ["CLUSTER_BINARIES"])
    with kube.running(binaries, tmp_path_factory.mktemp("cluster")) as cluster:
        for name in (NAMESPACE, "secured"):
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            assert cluster.call("POST", "/api/v1/namespaces", namespace).status == 201
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        made = cluster.call("POST", definitions, kserve_crd.definition())
        assert made.status == 201, made.message
        kube.until(
            lambda: "InferenceService" in cluster.kubectl(
                "api-resources", "--api-group=serving.kserve.io"
            ).stdout,
            "InferenceServices are served", cluster.folder,
        )  # fmt: skip
        yield cluster


@pytest.fixture(scope="session")
def first_apply(bare: kube.Cluster) -> subprocess.CompletedProcess[str]:
    """The guide's one command, for the first time."""
    return bare.kubectl("apply", "-k", str(MANIFESTS))


@pytest.fixture(scope="session")
def cluster(bare: kube.Cluster, first_apply: subprocess.CompletedProcess[str]) -> kube.Cluster:
    """A cluster with our manifests applied, and its policies at work."""
    assert first_apply.returncode == 0, first_apply.stderr
    for namespace, account in (
        (NAMESPACE, "pipeline-runner"),
        ("secured", pods.ACCOUNT),
    ):
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        assert bare.call("POST", path, body).status == 201
    refused, _, _ = pods.PODS["driver that adds"]
    kube.until(
        lambda: create(bare, refused).status == 422
        and "must be read-only" not in create(bare, pods.step()).message,
        "both policies are at work", bare.folder, 60,
    )  # fmt: skip
    return bare


def create(
    cluster: kube.Cluster, pod: object, namespace: str = NAMESPACE, *, keep: bool = False
) -> kube.Answer:
    """Asks for a pod; unless it is to be kept, it is judged and forgotten."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    return cluster.call("POST", path, pod, **({} if keep else {"dryRun": "All"}))
