"""deploy/compose as Compose reads it, and run by an engine without Compose: all containers share one network's
namespace, as those of a pod do, where the services' names lead to themselves."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from scripts.tools import ensure
from tests.deploy.engine import Engine
from tests.deploy.manifests import ROOT
from tests.patience import PATIENCE

COMPOSE: Final = ROOT / "deploy" / "compose"

Service = Mapping[str, Any]


def load(path: Path = COMPOSE / "compose.yaml") -> dict[str, Any]:
    """What Compose's own library makes of a file.

    Raises:
        ValueError: it is none; says why.
    """
    command = [ensure("compose-spec"), "--format", "json", str(path)]
    ran = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise ValueError(ran.stderr)
    model: dict[str, Any] = json.loads(ran.stdout)
    return model


def in_order(services: Mapping[str, Service]) -> list[str]:
    """Each behind those that it depends on."""
    found: list[str] = []
    while len(found) < len(services):
        found += [
            name for name, each in services.items() if name not in found and set(each.get("depends_on", ())) <= {*found}
        ]
    return found


@contextmanager
def running(engine: Engine, model: Mapping[str, Any], pause: str) -> Iterator[None]:
    """Starts all services, each when those are ready that it waits for. `pause` is an image with Python.

    Yields while they run.
    """
    services: Mapping[str, Service] = model["services"]
    hosts = [f"--add-host={name}:127.0.0.1" for name in (*services, "pod")]
    wait = ("--entrypoint", "python", pause, "-c", "import signal; signal.sigwait({signal.SIGTERM})")
    started = ["pod"]
    engine.docker("run", "--detach", "--name=pod", "--hostname=pod", "--network=none", *hosts, *wait)
    try:
        for name in in_order(services):
            for needed, how in services[name].get("depends_on", {}).items():
                await_service(engine, needed, how["condition"])
            started.append(name)
            engine.docker("run", "--detach", "--name", name, *options(model, services[name]))
        yield
    finally:
        for name in reversed(started):
            engine.docker("rm", "--force", "--volumes", name)
        for volume in model["volumes"].values():
            engine.docker("volume", "rm", "--force", volume["name"])


FLAGS: Final[Mapping[str, Callable[[Any], Iterable[str]]]] = {
    "read_only": lambda is_so: ["--read-only"] if is_so else [],
    "user": lambda value: [f"--user={value}"],
    "mem_limit": lambda value: [f"--memory={value}"],
    "cap_drop": lambda values: [f"--cap-drop={each}" for each in values],
    "security_opt": lambda values: [f"--security-opt={each}" for each in values],
    "environment": lambda values: [f"--env={name}={value}" for name, value in values.items()],
    "env_file": lambda files: [f"--env-file={each['path']}" for each in files],
    "healthcheck": lambda check: ["--no-healthcheck"] if check.get("disable") else _health(check),
    "entrypoint": lambda words: [f"--entrypoint={words[0]}"],
}
"""What `docker run` is told for a key of a service."""

ELSEWHERE: Final = {"image", "command", "volumes", "configs"}
OF_COMPOSE: Final = {"restart", "stop_grace_period", "depends_on", "networks", "build"}
"""What Compose itself does."""


def options(model: Mapping[str, Any], service: Service) -> list[str]:
    """What `docker run` is told for a service."""
    unknown = set(service) - set(FLAGS) - ELSEWHERE - OF_COMPOSE
    assert not unknown, f"nobody here knows what to do about {unknown}"
    said = ["--network=container:pod"]
    said += [word for key, value in service.items() if key in FLAGS for word in FLAGS[key](value)]
    for each in service.get("volumes", ()):
        name = model["volumes"][each["source"]]["name"]
        said.append(f"--volume={name}:{each['target']}{':ro' if each.get('read_only') else ''}")
    for each in service.get("configs", ()):
        said.append(f"--volume={model['configs'][each['source']]['file']}:{each['target']}:ro")
    return [*said, service["image"], *(service.get("entrypoint") or [])[1:], *(service.get("command") or [])]


def _health(check: Mapping[str, Any]) -> list[str]:
    return [f"--health-cmd={shlex.join(check['test'][1:])}", "--health-interval=1s", "--health-retries=60"]


def await_service(engine: Engine, name: str, condition: str) -> None:
    """Returns when a service is what another one waits for."""
    until = time.monotonic() + PATIENCE
    if condition == "service_completed_successfully":
        assert engine.docker("wait", name, timeout=PATIENCE) == "0", engine.docker("logs", name)
        return
    assert condition == "service_healthy"
    while engine.docker("inspect", "--format", "{{.State.Health.Status}}", name) != "healthy":
        assert time.monotonic() < until, f"{name}: {engine.docker('logs', name)}"
        time.sleep(0.1)
