"""Which commands are served: presets and allow lists, in themselves and on the socket of a real orchestrator."""

from __future__ import annotations

from typing import Any

import pytest

from tests.orchestrator.program import Serve
from trunkline.agents import ConfigValidationError
from trunkline.orchestrator import PRESETS, CommandDeniedError, CommandError, Orchestrator, Permissions
from trunkline.orchestrator.permissions import ALL_COMMANDS, CHANGES

COMMANDS: dict[str, list[str]] = {
    "ps": [],
    "list": [],
    "status": [],
    "report": [],
    "stats": [],
    "history": [],
    "history-stats": [],
    "dependencies": [],
    "commands": [],
    "start": ["agent-00000"],
    "stop": ["agent-00000"],
    "shutdown": [],
}


def test_the_presets_are_what_they_are_called() -> None:
    """development changes things; production, read_only and monitoring do not."""
    assert set(COMMANDS) == ALL_COMMANDS
    assert PRESETS["development"] == ALL_COMMANDS
    for name in ("production", "read_only", "monitoring"):
        assert not PRESETS[name] & CHANGES
    assert PRESETS["monitoring"] < PRESETS["read_only"]


@pytest.mark.parametrize(
    "wish", ["development", "Production", "read_only", "MONITORING", ["ps"], {"ps", "stop"}, frozenset(), (), None]
)
def test_what_can_be_wished(wish: Any) -> None:
    """The name of a preset, however it is written; commands in any collection, also none; None: all."""
    allowed = Permissions.of(wish).allowed
    wanted = PRESETS[wish.lower()] if isinstance(wish, str) else ALL_COMMANDS if wish is None else frozenset(wish)
    assert allowed == wanted


@pytest.mark.parametrize("wish", ["prod", "", "ps", ["ps", "reboot"], [["ps"]], [3], 3])
def test_a_wish_that_cannot_be_is_refused(wish: Any) -> None:
    """With what there is; also as an orchestrator's configuration, before it opens a socket."""
    with pytest.raises(CommandError):
        Permissions.of(wish)
    with pytest.raises(ConfigValidationError, match="allowed_commands"):
        Orchestrator(Orchestrator.Config(allowed_commands=wish))


def test_the_denial_says_what_is_allowed() -> None:
    """One that does not exist is none of its business."""
    permissions = Permissions.of(["status", "ps"])
    permissions.check("ps")
    permissions.check("no such command")
    with pytest.raises(CommandDeniedError, match="'stop' is not allowed; allowed are ps, status") as caught:
        permissions.check("stop")
    assert caught.value.details == {"command": "stop"}


@pytest.mark.parametrize("preset", ["production", "development", "read_only", "monitoring"])
def test_an_orchestrator_serves_what_its_preset_allows_and_nothing_else(serve: Serve, preset: str) -> None:
    """Each command there is; what was denied has not been done."""
    orchestrator = serve(registered=1, config={"allowed_commands": preset})
    assert orchestrator.ask("commands")["data"]["allowed_commands"] == sorted(PRESETS[preset])
    for command, args in COMMANDS.items():
        answer = orchestrator.ask(command, *args)
        if command in PRESETS[preset]:
            assert answer["status"] == "success", answer
        else:
            assert answer["error_code"] == "PERMISSION_DENIED"
            assert orchestrator.ask("status", "agent-00000")["data"]["started"] is False


def test_an_orchestrator_serves_what_its_allow_list_names(serve: Serve) -> None:
    """Also where `commands` is not on it."""
    orchestrator = serve(registered=1, config={"allowed_commands": ["start", "stop"]})
    assert orchestrator.ask("start", "agent-00000")["status"] == "success"
    assert orchestrator.ask("ps")["error_code"] == "PERMISSION_DENIED"
    assert orchestrator.ask("commands")["error_code"] == "PERMISSION_DENIED"
    assert orchestrator.ask("stop", "agent-00000")["status"] == "success"
