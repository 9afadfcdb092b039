"""The check of who imports whom catches each kind of breach, and nothing that is allowed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLIENT = "clients/python/trunkline"
PROGRAMS = "services/trunklined"

BREACHES = {
    "a word takes a third-party library": (f"{CLIENT}/errors.py", "import msgspec"),
    "a word takes grpc inside a function": (f"{CLIENT}/limits.py", "def late() -> None:\n    import grpc"),
    "a word takes the client": (f"{CLIENT}/channels.py", "from trunkline import models"),
    "the package loads the client at import": (f"{CLIENT}/__init__.py", "from trunkline.models import AgentMessage"),
    "the wire takes a model": (f"{CLIENT}/wire/scratch.py", "from trunkline.models import AgentMessage"),
    "the wire takes a third-party library": (f"{CLIENT}/wire/scratch.py", "import pydantic"),
    "the client takes a program": (f"{CLIENT}/bus/message_bus.py", "from trunklined import bus"),
    "the bus of the client takes its state": (
        f"{CLIENT}/bus/grpc/scratch.py",
        "from trunkline.state.state_manager import StateManager",
    ),
    "the state of the client takes its bus": (f"{CLIENT}/state/scratch.py", "from trunkline.bus import codec"),
    "what every bus promises names gRPC": (f"{CLIENT}/bus/scratch.py", "from trunkline.bus.grpc import session"),
    "what every store promises names gRPC": (
        f"{CLIENT}/state/state_manager.py",
        "from trunkline.state.grpc.manager import GrpcStateManager",
    ),
    "a model takes the wire": (f"{CLIENT}/models/message.py", "from trunkline.v1 import message_pb2"),
    "what every bus promises takes the wire": (f"{CLIENT}/bus/message_bus.py", "from trunkline.v1 import bus_pb2"),
    "a command takes the wire": (f"{CLIENT}/cli/bus/scratch.py", "from trunkline.v1 import bus_pb2"),
    "a command takes grpc": (f"{CLIENT}/cli/scratch.py", "import grpc.aio"),
    "a command takes a part of a client": (
        f"{CLIENT}/cli/bus/scratch.py",
        "def late() -> None:\n    from trunkline.bus.grpc.bus import GrpcMessageBus",
    ),
    "a command takes an inner module of what every store promises": (
        f"{CLIENT}/cli/state/scratch.py",
        "from trunkline.state.state_manager import Change",
    ),
    "a service takes the bus of one process": (f"{PROGRAMS}/bus/scratch.py", "from trunklined.local import bus"),
    "the client takes the store of one process": (f"{CLIENT}/sync/scratch.py", "import trunklined.local.state"),
    "the bus of one process takes the sidecar": (f"{PROGRAMS}/local/bus.py", "from trunklined.sidecar import gate"),
    "the bus of one process names an engine": (
        f"{PROGRAMS}/local/bus.py",
        "from trunklined.bus.engines.sqlite import SqliteJournal",
    ),
    "rpc takes the client": (f"{PROGRAMS}/rpc/scratch.py", "from trunkline.models import AgentMessage"),
    "the histogram takes more than the standard library": (
        f"{PROGRAMS}/rpc/histogram.py",
        "from prometheus_client import Metric",
    ),
    "rpc takes a service": (f"{PROGRAMS}/rpc/scratch.py", "import trunklined.bus.app"),
    "the bus takes the state": (f"{PROGRAMS}/bus/scratch.py", "from trunklined.state import config"),
    "the bus takes the state by a relative import": (f"{PROGRAMS}/bus/scratch.py", "from ..state import config"),
    "the state takes the bus": (f"{PROGRAMS}/state/scratch.py", "import trunklined.bus"),
    "the bus takes the client": (f"{PROGRAMS}/bus/app.py", "from trunkline.bus.grpc.bus import GrpcMessageBus"),
    "the bus takes the client from the package": (f"{PROGRAMS}/bus/app.py", "from trunkline import GrpcMessageBus"),
    "the state takes the client": (f"{PROGRAMS}/state/wire/servicer.py", "import trunkline.models"),
    "the sidecar takes the bus": (f"{PROGRAMS}/sidecar/scratch.py", "from trunklined.bus import broker"),
    "a broker takes grpc": (f"{PROGRAMS}/bus/broker.py", "import grpc.aio"),
    "a store takes the wire": (f"{PROGRAMS}/state/store.py", "from trunkline.v1 import state_pb2"),
    "a store takes its wire side": (
        f"{PROGRAMS}/state/store.py",
        "from trunklined.state.wire import servicer",
    ),
    "a store takes protobuf": (f"{PROGRAMS}/state/store.py", "from google.protobuf import timestamp_pb2"),
    "a store names an engine": (f"{PROGRAMS}/state/store.py", "from trunklined.state.engines.sqlite import Engine"),
    "a servicer names an engine": (f"{PROGRAMS}/state/wire/servicer.py", "from trunklined.state.engines import memory"),
    "a broker reads the environment": (f"{PROGRAMS}/bus/broker.py", "import os\nHOME = os.environ['HOME']"),
    "a server reads the environment": (f"{PROGRAMS}/rpc/server.py", "import os\nHOME = os.getenv('HOME')"),
    "an app takes a name of the environment": (f"{PROGRAMS}/bus/app.py", "from os import environ"),
    "a servicer makes settings of the module": (
        f"{PROGRAMS}/bus/wire/servicer.py",
        "import pydantic_settings\nclass S(pydantic_settings.BaseSettings): pass",
    ),
    "a servicer makes settings": (f"{PROGRAMS}/bus/wire/servicer.py", "from pydantic_settings import BaseSettings"),
}

ALLOWED = {
    "a word takes the standard library": (f"{CLIENT}/errors.py", "import json"),
    "a client takes a third-party library": (f"{CLIENT}/bus/message_bus.py", "import msgspec"),
    "the bus of one process takes the client and the domain": (
        f"{PROGRAMS}/local/scratch.py",
        "from trunkline.bus.grpc.base import BaseBus\nfrom trunklined.bus.broker import Broker",
    ),
    "a command takes public names and words": (
        f"{CLIENT}/cli/bus/scratch.py",
        "from trunkline import GrpcMessageBus\nfrom trunkline.delivery import Start\nimport trunkline.orchestrator",
    ),
    "a codec takes the wire and a model": (
        f"{CLIENT}/bus/codec.py",
        "from trunkline.models import AgentMessage\nfrom trunkline.v1 import message_pb2",
    ),
    "a bus over gRPC takes its own parts": (
        f"{CLIENT}/bus/grpc/bus.py",
        "from trunkline.bus.grpc import session",
    ),
    "a servicer takes grpc and the wire": (
        f"{PROGRAMS}/bus/wire/servicer.py",
        "import grpc\nimport trunkline.v1",
    ),
    "an app names an engine": (f"{PROGRAMS}/state/app.py", "from trunklined.state.engines.sqlite import Engine"),
    "a store takes the port of engines": (
        f"{PROGRAMS}/state/store.py",
        "from trunklined.state.engines.engine import Engine",
    ),
    "a config reads the environment": (f"{PROGRAMS}/bus/config.py", "from pydantic_settings import BaseSettings"),
    "the sidecar takes the client": (f"{PROGRAMS}/sidecar/scratch.py", "from trunkline import GrpcMessageBus"),
    "a broker takes the histogram": (f"{PROGRAMS}/bus/broker.py", "from trunklined.rpc.histogram import Histogram"),
    "a broker takes the words and rpc": (f"{PROGRAMS}/bus/broker.py", "from trunkline.errors import ERRORS"),
}


def check(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs the check over a tree."""
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "check_imports.py"), "--root", str(tree), *options],
        check=False,
        capture_output=True,
        text=True,
    )


def write(tree: Path, path: str, source: str) -> None:
    """Makes a scratch tree with one module in it."""
    file = tree / path
    file.parent.mkdir(parents=True)
    file.write_text(source + "\n")


def test_this_tree_keeps_every_rule() -> None:
    """The sources as they stand break no rule."""
    done = check(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_caught(tmp_path: Path, breach: str) -> None:
    """Each kind of forbidden import fails the check, which names the file and the rule."""
    path, source = BREACHES[breach]
    write(tmp_path, path, source)
    done = check(tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{path}:")


@pytest.mark.parametrize(
    "back",
    [
        "from trunklined.state.scratch.a import A",
        "from trunklined.state.scratch import a",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from trunklined.state.scratch.a import A",
        "def late() -> None:\n    import trunklined.state.scratch.a",
    ],
    ids=["from a module", "a module", "for types only", "late"],
)
def test_a_circle_is_caught(tmp_path: Path, back: str) -> None:
    """Two modules that import each other, however they do it, fail the check, which names them; `--circles` too."""
    write(tmp_path, f"{PROGRAMS}/state/scratch/a.py", "from trunklined.state.scratch.b import B")
    (tmp_path / PROGRAMS / "state/scratch/b.py").write_text(back + "\n")
    for options in ((), ("--circles",)):
        done = check(tmp_path, *options)
        assert done.returncode == 1
        assert "trunklined.state.scratch.a <-> trunklined.state.scratch.b" in done.stdout


def test_this_tree_has_no_circle() -> None:
    """`--circles` prints every circle, and says that there is none."""
    done = check(ROOT, "--circles")
    assert (done.returncode, done.stdout) == (0, "circles: none\n")


@pytest.mark.parametrize("case", ALLOWED)
def test_what_is_allowed_passes(tmp_path: Path, case: str) -> None:
    """An import that the design allows is no breach."""
    path, source = ALLOWED[case]
    write(tmp_path, path, source)
    done = check(tmp_path)
    assert done.returncode == 0, done.stdout
