"""What deploy/ renders, given to a real API server: of the newest Kubernetes that is supported, and behaving as the
oldest one. It takes every field, warns of nothing, keeps what was said, and lets the pods in."""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import cluster as clusters
from tests.deploy.cluster import Cluster
from tests.deploy.conftest import RenderWith
from tests.deploy.manifests import KUBERNETES, ROOT, VERSIONS, Object, invalid, named, pods, render
from tests.deploy.test_helm import CASES, by_name, template
from tests.deploy.test_kubernetes import COMPONENTS, OVERLAYS, PAGE, SHOWN
from tests.patience import PATIENCE
from tests.programs import command

pytestmark = pytest.mark.cluster

APPLY = ("apply", "--server-side", "--validate=strict")
AGENTS = KUBERNETES / "examples" / "agents"
NAMESPACE = "trunkline"
AUTOSCALER = "HorizontalPodAutoscaler"


@pytest.fixture(scope="module", params=VERSIONS)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with clusters.running(tmp_path_factory.mktemp("cluster"), request.param) as cluster:
        yield cluster


def written(objects: list[Object]) -> str:
    return yaml.safe_dump_all(objects)


def lost(said: Any, kept: Any, path: str) -> Iterator[str]:
    """Where something is not as it was said. What was added is no fault, and an empty list is none."""
    if isinstance(said, dict) and isinstance(kept, dict):
        for key, each in said.items():
            yield from lost(each, kept.get(key), f"{path}.{key}")
    elif isinstance(said, list) and isinstance(kept, list) and len(said) == len(kept):
        for index, (each, other) in enumerate(zip(said, kept, strict=True)):
            yield from lost(each, other, f"{path}[{index}]")
    elif said != kept and (said, kept) != ([], None):
        yield f"{path}: {said!r} is {kept!r}"


def replicas(workload: Object, objects: list[Object]) -> int:
    """How many pods it says that it has, or its autoscaler does."""
    scaled = [each["spec"] for each in objects if each["kind"] == AUTOSCALER]
    least = {each["scaleTargetRef"]["name"]: each["minReplicas"] for each in scaled}
    found: int = workload["spec"].get("replicas") or least[workload["metadata"]["name"]]
    return found


def it_has(cluster: Cluster, objects: list[Object]) -> None:
    """All of them as they were said, with the pods of each."""
    wanted, got = by_name(objects), by_name(cluster.get("--filename", "-", given=written(objects)))
    assert set(got) == set(wanted)
    assert [fault for name, each in wanted.items() for fault in lost(each, got[name], "/".join(name))] == []
    for workload, _ in pods(objects):
        namespace, labels = workload["metadata"]["namespace"], workload["spec"]["selector"]["matchLabels"]
        there = ("--namespace", namespace)
        count = replicas(workload, objects)
        which = f"{workload['kind']}/{workload['metadata']['name']}"
        wait = ("wait", f"--for=jsonpath={{.status.replicas}}={count}", f"--timeout={PATIENCE:g}s")
        cluster.kubectl(*wait, *there, which)
        chosen = ",".join(f"{name}={value}" for name, value in labels.items())
        assert len(cluster.get("pods", *there, "--selector", chosen)) == count


def test_every_overlay_and_component_is_among_these() -> None:
    """The agents, and with them the sidecar, have a test of their own."""
    assert {overlay for overlay, _, _ in CASES.values()} == set(OVERLAYS)
    assert {name for _, names, _ in CASES.values() for name in names} == set(COMPONENTS)


@pytest.mark.parametrize("case", CASES)
def test_it_takes_what_kustomize_renders(cluster: Cluster, case: str, render_with: RenderWith, tmp_path: Path) -> None:
    """As kubectl does it by itself."""
    overlay, components, _ = CASES[case]
    objects = render_with(overlay, *components)
    with cluster.namespace(objects[0]["metadata"]["namespace"]):
        cluster.kubectl(*APPLY, "--kustomize", str(tmp_path))
        it_has(cluster, objects)


@pytest.mark.parametrize("case", CASES)
def test_it_takes_what_the_chart_renders(cluster: Cluster, case: str, helm: str, tmp_path: Path) -> None:
    objects = template(helm, tmp_path, CASES[case][2], "--namespace", NAMESPACE)
    with cluster.namespace(NAMESPACE):
        cluster.kubectl(*APPLY, "--filename", "-", given=written(objects))
        it_has(cluster, objects)


def shown(heading: str) -> list[str]:
    """What a section of the page lets people type: each block."""
    _, _, rest = PAGE.partition(f"## {heading}\n")
    section = re.split(r"^##", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return [block.replace("\\\n", "") for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL)]


def test_the_page_leads_from_nothing_to_pods(cluster: Cluster, kustomize: str, tmp_path: Path) -> None:
    """Its kustomization beside a checkout, and its commands, but those that wait for a node to run the pods."""
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    (tmp_path / "kustomization.yaml").write_text(SHOWN[0])
    objects = [*render(kustomize, tmp_path), *render(kustomize, AGENTS)]
    with cluster.namespace(NAMESPACE):
        lines = [
            line for line in shown("From nothing to a message")[0].splitlines() if line.startswith("kubectl apply")
        ]
        assert len(lines) == 2
        for line in lines:
            cluster.kubectl(*line.split()[1:], folder=tmp_path)
        it_has(cluster, objects)


def test_the_page_makes_the_secrets_that_pods_mount(cluster: Cluster, kustomize: str, tmp_path: Path) -> None:
    """Of certificates that it makes, where there is no cert-manager."""
    making, giving = shown("Certificates without cert-manager")
    subprocess.run(command(making.split()[1:]), cwd=tmp_path, check=True)
    objects = [*render(kustomize, KUBERNETES / "overlays" / "redis"), *render(kustomize, AGENTS)]
    mounted = {v["secret"]["secretName"] for _, pod in pods(objects) for v in pod["volumes"] if "secret" in v}
    with cluster.namespace(NAMESPACE):
        subprocess.run(["sh", "-euc", giving], cwd=tmp_path, env=cluster.environment, check=True)
        secrets = cluster.get("secrets", "--namespace", NAMESPACE)
        assert {each["metadata"]["name"] for each in secrets} == mounted
        assert all(set(each["data"]) == {"tls.crt", "tls.key", "ca.crt"} for each in secrets)


def test_helm_installs_the_chart(cluster: Cluster, helm: str) -> None:
    """By the page's command, and takes away all of it."""
    (install,) = shown("By Helm")
    arguments = install.split()[1:]
    with cluster.namespace(NAMESPACE):
        for given in (arguments, ["uninstall", "trunkline", "--namespace", NAMESPACE]):
            subprocess.run([helm, *given], cwd=ROOT, env=cluster.environment, check=True)
            kinds = {each["kind"] for each in cluster.get("statefulset,certificate,service", "--namespace", NAMESPACE)}
            assert kinds == ({"StatefulSet", "Certificate", "Service"} if given == arguments else set())


def test_a_field_that_there_is_not_is_refused(cluster: Cluster, render_with: RenderWith) -> None:
    """Of every kind that there is, also of those whose definitions are others'; and nothing of them is kept."""
    objects = render_with("redis", *COMPONENTS)
    for each in objects:
        each.get("spec", each)["planted"] = "x"
    with cluster.namespace(NAMESPACE):
        ran = cluster.run(*APPLY, "--filename", "-", given=written(objects))
        refused = [line for line in ran.stderr.splitlines() if "planted" in line]
        assert len(refused) == len(objects), ran.stderr
        assert cluster.kubectl("get", "--ignore-not-found", "--filename", "-", given=written(objects)) == ""


def select_others(objects: list[Object]) -> None:
    named(objects, "Deployment", "trunkline-bus")["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] = "other"


def name_a_port_twice(objects: list[Object]) -> None:
    ports = named(objects, "Service", "trunkline-bus")["spec"]["ports"]
    ports[1]["name"] = ports[0]["name"]


def scale_below_the_least(objects: list[Object]) -> None:
    named(objects, AUTOSCALER, "trunkline-bus")["spec"]["maxReplicas"] = 1


def mount_what_there_is_not(objects: list[Object]) -> None:
    pod = named(objects, "Deployment", "trunkline-bus")["spec"]["template"]["spec"]
    pod["volumes"] = [each for each in pod["volumes"] if each["name"] != "tls"]


BROKEN: dict[Callable[[list[Object]], None], str] = {
    select_others: "`selector` does not match template `labels`",
    name_a_port_twice: "Duplicate value",
    scale_below_the_least: "must be greater than or equal to `minReplicas`",
    mount_what_there_is_not: "volumeMounts[1].name: Not found",
}


@pytest.mark.parametrize("breaking", list(BROKEN), ids=lambda each: each.__name__)
def test_what_a_schema_takes_and_a_server_does_not(
    cluster: Cluster, breaking: Callable[[list[Object]], None], render_with: RenderWith
) -> None:
    objects = render_with("redis", "autoscaling")
    breaking(objects)
    assert [invalid(objects, version) for version in VERSIONS] == [[], []]
    with cluster.namespace(NAMESPACE):
        ran = cluster.run(*APPLY, "--filename", "-", given=written(objects))
        assert ran.returncode != 0
        assert BROKEN[breaking] in ran.stderr


def be_privileged(pod: Object) -> None:
    pod["containers"][0]["securityContext"] = {"privileged": True}


def be_root(pod: Object) -> None:
    pod["securityContext"]["runAsUser"] = 0


def mount_the_node(pod: Object) -> None:
    pod["volumes"][0] = {"name": "data", "hostPath": {"path": "/"}}


TOO_MUCH: dict[Callable[[Object], None], str] = {
    be_privileged: "privileged",
    be_root: "runAsUser=0",
    mount_the_node: "hostPath",
}


@pytest.mark.parametrize("breaking", list(TOO_MUCH), ids=lambda each: each.__name__)
def test_a_pod_that_may_too_much_is_not_let_in(
    cluster: Cluster, breaking: Callable[[Object], None], render_with: RenderWith
) -> None:
    """The server warns of what would make it, and refuses it."""
    objects = copy.deepcopy(render_with("redis"))
    breaking(named(objects, "Deployment", "trunkline-bus")["spec"]["template"]["spec"])
    there = ("--namespace", NAMESPACE)
    with cluster.namespace(NAMESPACE):
        ran = cluster.run(*APPLY, "--filename", "-", given=written(objects))
        assert 'would violate PodSecurity "restricted:latest"' in ran.stderr
        assert TOO_MUCH[breaking] in ran.stderr
        failed = ("--for=condition=ReplicaFailure", f"--timeout={PATIENCE:g}s", "deployment/trunkline-bus")
        cluster.kubectl("wait", *there, *failed)
        (bus,) = cluster.get("deployment", *there, "--field-selector", "metadata.name=trunkline-bus")
        said = [each["message"] for each in bus["status"]["conditions"] if each["type"] == "ReplicaFailure"]
        assert [each for each in said if "forbidden: violates PodSecurity" in each]
        assert bus["status"].get("replicas", 0) == 0
