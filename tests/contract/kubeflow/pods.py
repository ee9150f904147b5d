"""Pods as KFP and Argo make them, and as nobody should: what our admission policies are to say.

The steps' are put together from the recorded patches and from what KFP 7b70c7b compiles and Argo
4.0.8 adds around them (in the parts that the policies look at).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).with_name("recorded")
ACCOUNT, NODE = "tfx-recommender", "tfx-recommender/node"
SHUT_IN = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def step(node: str = "World") -> dict[str, Any]:
    """A step's pod as Argo sends it."""
    patch = json.loads((RECORDED / f"{node}.pod-spec-patch.json").read_text(encoding="utf-8"))
    (main,) = patch["containers"]
    argo = {"image": "argoexec", "securityContext": SHUT_IN}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"small-{node.lower()}",
            "namespace": "kubeflow",
            "labels": {
                "pipelines.kubeflow.org/v2_component": "true",
                "workflows.argoproj.io/workflow": "small",
                NODE: node,
            },
        },
        "spec": copy.deepcopy(
            {
                "serviceAccountName": ACCOUNT,
                "restartPolicy": "Never",
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                "volumes": patch["volumes"],
                "initContainers": [
                    {"name": "init", **argo},
                    {"name": "kfp-launcher", "image": "launcher", "securityContext": SHUT_IN},
                ],
                "containers": [
                    {"name": "wait", **argo},
                    {key: main[key] for key in ("name", "image", "resources", "securityContext")},
                ],
            }
        ),
    }


def driver() -> dict[str, Any]:
    """A driver's pod: our account, KFP's label, a container `main`; none of our labels."""
    pod = step()
    del pod["metadata"]["labels"][NODE]
    pod["spec"]["initContainers"].pop()
    pod["spec"]["containers"][1] = {"name": "main", "image": "driver", "securityContext": SHUT_IN}
    return pod


def strangers() -> dict[str, Any]:
    """A step of somebody else's pipeline, who may do as they like."""
    pod = step()
    del pod["metadata"]["labels"][NODE]
    pod["spec"]["serviceAccountName"] = "pipeline-runner"
    main(pod)["securityContext"] = {"privileged": True}
    return pod


def main(pod: dict[str, Any]) -> dict[str, Any]:
    """Its container `main`."""
    (found,) = (c for c in pod["spec"]["containers"] if c["name"] == "main")
    return found


def secured(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """Changes the security context of `main`."""

    def change(pod: dict[str, Any]) -> None:
        main(pod)["securityContext"] = copy.deepcopy(main(pod).get("securityContext", {})) | changes

    return change


def beside(where: str, **context: Any) -> Callable[[dict[str, Any]], None]:
    """Adds a container."""

    def change(pod: dict[str, Any]) -> None:
        added = {"name": "third", "image": "third", "securityContext": context}
        pod["spec"].setdefault(where, []).append(added)

    return change


def unlabelled(pod: dict[str, Any]) -> None:
    """Takes all labels away."""
    pod["metadata"]["labels"] = {}


def of_account(name: str) -> Callable[[dict[str, Any]], None]:
    """Changes the service account."""

    def change(pod: dict[str, Any]) -> None:
        pod["spec"]["serviceAccountName"] = name

    return change


def without_main(pod: dict[str, Any]) -> None:
    """Gives `main` another name."""
    main(pod)["name"] = "other"


def case(pod: dict[str, Any], *changes: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """A pod, changed."""
    for change in changes:
        change(pod)
    return pod


ADDS, PRIVILEGED = "add capabilities", "privileged, or gain privileges"
ALL_AND_MORE = {"drop": ["ALL"], "add": ["SYS_ADMIN"]}

# What it is -> the pod, a part of the message that refuses it (None: it is admitted), and whether
# its root is made read-only. As sent, before the mutation.
PODS: dict[str, tuple[dict[str, Any], str | None, bool]] = {
    "step": (step(), None, True),
    "step that mounts nothing else": (step("RatingsExampleGen"), None, True),
    "step that pushes": (step("Pusher"), None, True),
    "driver": (driver(), None, False),
    "driver without a security context": (
        case(driver(), lambda pod: main(pod).pop("securityContext")), None, False,
    ),
    "another pipeline's step": (strangers(), None, False),
    "step without labels": (case(step(), unlabelled), None, True),
    "step of another account": (case(step(), of_account("pipeline-runner")), None, True),
    "step of another account, with capabilities": (
        case(step(), of_account("pipeline-runner"), secured(capabilities=ALL_AND_MORE)), ADDS, True,
    ),
    "step with a sidecar": (case(step(), beside("containers")), None, True),
    "step with a writable root": (case(step(), secured(readOnlyRootFilesystem=False)), None, True),
    "step that drops and adds": (case(step(), secured(capabilities=ALL_AND_MORE)), ADDS, True),
    "step that adds in small letters": (
        case(step(), secured(capabilities={"drop": ["ALL"], "add": ["net_raw"]})), ADDS, True,
    ),
    "step that drops nothing": (
        case(step(), secured(capabilities={})), "must drop all capabilities", True,
    ),
    "step that drops all in small letters": (
        case(step(), secured(capabilities={"drop": ["all"]})), "must drop all capabilities", True,
    ),
    "step that may be root (KFP before 2.16)": (
        case(step(), secured(runAsNonRoot=False)), "must not run as root", True,
    ),
    "privileged step": (case(step(), secured(privileged=True)), PRIVILEGED, True),
    "step with a privileged third container": (
        case(step(), beside("containers", privileged=True)), PRIVILEGED, True,
    ),
    "step with a third container that may gain privileges": (
        case(step(), beside("containers", allowPrivilegeEscalation=True)), PRIVILEGED, True,
    ),
    "step with a third container that adds": (
        case(step(), beside("containers", capabilities={"add": ["SYS_PTRACE"]})), ADDS, True,
    ),
    "step with a privileged init container": (
        case(step(), beside("initContainers", privileged=True)), PRIVILEGED, True,
    ),
    "step with an init container that adds": (
        case(step(), beside("initContainers", capabilities={"add": ["NET_ADMIN"]})), ADDS, True,
    ),
    "debugging a step with privileges": (
        case(step(), secured(readOnlyRootFilesystem=True),
             beside("ephemeralContainers", privileged=True)), PRIVILEGED, True,
    ),
    "debugging a step with capabilities": (
        case(step(), secured(readOnlyRootFilesystem=True),
             beside("ephemeralContainers", capabilities={"add": ["SYS_PTRACE"]})), ADDS, True,
    ),
    "step without main": (case(step(), without_main), "done by its container main", False),
    "unlabelled step without main": (
        case(step(), unlabelled, without_main), "done by its container main", False,
    ),
    "privileged driver": (case(driver(), secured(privileged=True)), PRIVILEGED, False),
    "driver that adds": (case(driver(), secured(capabilities=ALL_AND_MORE)), ADDS, False),
    "anything of our account that is privileged": (
        case(driver(), unlabelled, without_main, beside("containers", privileged=True)),
        PRIVILEGED, False,
    ),
}  # fmt: skip
