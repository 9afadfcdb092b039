"""A Kubernetes of the tests' own: etcd, an API server and the controllers, on free ports of 127.0.0.1. It has no node:
pods are made, and stay Pending."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trustme
import yaml

from scripts.tools import ensure
from tests.patience import PATIENCE
from tests.programs import address_of, hold_port

Options = Mapping[str, str]

PACE = 0.2
"""Seconds between two looks at a condition."""

DEFINITIONS = (
    *("cert-manager.io_certificates", "cert-manager.io_issuers"),
    *("monitoring.coreos.com_podmonitors", "monitoring.coreos.com_prometheusrules"),
    "monitoring.coreos.com_servicemonitors",
)
"""Of the resources of others that manifests here use."""

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
"""Labels of a namespace that takes no pod that may more, and warns of what would make one."""


class Cluster:
    """A cluster that runs.

    Args:
        programs: the folder that has its command.
        folder: where that command has what it needs to know.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        path = os.pathsep.join((str(programs), os.environ["PATH"]))
        self.environment = {**os.environ, "PATH": path, "KUBECONFIG": f"{folder}/kubeconfig", "HOME": str(folder)}

    def run(self, *arguments: str, given: str = "", folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Runs its command with this as input, in this folder."""
        return subprocess.run(
            ["kubectl", *arguments],
            env=self.environment,
            input=given,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )

    def kubectl(self, *arguments: str, given: str = "", folder: Path | None = None) -> str:
        """Runs its command, which must end well and warn of nothing; returns what it wrote."""
        ran = self.run(*arguments, given=given, folder=folder)
        assert (ran.returncode, ran.stderr) == (0, ""), f"kubectl {' '.join(arguments)}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def get(self, *arguments: str, given: str = "") -> list[dict[str, Any]]:
        """Returns the objects that it has of these."""
        answer = yaml.safe_load(self.kubectl("get", *arguments, "--output", "json", given=given))
        return list(answer["items"]) if answer["kind"] == "List" else [answer]

    def is_ready(self) -> bool:
        return self.run("get", "--raw", "/readyz").returncode == 0

    @contextmanager
    def namespace(self, name: str) -> Iterator[None]:
        """Has a namespace meanwhile, where pods must be of the standard "restricted"."""
        about = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}
        self.kubectl("apply", "--filename", "-", given=yaml.safe_dump(about))
        try:
            yield
        finally:
            self.kubectl("delete", "namespace", name)


@contextmanager
def running(folder: Path, version: str) -> Iterator[Cluster]:
    """Starts a cluster that behaves as this version does, older ones too, as far as its programs know them."""
    programs = Path(ensure("cluster"))
    _make_certificates(folder)
    with ExitStack() as ending:
        data, peers, served = (address_of(ending.enter_context(hold_port())) for _ in range(3))
        kept = ending.enter_context(TemporaryDirectory(prefix="etcd-", dir=folder))
        _write_kubeconfig(folder, served)
        cluster = Cluster(programs, folder)
        for name, options, is_ready in (
            ("etcd", _of_etcd(kept, data, peers), lambda: _listens(data)),
            ("kube-apiserver", _of_the_server(folder, data, served, version), cluster.is_ready),
            ("kube-controller-manager", _of_the_controllers(folder, version), lambda: True),
        ):
            ending.enter_context(_program(programs / name, folder, options, is_ready))
        for each in DEFINITIONS:
            cluster.kubectl("create", "--filename", f"{programs}/definitions/{each}.yaml")
        cluster.kubectl("wait", "--for=condition=Established", "--all", "customresourcedefinitions")
        yield cluster


def _of_etcd(folder: str, address: str, peers: str) -> Options:
    return {
        "data-dir": folder,
        "listen-client-urls": f"http://{address}",
        "advertise-client-urls": f"http://{address}",
        "listen-peer-urls": f"http://{peers}",
        "initial-advertise-peer-urls": f"http://{peers}",
        "initial-cluster": f"default=http://{peers}",
        "unsafe-no-fsync": "true",
    }


def _of_the_server(folder: Path, data: str, address: str, version: str) -> Options:
    """With the plugins of admission that are there by default; privileged pods are for namespaces to refuse."""
    return {
        "etcd-servers": f"http://{data}",
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "endpoint-reconciler-type": "none",
        "secure-port": address.rpartition(":")[2],
        "service-cluster-ip-range": "10.0.0.0/24",
        "tls-cert-file": f"{folder}/server.pem",
        "tls-private-key-file": f"{folder}/server.key",
        "client-ca-file": f"{folder}/ca.pem",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": f"{folder}/server.key",
        "service-account-signing-key-file": f"{folder}/server.key",
        "authorization-mode": "RBAC",
        "allow-privileged": "true",
        "emulated-version": f"kube={version}",
    }


def _of_the_controllers(folder: Path, version: str) -> Options:
    return {
        "kubeconfig": f"{folder}/kubeconfig",
        "service-account-private-key-file": f"{folder}/server.key",
        "root-ca-file": f"{folder}/ca.pem",
        "leader-elect": "false",
        "horizontal-pod-autoscaler-sync-period": "1s",
        "secure-port": "0",
        "kube-api-qps": "200",
        "kube-api-burst": "400",
        "emulated-version": f"kube={version}",
    }


def _make_certificates(folder: Path) -> None:
    """Makes an authority, a certificate of the server, and one of somebody who may do everything."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, issued in (
        ("server", authority.issue_cert("127.0.0.1")),
        ("admin", authority.issue_cert("admin", common_name="admin", organization_name="system:masters")),
    ):
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")


def _write_kubeconfig(folder: Path, address: str) -> None:
    user = {"client-certificate": f"{folder}/admin.pem", "client-key": f"{folder}/admin.key"}
    served = {"server": f"https://{address}", "certificate-authority": f"{folder}/ca.pem"}
    about = {
        "apiVersion": "v1",
        "kind": "Config",
        "users": [{"name": "admin", "user": user}],
        "clusters": [{"name": "tests", "cluster": served}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
        "current-context": "tests",
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(about))


@contextmanager
def _program(path: Path, folder: Path, options: Options, is_ready: Callable[[], bool]) -> Iterator[None]:
    """Starts a program, whose log is in the folder, until it is ready; ends it."""
    written = folder / f"{path.name}.log"
    with written.open("wb") as log:
        command = [str(path), *(f"--{name}={value}" for name, value in options.items())]
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 2 * PATIENCE
        while not is_ready():
            is_lost = process.poll() is not None or time.monotonic() > until
            assert not is_lost, f"{path.name} did not become ready: {written.read_text()[-4000:]}"
            time.sleep(PACE)
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as asking:
        return asking.connect_ex((host, int(port))) == 0
