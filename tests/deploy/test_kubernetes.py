"""What stands in deploy/kubernetes: valid for the versions of Kubernetes that are supported, what owners of clusters
ask for, and settings that the programs take."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import RenderWith, Start
from tests.deploy.manifests import (
    KUBERNETES,
    ROOT,
    SETTINGS,
    VERSIONS,
    Object,
    complaints,
    containers,
    environment,
    invalid,
    named,
    pods,
    render,
)
from tests.patience import PATIENCE
from tests.programs import run_program
from trunkline import __version__
from trunkline.cli.services.probe import SERVING, check
from trunkline.tls.options import Tls

OVERLAYS = ("embedded", "redis", "development")
COMPONENTS = ("tls", "metrics", "alerts", "dashboards", "autoscaling", "network-policy")
CLIENT_VARIABLES = {
    *("TRUNKLINE_TLS_CA", "TRUNKLINE_TLS_CERT", "TRUNKLINE_TLS_KEY", "TRUNKLINE_TLS_SERVER_NAME"),
    *("TRUNKLINE_TOKEN_FILE", "TRUNKLINE_BUS", "TRUNKLINE_STATE"),
}


@pytest.fixture(scope="module")
def rendered(kustomize: str) -> dict[str, list[Object]]:
    """Each overlay, and the agents."""
    folders = {name: KUBERNETES / "overlays" / name for name in OVERLAYS} | {"agents": KUBERNETES / "examples/agents"}
    return {name: render(kustomize, folder) for name, folder in folders.items()}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [*OVERLAYS, "agents"])
def test_it_is_valid_and_what_owners_ask_for(rendered: dict[str, list[Object]], name: str, version: str) -> None:
    assert invalid(rendered[name], version) == []
    assert complaints(rendered[name]) == []


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_goes_with_an_overlay(render_with: RenderWith, component: str) -> None:
    objects = render_with("redis", component)
    assert [invalid(objects, version) for version in VERSIONS] == [[], []]
    assert complaints(objects) == []
    kinds = {each["kind"] for each in objects}
    added = {
        "tls": {"Issuer", "Certificate"},
        "metrics": {"ServiceMonitor", "PodMonitor"},
        "alerts": {"PrometheusRule"},
        "dashboards": {"ConfigMap"},
        "autoscaling": {"HorizontalPodAutoscaler"},
        "network-policy": {"NetworkPolicy"},
    }
    assert added[component] <= kinds


def test_all_components_together(render_with: RenderWith) -> None:
    objects = render_with("redis", *COMPONENTS)
    assert complaints(objects) == []


def test_secrets_are_made_for_whom_mounts_them(render_with: RenderWith) -> None:
    """Each Secret of a certificate that a pod mounts is one that the component makes, the agents' too."""
    objects = [*render_with("embedded", "tls"), *render_with("redis", "tls")]
    made = {each["spec"]["secretName"] for each in objects if each["kind"] == "Certificate"}
    mounted = {v["secret"]["secretName"] for _, pod in pods(objects) for v in pod["volumes"] if "secret" in v}
    assert mounted == {"trunkline-bus-tls", "trunkline-state-tls"} < made
    assert "trunkline-client-tls" in made


def drop_limits(pod: Object) -> None:
    del pod["containers"][0]["resources"]["limits"]


def be_root(pod: Object) -> None:
    pod["securityContext"]["runAsUser"] = 0


def write_to_root(pod: Object) -> None:
    pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False


def misname_config(pod: Object) -> None:
    pod["containers"][0]["envFrom"][0]["configMapRef"]["name"] = "trunkline-buss"


def take_latest(pod: Object) -> None:
    pod["containers"][0]["image"] = "trunkline:latest"


def probe_elsewhere(pod: Object) -> None:
    pod["containers"][0]["livenessProbe"]["grpc"]["port"] = 1


def hurry(pod: Object) -> None:
    pod["terminationGracePeriodSeconds"] = 25


def say_nothing_of_grace(pod: Object) -> None:
    del pod["terminationGracePeriodSeconds"]
    pod["containers"][0]["env"] = [{"name": "TRUNKLINE_BUS_DRAIN_SECONDS", "value": "21"}]


def forget_last_words(pod: Object) -> None:
    del pod["containers"][0]["terminationMessagePolicy"]


BROKEN: dict[Callable[[Object], None], str] = {
    drop_limits: "no limit of memory",
    be_root: "may be root",
    write_to_root: "its root file system can be written to",
    misname_config: "there is no ConfigMap trunkline-buss",
    take_latest: "its image has no version",
    probe_elsewhere: "its livenessProbe asks none of its ports",
    hurry: "it is killed while it drains, which may take 30 s",
    say_nothing_of_grace: "it is killed while it drains, which may take 31 s",
    forget_last_words: "why it did not start is in its log alone",
}


@pytest.mark.parametrize("breaking", list(BROKEN), ids=lambda each: each.__name__)
def test_what_owners_refuse_is_caught(rendered: dict[str, list[Object]], breaking: Callable[[Object], None]) -> None:
    objects = copy.deepcopy(rendered["embedded"])
    breaking(named(objects, "StatefulSet", "trunkline-bus")["spec"]["template"]["spec"])
    assert [each for each in complaints(objects) if BROKEN[breaking] in each]


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_no_kubernetes_is_caught(rendered: dict[str, list[Object]], version: str) -> None:
    """A field that there is not, and one of another type."""
    objects = copy.deepcopy(rendered["redis"])
    deployment = named(objects, "Deployment", "trunkline-bus")
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 40
    deployment["spec"]["replicas"] = "three"
    assert len(invalid(objects, version)) == 1
    del deployment["spec"]["template"]["spec"]["terminationGracePeriod"]
    deployment["spec"]["replicas"] = 3
    assert invalid(objects, version) == []


@pytest.mark.parametrize("name", [*OVERLAYS, "agents"])
def test_every_setting_is_one_and_is_taken(
    rendered: dict[str, list[Object]], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each variable is a setting of the program that gets it, and with all of them it would start: nothing that other
    machines reach is open but where the overlay says so."""
    seen = set()
    for _, pod in pods(rendered[name]):
        for container in containers(pod):
            if container.get("args", [""])[0] != "serve":
                continue
            program = container["args"][1]
            variables = environment(rendered[name], pod, container)
            prefix = f"TRUNKLINE_{program.upper()}_"
            known = {f"{prefix}{field.upper()}" for field in SETTINGS[program].model_fields}
            assert set(variables) <= known | CLIENT_VARIABLES | {"TMPDIR"}
            with monkeypatch.context() as patched:
                for variable, value in variables.items():
                    patched.setenv(variable, value)
                settings: Any = SETTINGS[program]()
            assert settings.insecure == (name == "development")
            ports = {each["name"].removeprefix("tl-"): each["containerPort"] for each in container["ports"]}
            for port in set(ports) - {"grpc"}:
                assert getattr(settings, f"{port}_address") == f"0.0.0.0:{ports[port]}"
            if "grpc" in ports:
                assert settings.address == f"0.0.0.0:{ports['grpc']}"
            seen.add(program)
    assert seen == ({"sidecar"} if name == "agents" else {"bus", "state"})


def test_a_changed_setting_restarts_the_pods(render_with: RenderWith, tmp_path: Path, kustomize: str) -> None:
    """The name of a ConfigMap ends with a hash of what it has, and the pods name it."""
    before = environment_name(render_with("embedded"))
    path = tmp_path / "kustomization.yaml"
    own = yaml.safe_load(path.read_text())
    changed = {"name": "trunkline-bus", "behavior": "merge", "literals": ["TRUNKLINE_BUS_DRAIN_SECONDS=10"]}
    own |= {"namespace": "trunkline", "configMapGenerator": [changed]}
    path.write_text(yaml.safe_dump(own))
    assert environment_name(render(kustomize, tmp_path)) != before


def environment_name(objects: list[Object]) -> str:
    pod = named(objects, "StatefulSet", "trunkline-bus")["spec"]["template"]["spec"]
    name: str = pod["containers"][0]["envFrom"][0]["configMapRef"]["name"]
    return name


def test_images_are_of_this_version(rendered: dict[str, list[Object]]) -> None:
    images = {c["image"] for objects in rendered.values() for _, pod in pods(objects) for c in containers(pod)}
    assert images == {f"trunkline:{__version__}", "go-agent:0.1.0", "python-agent:0.1.0"}


def test_the_page_of_capacity_has_the_requests_and_limits(rendered: dict[str, list[Object]]) -> None:
    """Whoever changes what a program may take looks at the sums."""
    page = (ROOT / "docs" / "capacity.md").read_text()
    told = {name: tuple(said) for name, *said in re.findall(r"^\| `([a-z-]+)` \| (\w+), (\w+) \| (\w+) \|", page, re.M)}
    asked = {
        container["name"]: (*container["resources"]["requests"].values(), *container["resources"]["limits"].values())
        for objects in rendered.values()
        for _, pod in pods(objects)
        for container in containers(pod)
        if container["name"] != "agent"
    }
    assert told == asked


def test_the_sidecar_is_native_and_shares_its_socket(rendered: dict[str, list[Object]]) -> None:
    """It starts before the agent, ends after it, and every container of the pod may connect, whatever its user."""
    for _, pod in pods(rendered["agents"]):
        (sidecar,) = pod["initContainers"]
        (agent,) = pod["containers"]
        assert sidecar["restartPolicy"] == "Always"
        variables = environment(rendered["agents"], pod, sidecar)
        group = str(pod["securityContext"]["runAsGroup"])
        assert variables["TRUNKLINE_SIDECAR_ALLOWED_GIDS"] == variables["TRUNKLINE_SIDECAR_SOCKET_GROUP"] == group
        assert agent["securityContext"]["runAsUser"] != sidecar["securityContext"]["runAsUser"]
        (socket,) = [v for v in pod["volumes"] if v["name"] == "trunkline-socket"]
        assert "emptyDir" in socket
        assert {"name": "trunkline-socket", "mountPath": "/run/trunkline"} in agent["volumeMounts"]
        assert agent["env"][0]["value"] == variables["TRUNKLINE_SIDECAR_ADDRESS"]


@pytest.mark.parametrize("program", ["bus", "state"])
def test_the_embedded_programs_start_with_what_they_are_given(
    rendered: dict[str, list[Object]], program: str, start: Start, tmp_path: Path
) -> None:
    """With the variables of their ConfigMaps, their folders and ports put elsewhere: the Secret is a folder of files,
    and their probes are green."""
    assert run_cli("certs", str(tmp_path / "certs"), "--client", "trunkline-bus") == 0
    secret = tmp_path / "tls"
    secret.mkdir()
    for made, key in (("server.pem", "tls.crt"), ("server.key", "tls.key"), ("ca.pem", "ca.crt")):
        (secret / key).write_bytes((tmp_path / "certs" / made).read_bytes())
        (secret / key).chmod(0o400)
    objects = rendered["embedded"]
    pod = named(objects, "StatefulSet", f"trunkline-{program}")["spec"]["template"]["spec"]
    variables = environment(objects, pod, pod["containers"][0])
    for variable, value in variables.items():
        moved = value.replace("/etc/trunkline/tls", str(secret)).replace("/var/lib/trunkline", str(tmp_path))
        variables[variable] = "127.0.0.1:0" if moved.startswith("0.0.0.0:") else moved
    tls = Tls(
        ca=f"{tmp_path}/certs/ca.pem",
        cert=f"{tmp_path}/certs/trunkline-bus.pem",
        key=f"{tmp_path}/certs/trunkline-bus.key",
    )
    variables[f"TRUNKLINE_{program.upper()}_UNREADY_SECONDS"] = "0"
    running = start(program, env=variables, tls=tls)
    (ready,) = [event for event in running.events() if event["event"] == "ready"]
    probe = pod["containers"][0]["readinessProbe"]["grpc"]
    assert check(ready["health_address"], "", PATIENCE)[0] == SERVING
    assert check(ready["health_address"], probe["service"], PATIENCE)[0] == SERVING
    assert running.address.startswith("tls://")
    assert running.stop() == 0


def run_cli(*arguments: str) -> int:
    return run_program(*arguments, module="trunkline.cli").returncode


def test_an_unreadable_secret_is_a_clear_line(rendered: dict[str, list[Object]], tmp_path: Path) -> None:
    """No crash without a word, and no fallback to open: exit code 2 and the setting's name."""
    objects = rendered["embedded"]
    pod = named(objects, "StatefulSet", "trunkline-bus")["spec"]["template"]["spec"]
    variables = environment(objects, pod, pod["containers"][0])
    variables |= {"TRUNKLINE_BUS_PATH": f"{tmp_path}/bus.db", "TRUNKLINE_BUS_ADDRESS": "127.0.0.1:0"}
    for name in ("HEALTH", "METRICS"):
        variables[f"TRUNKLINE_BUS_{name}_ADDRESS"] = "127.0.0.1:0"
    ran = run_program("bus", **variables)
    assert ran.returncode != 0
    assert "/etc/trunkline/tls/tls.crt" in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1


PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
SHOWN = re.findall(r"```yaml\n# kustomization.yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("shown", SHOWN, ids=["embedded", "redis"])
def test_what_the_page_shows_renders(shown: str, kustomize: str, tmp_path: Path) -> None:
    """Each kustomization of the page, beside a checkout: valid, and what owners ask for."""
    own = shown.replace("deploy/kubernetes", os.path.relpath(KUBERNETES, tmp_path))
    (tmp_path / "kustomization.yaml").write_text(own)
    objects = render(kustomize, tmp_path)
    assert [invalid(objects, version) for version in VERSIONS] == [[], []]
    assert complaints(objects) == []
    if "bus:secret@" in shown:
        pod = named(objects, "Deployment", "trunkline-bus")["spec"]["template"]["spec"]
        variables = environment(objects, pod, pod["containers"][0])
        assert variables["TRUNKLINE_BUS_REDIS_URL"].startswith("rediss://bus:secret@")
        assert variables["TRUNKLINE_BUS_MAX_MESSAGE_BYTES"] == "1048576"
        assert variables["TRUNKLINE_BUS_ENGINE"] == "redis"


def test_the_page_names_every_overlay_and_component_and_no_other() -> None:
    folders = {f"{kind}/{each.name}" for kind in ("overlays", "components") for each in (KUBERNETES / kind).iterdir()}
    assert set(re.findall(r"^\| `((?:overlays|components)/[a-z-]+)` \|", PAGE, re.MULTILINE)) == folders
    for path in re.findall(r"(?:apply -k|kustomize) (deploy/\S+)", PAGE):
        assert (ROOT / path / "kustomization.yaml").exists()
