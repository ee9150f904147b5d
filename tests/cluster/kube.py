"""A control plane without nodes, on loopback: etcd, kube-apiserver, kube-controller-manager."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

# What binds claims, makes namespaces' accounts, and checks the types in policies' expressions.
CONTROLLERS = (
    "persistentvolume-binder-controller",
    "serviceaccount-controller",
    "validatingadmissionpolicy-status-controller",
)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the API server said."""

    status: int
    body: dict[str, Any]
    warnings: tuple[str, ...]

    @property
    def message(self) -> str:
        """Why not; empty if it was done."""
        return "" if self.status < 300 else self.body["message"]


class Cluster:
    """Talks to the API server as its administrator, or with another account's token."""

    def __init__(self, binaries: Path, folder: Path, url: str, token: str) -> None:
        self.binaries, self.folder, self.url, self.token = binaries, folder, url, token
        self.authority = folder / "certificates" / "apiserver.crt"

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: str = "application/json",
        token: str | None = None,
        **query: str,
    ) -> Answer:
        """One request, its fields checked strictly."""
        if method != "GET":
            query |= {"fieldValidation": "Strict"}
        request = urllib.request.Request(
            f"{self.url}{path}?{urllib.parse.urlencode(query)}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token or self.token}", "Content-Type": content},
        )
        context = ssl.create_default_context(cafile=str(self.authority))
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as answer:
                return _answer(answer.status, answer.read(), answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.read(), error.headers)

    def kubectl(self, *words: str, **given: Any) -> subprocess.CompletedProcess[str]:
        """Runs kubectl, which may fail."""
        command = [str(self.binaries / "kubectl"), *words]
        return subprocess.run(
            command, env=self.environment(), capture_output=True, text=True, check=False, **given
        )

    def environment(self) -> dict[str, str]:
        """Where kubectl finds this cluster, and where a shell finds kubectl."""
        return os.environ | {
            "HOME": str(self.folder),
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            "PATH": f"{self.binaries}:{os.environ['PATH']}",
        }


def _answer(status: int, body: bytes, headers: Any) -> Answer:
    try:
        content = json.loads(body)
    except ValueError:
        content = {"message": body.decode(errors="replace")}
    return Answer(status, content, tuple(headers.get_all("Warning", ())))


@contextlib.contextmanager
def running(binaries: Path, folder: Path) -> Iterator[Cluster]:
    """Starts everything in a folder of its own, and stops it at the end."""
    clients, peers, port = free_ports(3)
    cluster = Cluster(binaries, folder, f"https://127.0.0.1:{port}", secrets.token_hex(16))
    (folder / "tokens.csv").write_text(f"{cluster.token},tests,tests,system:masters\n")
    (folder / "tokens.csv").chmod(0o600)
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    (folder / "accounts.key").write_bytes(key)
    (folder / "accounts.key").chmod(0o600)
    with contextlib.ExitStack() as stack:

        def start(name: str, *options: str) -> subprocess.Popen[bytes]:
            return stack.enter_context(_process(binaries / name, options, folder))

        start(
            "etcd",
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{clients}",
            f"--advertise-client-urls=http://127.0.0.1:{clients}",
            f"--listen-peer-urls=http://127.0.0.1:{peers}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
            f"--initial-cluster=default=http://127.0.0.1:{peers}",
            "--unsafe-no-fsync",
            "--log-level=error",
        )
        server = start(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{clients}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",  # it would refuse an address on loopback
            f"--secure-port={port}",
            f"--cert-dir={folder / 'certificates'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",  # so that nothing but a policy forbids it
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'accounts.key'}",
            f"--service-account-signing-key-file={folder / 'accounts.key'}",
            "--service-cluster-ip-range=10.96.0.0/16",
        )
        until(lambda: _ready(cluster, server), "the API server is ready", folder)
        _write_kubeconfig(cluster)
        start(
            "kube-controller-manager",
            f"--kubeconfig={folder / 'kubeconfig'}",
            f"--controllers={','.join(CONTROLLERS)}",
            "--leader-elect=false",
            "--secure-port=0",
        )
        yield cluster


@contextlib.contextmanager
def _process(
    program: Path, options: tuple[str, ...], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with open(folder / f"{program.name}.log", "wb") as log:
        process = subprocess.Popen(
            [program, *options],
            cwd=folder,
            stdout=log,
            stderr=log,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - there are no other threads yet
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _die_with_parent() -> None:
    """A test run that is killed leaves no servers behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _ready(cluster: Cluster, server: subprocess.Popen[bytes]) -> bool:
    if server.poll() is not None:
        raise AssertionError((cluster.folder / "kube-apiserver.log").read_text()[-3000:])
    if not cluster.authority.exists():
        return False
    try:
        return cluster.call("GET", "/readyz").status == 200
    except OSError:
        return False


def _write_kubeconfig(cluster: Cluster) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "tests",
                "cluster": {
                    "server": cluster.url,
                    "certificate-authority": str(cluster.authority),
                },
            }
        ],
        "users": [{"name": "tests", "user": {"token": cluster.token}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        "current-context": "tests",
    }
    path = cluster.folder / "kubeconfig"
    path.write_text(json.dumps(config))
    path.chmod(0o600)


def until(holds: Callable[[], Any], what: str, folder: Path, seconds: float = 120) -> Any:
    """Waits until something is true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what} (logs: {folder}/*.log)")
        time.sleep(0.1)
    return found


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens at now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
