"""The chart in deploy/helm renders what kustomize does, object by object, and refuses values that mean nothing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import RenderWith
from tests.deploy.manifests import ROOT, VERSIONS, Object, complaints, invalid, named
from trunkline import __version__

CHART = ROOT / "deploy" / "helm" / "trunkline"
HASHED = re.compile(r"^(trunkline-(?:bus|state)(?:-redis)?)-[a-z0-9]{10}$")
"""A name that kustomize ended with a hash of what it has, and what stands before it."""

COMPONENTS = ("tls", "metrics", "alerts", "dashboards", "network-policy")
ALL_OF_THEM = {
    "certificates": {"certManager": True},
    "metrics": {"monitors": True, "alerts": True, "dashboards": True},
    "networkPolicy": True,
}
CASES: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "embedded": ("embedded", (), {}),
    "embedded with all": ("embedded", COMPONENTS, ALL_OF_THEM),
    "redis": ("redis", (), {"storage": "redis"}),
    "redis with all": (
        "redis",
        (*COMPONENTS, "autoscaling"),
        {"storage": "redis", "autoscaling": {"enabled": True}, **ALL_OF_THEM},
    ),
    "development": ("development", (), {"insecure": True, "bus": {"nodePort": 30431}, "state": {"nodePort": 30432}}),
}


def run_helm(helm: str, where: Path, values: Mapping[str, Any], *options: str, chart: Path = CHART) -> str:
    """What `helm template` writes, or its complaint. The program knows no version of Kubernetes, so it is told one."""
    (where / "values.yaml").write_text(yaml.safe_dump(dict(values)))
    command = [helm, "template", "trunkline", str(chart), "--values", str(where / "values.yaml")]
    ran = subprocess.run(
        [*command, "--kube-version", VERSIONS[0], *options], capture_output=True, text=True, check=False
    )
    return ran.stdout if ran.returncode == 0 else ran.stderr


def template(helm: str, where: Path, values: Mapping[str, Any], *options: str, chart: Path = CHART) -> list[Object]:
    written = run_helm(helm, where, values, *options, chart=chart)
    assert written.startswith("---\n"), written
    return [each for each in yaml.safe_load_all(written) if each]


def without_hash(value: Any) -> Any:
    """The same without the hashes in names."""
    if isinstance(value, dict):
        return {key: without_hash(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_hash(each) for each in value]
    return HASHED.sub(r"\1", value) if isinstance(value, str) else value


def by_name(objects: list[Object]) -> dict[tuple[str, str, str], Object]:
    """Each object by kind, namespace and name."""
    found = {(o["kind"], o["metadata"]["namespace"], o["metadata"]["name"]): o for o in objects}
    assert len(found) == len(objects)
    return found


@pytest.mark.parametrize("case", CASES)
def test_it_renders_what_kustomize_does(case: str, helm: str, render_with: RenderWith, tmp_path: Path) -> None:
    """All but what marks an object as Helm's own, and how a changed setting restarts the pods."""
    overlay, components, values = CASES[case]
    kustomized = by_name(without_hash(render_with(overlay, *components)))
    (namespace,) = {namespace for _, namespace, _ in kustomized}
    charted = template(helm, tmp_path, values, "--namespace", namespace)
    assert [invalid(charted, version) for version in VERSIONS] == [[], []]
    assert complaints(charted) == []
    rendered = by_name(charted)
    assert set(rendered) == set(kustomized)
    for name, wanted in kustomized.items():
        got = rendered[name]
        labels, asked = got["metadata"].pop("labels"), wanted["metadata"].pop("labels", {})
        assert asked.items() <= labels.items(), name
        if "template" in got.get("spec", {}):
            assert list(got["spec"]["template"]["metadata"].pop("annotations")) == ["checksum/config"]
        assert got == wanted, name


def checksum(objects: list[Object], program: str) -> str:
    pod = named(objects, "Deployment", f"trunkline-{program}")["spec"]["template"]
    found: str = pod["metadata"]["annotations"]["checksum/config"]
    return found


def test_values_come_where_they_belong(helm: str, tmp_path: Path) -> None:
    """Another namespace, settings, an image, a Secret of one's own; what changed restarts its pods alone."""
    plain = template(helm, tmp_path, {"storage": "redis"})
    values = {
        "storage": "redis",
        "image": {"repository": "registry.example.org/trunkline", "tag": "1.2.3"},
        "certificates": {"certManager": True},
        "bus": {
            "replicas": 5,
            "settings": {"TRUNKLINE_BUS_DRAIN_SECONDS": "10"},
            "redis": {"existingSecret": "mine"},
            "terminationGracePeriodSeconds": 60,
        },
    }
    objects = template(helm, tmp_path, values, "--namespace", "agents")
    bus = named(objects, "Deployment", "trunkline-bus")["spec"]
    pod = bus["template"]["spec"]
    assert (bus["replicas"], pod["terminationGracePeriodSeconds"]) == (5, 60)
    assert pod["containers"][0]["image"] == "registry.example.org/trunkline:1.2.3"
    assert pod["containers"][0]["envFrom"][1] == {"secretRef": {"name": "mine"}}
    settings = named(objects, "ConfigMap", "trunkline-bus")["data"]
    assert settings["TRUNKLINE_BUS_DRAIN_SECONDS"] == "10"
    assert settings["TRUNKLINE_BUS_ENGINE"] == "redis"
    assert {o["metadata"]["name"] for o in objects if o["kind"] == "Secret"} == {"trunkline-state-redis"}
    assert "trunkline-bus.agents.svc" in named(objects, "Certificate", "trunkline-bus")["spec"]["dnsNames"]
    assert {o["metadata"]["namespace"] for o in objects} == {"agents"}
    assert checksum(objects, "bus") != checksum(plain, "bus")
    assert checksum(objects, "state") == checksum(plain, "state")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"storage": "postgres"}, "storage"),
        ({"replicas": 3}, "replicas"),
        ({"bus": {"replicas": 0}}, "bus/replicas"),
        ({"bus": {"replica": 3}}, "replica"),
        ({"bus": {"redis": {"url": "http://redis"}}}, "bus/redis/url"),
        ({"bus": {"settings": {"TRUNKLINE_STATE_PATH": "/x"}}}, "TRUNKLINE_STATE_PATH"),
        ({"bus": {"settings": {"TRUNKLINE_BUS_DRAIN_SECONDS": 10}}}, "bus/settings/TRUNKLINE_BUS_DRAIN_SECONDS"),
        ({"state": {"nodePort": 80}}, "state/nodePort"),
        ({"state": {"volume": {"size": "much"}}}, "state/volume/size"),
        ({"state": {"resources": {"limits": None}}}, "state/resources"),
        ({"image": {"tag": "latest"}}, "image/tag"),
        ({"autoscaling": {"enabled": True}}, "autoscaling/enabled"),
        ({"insecure": True, "certificates": {"certManager": True}}, "certificates/certManager"),
    ],
)
def test_values_that_mean_nothing_are_refused(values: dict[str, Any], field: str, helm: str, tmp_path: Path) -> None:
    """By a line that names them."""
    said = run_helm(helm, tmp_path, values)
    assert "values don't meet the specifications of the schema" in said
    assert field in said


def test_a_grace_period_in_which_it_cannot_drain_is_refused(helm: str, tmp_path: Path) -> None:
    """By a line with all three figures; of five seconds more than both together it is none."""
    slow = {"TRUNKLINE_BUS_UNREADY_SECONDS": "10", "TRUNKLINE_BUS_DRAIN_SECONDS": "60.5"}
    said = run_helm(helm, tmp_path, {"bus": {"settings": slow, "terminationGracePeriodSeconds": 75}})
    for word in ("bus.terminationGracePeriodSeconds is 75", "=10 ", "=60.5 ", "must be 75.5 or more"):
        assert word in said
    objects = template(helm, tmp_path, {"bus": {"settings": slow, "terminationGracePeriodSeconds": 76}})
    assert complaints(objects) == []


def test_a_package_of_it_renders_the_same(helm: str, tmp_path: Path) -> None:
    """What the chart shares with kustomize comes along."""
    _, _, values = CASES["redis with all"]
    packed = [helm, "package", str(CHART), "--destination", str(tmp_path)]
    subprocess.run(packed, check=True, capture_output=True)
    chart = tmp_path / f"trunkline-{__version__}.tgz"
    assert template(helm, tmp_path, values, chart=chart) == template(helm, tmp_path, values)


def test_it_is_of_this_version_and_well_formed(helm: str) -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["version"] == about["appVersion"] == __version__
    subprocess.run([helm, "lint", "--strict", str(CHART)], check=True, capture_output=True)
