"""deploy/compose: taken by Compose, closed, and with settings that the programs take. test_image.py runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import compose
from tests.deploy.manifests import SETTINGS, stop_seconds
from tests.deploy.test_kubernetes import CLIENT_VARIABLES
from trunkline import __version__

PROGRAMS = {"trunkline-bus": "bus", "trunkline-state": "state", "sidecar": "sidecar"}


@pytest.fixture(scope="module")
def model() -> dict[str, Any]:
    return compose.load()


def test_every_service_is_closed(model: dict[str, Any]) -> None:
    """No port of the machine, no root, nothing to write to but volumes, and a bound of memory for ours."""
    for name, service in model["services"].items():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "ports" not in service, name
        assert not any(each["type"] == "bind" for each in service.get("volumes", ())), name
        assert name == "redis" or service["mem_limit"], name


def test_what_is_named_is_there(model: dict[str, Any]) -> None:
    services, files = model["services"], [each["file"] for each in model["configs"].values()]
    assert {needed for each in services.values() for needed in each.get("depends_on", ())} < set(services)
    used = {mounted["source"] for each in services.values() for mounted in each.get("volumes", ())}
    assert used == set(model["volumes"])
    files += [file["path"] for each in services.values() for file in each.get("env_file", ())]
    build = services["go-agent"]["build"]
    files.append(f"{build['context']}/{build['dockerfile']}")
    assert [file for file in files if not Path(file).is_file()] == []


def test_images_are_of_this_version(model: dict[str, Any]) -> None:
    images = {service["image"] for service in model["services"].values()}
    assert images == {f"trunkline:{__version__}", f"trunkline-go-agent:{__version__}", "redis:8"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_take_their_settings(name: str, model: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of Kubernetes, with other names of files; asked by their probes where they answer."""
    program, service = PROGRAMS[name], model["services"][name]
    variables: dict[str, str] = {}
    for file in service["env_file"]:
        lines = Path(file["path"]).read_text().splitlines()
        variables |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    variables |= service["environment"]
    known = {f"TRUNKLINE_{program.upper()}_{field.upper()}" for field in SETTINGS[program].model_fields}
    assert set(variables) <= known | CLIENT_VARIABLES | {"TMPDIR"}
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    settings = SETTINGS[program]()
    assert not settings.insecure
    assert service["command"] == ["serve", program]
    _, _, port = str(settings.health_address).rpartition(":")
    assert service["healthcheck"]["test"][:4] == ["CMD", "trunkline", "health", f"127.0.0.1:{port}"]
    assert service["stop_grace_period"] == "40s"
    assert stop_seconds(program, variables) < 40


@pytest.mark.parametrize(
    ("change", "words"),
    [({"comand": []}, "comand"), ({"read_only": "mostly"}, "read_only"), ({"healthcheck": {"tset": []}}, "tset")],
)
def test_what_is_no_compose_is_caught(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    broken = yaml.safe_load((compose.COMPOSE / "compose.yaml").read_text())
    broken["services"]["redis"] |= change
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(broken))
    with pytest.raises(ValueError, match=words):
        compose.load(tmp_path / "compose.yaml")
