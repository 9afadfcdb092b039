"""`import trunkline`: everything that Python users import, handed out lazily."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import trunkline

PROMISED = (
    "MessageBus",
    "InMemoryMessageBus",
    "GrpcMessageBus",
    "StateManager",
    "InMemoryStateManager",
    "GrpcStateManager",
    "MessageChannel",
    "ServiceMessage",
    "AgentMessage",
    "AgentState",
    "WorkflowState",
    "TaskResult",
    "TaskDefinition",
    "MessageType",
    "Priority",
    "AgentStatus",
    "AgentType",
    "TaskStatus",
    "WorkflowPhase",
    "TrunklineError",
    "MessageBusError",
    "StateError",
    "sync",
)

IMPORT_EACH_FIRST = """
import os, trunkline

def import_each_first(names):
    for name in names:
        if (pid := os.fork()) == 0:
            getattr(trunkline, name)
            os._exit(0)
        if os.waitpid(pid, 0)[1] != 0:
            print(name)
"""


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", PROMISED)
def test_every_promised_name_is_there(name: str) -> None:
    """Everything under "What Python users import" comes from `import trunkline`, also by `*` and for completion."""
    assert getattr(trunkline, name) is not None
    assert name in trunkline.__all__
    assert name in dir(trunkline)


def test_every_name_of_all_is_there() -> None:
    """`from trunkline import *` works; a name that is not there is said."""
    for name in trunkline.__all__:
        assert getattr(trunkline, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing_like_that'"):
        _ = trunkline.nothing_like_that


def test_each_module_of_names_may_be_imported_first() -> None:
    """No circle of imports breaks it, which shows only where nothing else of the project is loaded: in a new process
    for each."""
    firsts = [names[0] for names in trunkline._HOMES.values()]
    assert _run(f"{IMPORT_EACH_FIRST}\nimport_each_first({firsts!r})") == ""


@pytest.mark.parametrize(
    ("statement", "unloaded"),
    [
        ("import trunkline", ("grpc", "google.protobuf", "pydantic", "msgspec", "asyncio")),
        ("import trunkline.errors, trunkline.channels, trunkline.limits", ("grpc", "pydantic", "msgspec")),
        ("from trunkline import NoRespondersError", ("grpc", "google.protobuf", "pydantic")),
        ("from trunkline import AgentMessage", ("grpc", "google.protobuf")),
        ("import trunkline.wire.opaque; trunkline.wire.opaque.bus_passthrough()", ("pydantic", "trunkline.models")),
        ("import trunkline; trunkline.sync", ("grpc", "pydantic")),
        ("import trunkline.agents", ("grpc", "google.protobuf", "pydantic", "asyncio")),
        (
            "from trunkline.orchestrator import Orchestrator as O; O().shutdown()",
            ("grpc", "google.protobuf", "pydantic"),
        ),
        ("import trunkline.cli.agents.agents", ("grpc", "google.protobuf", "pydantic")),
        (
            "import trunklined.command as c; c._load_structlog_alone(); import trunklined.rpc.logging",
            ("rich", "pygments"),
        ),
    ],
)
def test_names_are_loaded_when_they_are_used(statement: str, unloaded: tuple[str, ...]) -> None:
    """A service that needs the words and v1 loads no client, and whoever needs the models no grpc. An agent's process,
    an orchestrator without a bus and what asks it need neither."""
    code = f"{statement}\nimport sys\nprint(*(name for name in {unloaded!r} if name in sys.modules))"
    assert _run(code) == ""


def test_type_checkers_see_every_name(tmp_path: Path) -> None:
    """mypy, strict, knows each name of __all__ as what it is."""
    user = tmp_path / "user.py"
    names = ", ".join(name for name in trunkline.__all__ if name != "__version__")
    user.write_text(f"from trunkline import {names}\nreveal_type(GrpcMessageBus)\nreveal_type(sync.MessageBus)\n")
    mypy = [sys.executable, "-m", "mypy", str(user), "--strict"]  # in this process it would raise the recursion limit
    done = subprocess.run(mypy, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trunkline.bus.grpc.bus.GrpcMessageBus" in done.stdout
    assert "trunkline.sync.message_bus.MessageBus" in done.stdout
