"""The image, built by a real engine and run as Kubernetes runs it: not as root, and its root file system read-only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scripts.tools import GO_ENVIRONMENT, ensure
from tests.deploy import compose
from tests.deploy import engine as engines
from tests.deploy.engine import Engine
from tests.deploy.manifests import ROOT
from tests.patience import PATIENCE
from tests.programs import address_of, health, hold_port
from trunkline import AgentMessage, MessageType, __version__
from trunkline.cli.services.probe import SERVING, check
from trunkline.sync import MessageBus

BASE, REDIS, IMAGE = "debian-python:bookworm", "debian-redis:bookworm", f"trunkline:{__version__}"
LARGEST = 120_000_000
"""Bytes that the image may add to what it stands on."""

LISTING = """
import json, os, shutil
from importlib.metadata import distributions
found = {"uid": os.getuid(), "packages": [f"{d.metadata['Name'].lower()}=={d.version}" for d in distributions()]}
found["builders"] = [name for name in ("gcc", "cc", "c++", "make", "pip", "pip3") if shutil.which(name)]
found["writable"] = [top for top in ("/", "/tmp", "/opt/trunkline", "/etc", "/home", "/var/lib/trunkline")
                     if os.access(top, os.W_OK)]
found["newest"] = max(os.lstat(os.path.join(at, name)).st_mtime for at, _, names in os.walk("/opt/trunkline/lib")
                      for name in names)
found["sbom"] = json.load(open("/opt/trunkline/share/trunkline/sbom.cdx.json"))
print(json.dumps(found))
"""


@pytest.mark.image
@pytest.mark.timeout(12 * PATIENCE)
def test_the_image(tmp_path: Path) -> None:
    """One test, since an engine, a base and the image are made for it."""
    try:
        with engines.running() as engine:
            engine.import_debian(BASE, "python3", "python3-venv", "libstdc++6", "ca-certificates", "redis-server")
            build(engine, tmp_path)
            it_says_what_it_is(engine)
            it_has_what_runs_and_nothing_more(engine)
            for program in ("bus", "state", "sidecar"):
                it_answers_and_stops(engine, program)
            a_bus_in_it_carries_messages(engine)
            its_root_cannot_be_written_to(engine)
            what_cannot_start_says_why(engine)
            compose_lets_two_agents_work(engine, tmp_path)
    except engines.NoEngineError as error:
        pytest.skip(str(error))


def build(engine: Engine, where: Path) -> None:
    """By `make image`, with the packages' mirror that pip uses here."""
    engine.run(
        *("make", "--no-print-directory", "-C", str(ROOT), "image", f"BASE={BASE}", f"VERSION={__version__}"),
        f"ARGS={' '.join(['--network host', *secrets(where)])}",
    )


def secrets(where: Path) -> list[str]:
    """pip's settings of this machine, and the authority that they name."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    said = {
        key.removeprefix(":env:.").removeprefix("global."): value.strip("'")
        for key, _, value in (line.partition("=") for line in listed.splitlines())
    }
    passed: dict[str, str] = {
        key: said[key] for key in ("index-url", "extra-index-url", "trusted-host", "proxy") if key in said
    }
    options = []
    if "cert" in said:
        passed["cert"] = "/etc/ssl/certs/ca-certificates.crt"
        options = ["--secret", f"id=ca,src={said['cert']}"]
    (where / "pip.conf").write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in passed.items()))
    return [*options, "--secret", f"id=pip.conf,src={where / 'pip.conf'}"]


def it_says_what_it_is(engine: Engine) -> None:
    (about,) = json.loads(engine.docker("image", "inspect", IMAGE))
    (base,) = json.loads(engine.docker("image", "inspect", BASE))
    config = about["Config"]
    assert (config["User"], config["Entrypoint"]) == ("65532:65532", ["trunkline"])
    assert config["Healthcheck"]["Test"] == ["CMD", "trunkline", "health", "127.0.0.1:7440"]
    commit = ("git", "show", "--no-patch", "--format=%H %ct", "HEAD")
    revision, made = subprocess.run(commit, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    created = datetime.fromtimestamp(int(made), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert (labels["version"], labels["revision"], labels["created"]) == (__version__, revision, created)
    assert about["Size"] - base["Size"] < LARGEST, f"{about['Size'] - base['Size']:,} bytes more than its base"
    assert engine.docker("run", "--rm", "--network", "none", IMAGE, "--version").endswith(__version__)


def it_has_what_runs_and_nothing_more(engine: Engine) -> None:
    """No compiler and no pip; what was installed, and what its bill of materials says, are the same."""
    found = json.loads(
        engine.docker("run", "--rm", "--network", "none", "--entrypoint", "python", IMAGE, "-c", LISTING)
    )
    assert (found["uid"], found["builders"], found["newest"]) == (65532, [], 0)
    assert found["writable"] == ["/tmp", "/var/lib/trunkline"]
    listed = {f"{each['name'].lower()}=={each['version']}" for each in found["sbom"]["components"]}
    assert listed == set(found["packages"]) - {f"trunkline=={__version__}"}
    assert found["sbom"]["metadata"]["component"]["name"] == "trunkline"


@contextmanager
def container(engine: Engine, *arguments: str, **variables: str) -> Iterator[str]:
    """Runs the image as a pod does, on the machine's network."""
    options = ["--network=host", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    options += ["--health-interval=1s"]
    options += [option for name, value in variables.items() for option in ("--env", f"{name}={value}")]
    started = engine.docker("run", "--detach", *options, IMAGE, *arguments)
    try:
        yield started
    finally:
        engine.docker("rm", "--force", "--volumes", started)


def await_words(engine: Engine, started: str, words: str) -> None:
    until = time.monotonic() + PATIENCE
    while words not in (said := engine.docker("logs", started)):
        assert time.monotonic() < until, said
        time.sleep(0.05)


def it_answers_and_stops(engine: Engine, program: str) -> None:
    """Its probe is green, from outside and by the image's own; SIGTERM reaches it, and it ends within 5 s."""
    with hold_port() as served, hold_port() as probed:
        address, health_address = address_of(served), address_of(probed)
        prefix = f"TRUNKLINE_{program.upper()}"
        given = {f"{prefix}_HEALTH_ADDRESS": health_address}
        if program == "sidecar":
            given |= {f"{prefix}_SOCKET_PATH": ""}
        with container(engine, "serve", program, **{f"{prefix}_ADDRESS": address}, **given) as started:
            await_words(engine, started, '"event": "ready"')
            assert health(address) == "SERVING"
            assert check(health_address, "", PATIENCE)[0] == SERVING
            assert engine.docker("exec", started, "trunkline", "health", health_address) == "SERVING"
            began = time.monotonic()
            engine.docker("stop", "--time", "30", started)
            assert time.monotonic() - began < 5
            assert engine.docker("inspect", "--format", "{{.State.ExitCode}}", started) == "0"


def a_bus_in_it_carries_messages(engine: Engine) -> None:
    """Stored in its volume, with a receipt. Docker asks for its health where the image says."""
    with hold_port() as served:
        address = address_of(served)
        with container(engine, "serve", "bus", TRUNKLINE_BUS_ADDRESS=address) as started:
            await_words(engine, started, '"event": "ready"')
            with MessageBus(address) as bus:
                message = AgentMessage(message_type=MessageType.STATUS_UPDATE, sender_id="a", payload={})
                receipt = bus.publish("image", message, stored=True)
            assert receipt.sequence > 0
            until = time.monotonic() + PATIENCE
            while engine.docker("inspect", "--format", "{{.State.Health.Status}}", started) != "healthy":
                assert time.monotonic() < until
                time.sleep(0.1)


def its_root_cannot_be_written_to(engine: Engine) -> None:
    shell = ("run", "--rm", "--network=none", "--read-only", "--entrypoint", "sh", IMAGE, "-c")
    for where in ("/", "/opt/trunkline", "/tmp"):
        assert "Read-only file system" in engine.docker(*shell, f"touch {where}/x 2>&1 || true")
    engine.docker(*shell, "touch /var/lib/trunkline/x")


def what_cannot_start_says_why(engine: Engine) -> None:
    """One line, and an exit code, where other machines would come in unasked."""
    said = engine.docker(
        *("run", "--rm", "--network=none", "--env", "TRUNKLINE_BUS_ADDRESS=0.0.0.0:7431", IMAGE, "serve", "bus"),
        is_expected_to_fail=True,
    )
    assert len(said.splitlines()) == 1
    assert "TLS" in said


def compose_lets_two_agents_work(engine: Engine, where: Path) -> None:
    """All of deploy/compose, with Debian's Redis: a text of the Python agent is measured by the one in Go."""
    (where / "redis.Dockerfile").write_text(f"FROM {BASE}\nRUN mkdir /data && chown redis /data\n")
    engine.docker("build", "--network=none", "--file", f"{where}/redis.Dockerfile", "--tag", REDIS, str(where))
    agent = [ensure("go"), "build", "-trimpath", "-o", f"{where}/measure", "./examples/measure"]
    subprocess.run(agent, cwd=ROOT / "clients" / "go", env={**os.environ, **GO_ENVIRONMENT}, check=True)
    (where / "built.Dockerfile").write_text("FROM scratch\nCOPY measure /\n")
    engine.docker("build", "--file", f"{where}/built.Dockerfile", "--tag", "measure:built", str(where))
    model = compose.load()
    model["services"]["redis"]["image"] = REDIS
    made = model["services"]["go-agent"]
    engine.docker(
        *("build", "--file", str(compose.COMPOSE / "go-agent.Dockerfile"), "--tag", made["image"]),
        *("--build-arg", "BUILD=measure:built", made["build"]["context"]),
    )
    with compose.running(engine, model, pause=IMAGE):
        await_words(engine, "python-agent", "measure-go {'lines': 3}")
        for name in ("sidecar", "trunkline-state", "trunkline-bus"):
            began = time.monotonic()
            engine.docker("stop", "--time", "30", name)
            assert time.monotonic() - began < 15, "five seconds in which endpoints move, then at once"
            assert engine.docker("inspect", "--format", "{{.State.ExitCode}}", name) == "0"
