"""Manifests as kustomize renders them, for kubectl too, and what owners of clusters ask of them.

The rules are those that kube-linter runs by default, and of Kubernetes' own "restricted" pod security standard, written
here since that program can be had from no package registry.
"""

from __future__ import annotations

import subprocess
from base64 import b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import yaml

from trunklined.bus.config import Settings as BusSettings
from trunklined.rpc.config import ServerSettings
from trunklined.sidecar.config import Settings as SidecarSettings
from trunklined.state.config import Settings as StateSettings

SETTINGS: Final[dict[str, type[ServerSettings]]] = {
    "bus": BusSettings,
    "state": StateSettings,
    "sidecar": SidecarSettings,
}

ROOT: Final = Path(__file__).parents[2]
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"

Object = dict[str, Any]

VERSIONS: Final = ("1.37", "1.35")
"""The newest and the oldest that the Kubernetes project supports."""
OTHERS: Final = {"monitoring.coreos.com/v1", "cert-manager.io/v1"}
"""Whose schemas are not Kubernetes' own."""

WORKLOADS: Final = ("Deployment", "StatefulSet")

DEFAULT_GRACE_SECONDS: Final = 30
"""Of Kubernetes, where a pod says nothing."""
END_SECONDS: Final = 5.0
"""What a program may take to close its files and connections when it has drained, before it is killed."""


def render(kustomize: str, folder: Path) -> list[Object]:
    """What `kubectl apply -k FOLDER` would apply."""
    ran = subprocess.run([kustomize, "build", str(folder)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "deprecated" not in ran.stderr, ran.stderr
    return [each for each in yaml.safe_load_all(ran.stdout) if each]


def named(objects: list[Object], kind: str, name: str = "") -> Object:
    """The one object of that kind, whose name begins so."""
    (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"].startswith(name)]
    return found


def containers(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def pods(objects: list[Object]) -> Iterator[tuple[Object, Object]]:
    """Each workload with its pod's spec."""
    for each in objects:
        if each["kind"] in WORKLOADS:
            yield each, each["spec"]["template"]["spec"]


def environment(objects: list[Object], pod: Object, container: Object) -> dict[str, str]:
    """The variables that a container has, by those of its ConfigMaps and Secrets that are there, and its own."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            if key in source:
                is_secret = kind == "Secret"
                for held in objects:
                    if (held["kind"], held["metadata"]["name"]) == (kind, source[key]["name"]):
                        found |= {k: b64decode(v).decode() if is_secret else v for k, v in held.get("data", {}).items()}
    return found | {each["name"]: str(each.get("value", "")) for each in container.get("env", ())}


def invalid(objects: list[Object], version: str) -> list[str]:
    """What a schema of that version does not take, unknown fields too."""
    found = []
    for each in objects:
        if each["apiVersion"] in OTHERS:
            continue
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{each['kind']}: {'.'.join(map(str, error.path))}: {error.message}")
    return found


def complaints(objects: list[Object]) -> list[str]:
    """What an owner of a cluster would send back, in words."""
    return [*_of_pods(objects), *_of_programs(objects), *_of_selectors(objects), *_of_names(objects)]


def stop_seconds(program: str, variables: Mapping[str, str]) -> float:
    """How long a program with these variables may take from SIGTERM to its end."""
    fields = SETTINGS[program].model_fields
    said = [
        variables.get(f"TRUNKLINE_{program}_{name}".upper(), fields[name].default)
        for name in ("unready_seconds", "drain_seconds")
    ]
    return sum(map(float, said), END_SECONDS)


def _of_programs(objects: list[Object]) -> Iterator[str]:
    """What would end a program of ours without a word, or in the middle of something."""
    for workload, pod in pods(objects):
        for container in containers(pod):
            if container.get("args", [""])[0] != "serve":
                continue
            name = f"{workload['metadata']['name']}/{container['name']}"
            needed = stop_seconds(container["args"][1], environment(objects, pod, container))
            if pod.get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS) < needed:
                yield f"{name}: it is killed while it drains, which may take {needed:g} s"
            if container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
                yield f"{name}: why it did not start is in its log alone"


def _of_pods(objects: list[Object]) -> Iterator[str]:
    for workload, pod in pods(objects):
        name = workload["metadata"]["name"]
        whole = pod.get("securityContext", {})
        for host in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(host):
                yield f"{name}: {host}"
        if any("hostPath" in volume for volume in pod.get("volumes", ())):
            yield f"{name}: hostPath"
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{name}: the token of its service account is mounted"
        if workload["spec"].get("replicas", 1) > 1 and not pod.get("topologySpreadConstraints"):
            yield f"{name}: its replicas may all be on one node"
        for container in containers(pod):
            yield from (f"{name}/{container['name']}: {fault}" for fault in _of_container(container, whole))


def _of_container(container: Object, pod: Mapping[str, Any]) -> Iterator[str]:
    context = {**pod, **container.get("securityContext", {})}
    resources = container.get("resources", {})
    _, _, tag = container["image"].rpartition(":")
    checks = {
        "may be root": context.get("runAsNonRoot") is True and context.get("runAsUser", 1) != 0,
        "its root file system can be written to": context.get("readOnlyRootFilesystem") is True,
        "may gain privileges": context.get("allowPrivilegeEscalation") is False and not context.get("privileged"),
        "keeps capabilities": context.get("capabilities") == {"drop": ["ALL"]},
        "no seccomp profile": context.get("seccompProfile") == {"type": "RuntimeDefault"},
        "no limit of memory": "memory" in resources.get("limits", {}),
        "no requests": {"cpu", "memory"} <= set(resources.get("requests", {})),
        "its image has no version": ":" in container["image"] and tag != "latest",
    }
    yield from (fault for fault, held in checks.items() if not held)
    ports = {each["containerPort"] for each in container.get("ports", ())}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if ports and container.get(probe, {}).get("grpc", {}).get("port") not in ports:
            yield f"its {probe} asks none of its ports"
    for variable in container.get("env", ()):
        if any(word in variable["name"] for word in ("PASSWORD", "TOKEN", "SECRET")) and "value" in variable:
            yield f"a secret in {variable['name']}"


def _of_selectors(objects: list[Object]) -> Iterator[str]:
    labels = [w["spec"]["template"]["metadata"]["labels"] for w, _ in pods(objects)]
    selectors = {
        "Service": lambda spec: spec["selector"],
        "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
        "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        "Deployment": lambda spec: spec["selector"]["matchLabels"],
        "StatefulSet": lambda spec: spec["selector"]["matchLabels"],
    }
    for each in objects:
        if each["kind"] in selectors:
            wanted = selectors[each["kind"]](each["spec"])
            if not any(wanted.items() <= had.items() for had in labels):
                yield f"{each['kind']} {each['metadata']['name']} selects nothing"


def _of_names(objects: list[Object]) -> Iterator[str]:
    """What names something that is not there: a config, a service account, a scaled workload, a service of a set."""
    there = {(each["kind"], each["metadata"]["name"]) for each in objects}
    for workload, pod in pods(objects):
        name = workload["metadata"]["name"]
        wanted = [("Service", workload["spec"]["serviceName"])] if "serviceName" in workload["spec"] else []
        if "serviceAccountName" in pod:
            wanted.append(("ServiceAccount", pod["serviceAccountName"]))
        for container in containers(pod):
            for source in container.get("envFrom", ()):
                kind = "ConfigMap" if "configMapRef" in source else "Secret"
                wanted.append((kind, next(iter(source.values()))["name"]))
            mounted = {each["name"] for each in container.get("volumeMounts", ())}
            claims = {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", ())}
            for volume in mounted - {each["name"] for each in pod.get("volumes", ())} - claims:
                yield f"{name}/{container['name']}: mounts {volume}, which there is not"
        yield from (f"{name}: there is no {kind} {wants}" for kind, wants in wanted if (kind, wants) not in there)
    for each in objects:
        if "namespace" not in each["metadata"]:
            yield f"{each['kind']} {each['metadata']['name']}: goes to whatever namespace is at hand"
        if each["kind"] == "HorizontalPodAutoscaler":
            target = each["spec"]["scaleTargetRef"]
            if (target["kind"], target["name"]) not in there:
                yield f"{each['metadata']['name']}: there is no {target['kind']} {target['name']}"
