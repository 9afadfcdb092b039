"""OrchestratorConfig: the configuration of an orchestrator."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from trunkline.addresses import check_target
from trunkline.agents import ComponentConfig, ValidationResult, ValidationSeverity
from trunkline.errors import InvalidAddressError
from trunkline.limits import MAX_LEASE_TTL, MIN_TTL
from trunkline.message_channel import DEFAULT_SOCKET_PATH
from trunkline.orchestrator.errors import CommandError
from trunkline.orchestrator.limits import EVENT_WORKERS, HISTORY_CAPACITY
from trunkline.orchestrator.permissions import Permissions


class RunMode(Enum):
    """What `Orchestrator.join` waits for."""

    STOP_ON_EMPTY = "stop_on_empty"
    """`join` returns when no agent runs or waits to run."""
    DAEMON = "daemon"
    """`join` returns after the shutdown; agents are started and stopped meanwhile."""


class OrchestratorConfig(ComponentConfig):
    """The configuration of an orchestrator. Times are seconds.

    Attributes:
        max_workers: agents that run at a time; the others wait in their order.
        run_mode: what `join` waits for.
        check_interval: accepted for older programs, and without effect: nothing is polled.
        enable_command_interface: serves commands on a UNIX socket.
        command_socket_path: path of that socket.
        allowed_commands: commands that are served, on the socket and over the bus: the name of a preset (production,
            development, read_only, monitoring) or the commands themselves. None: all.
        allowed_uids: users that may connect to the socket. None: the own one and root.
        audit_log_path: file that gets a line for each command and denial (mode 0600). None: only the log has them.
        history_capacity: events that `history` keeps.
        event_workers: callbacks that run at a time.
        bus_address: a bus. Commands are served over it too, and agents reach each other across orchestrators.
        state_address: a state store, which keeps the agents' states, heartbeats and results.
        heartbeat_interval: time from one writing of the agents' heartbeats to the state store to the next.
        heartbeat_timeout: TTL of the orchestrator's lease: silence after which it counts as dead for the others of the
            fleet; 0.1 to 86,400.
    """

    max_workers: int = 5
    run_mode: RunMode = RunMode.STOP_ON_EMPTY
    check_interval: float = 1.0
    enable_command_interface: bool = False
    command_socket_path: str = DEFAULT_SOCKET_PATH
    allowed_commands: str | Iterable[str] | None = None
    allowed_uids: Iterable[int] | None = None
    audit_log_path: str | None = None
    history_capacity: int = HISTORY_CAPACITY
    event_workers: int = EVENT_WORKERS
    bus_address: str | None = None
    state_address: str | None = None
    heartbeat_interval: float = 1.0
    heartbeat_timeout: float = 5.0

    def validate(self) -> list[ValidationResult]:
        found = super().validate()
        for name in ("max_workers", "history_capacity", "event_workers"):
            found += self._require(name, 1)
        for name in ("check_interval", "heartbeat_interval"):
            found += self._require(name, 0, above=True)
        found += self._require("heartbeat_timeout", self.heartbeat_interval, above=True)
        if not found and not MIN_TTL <= self.heartbeat_timeout <= MAX_LEASE_TTL:
            bounds = f"{MIN_TTL:g} to {MAX_LEASE_TTL:,.0f}"
            found.append(ValidationResult("heartbeat_timeout", f"is {self.heartbeat_timeout!r}, it must be {bounds}"))
        for name in ("bus_address", "state_address"):
            if (address := getattr(self, name)) is not None:
                found += _address(name, address)
        try:
            Permissions.of(self.allowed_commands)
        except CommandError as error:
            found.append(ValidationResult("allowed_commands", error.message, ValidationSeverity.CRITICAL))
        return found


def _address(name: str, address: str) -> list[ValidationResult]:
    try:
        check_target(address)
    except (InvalidAddressError, TypeError) as error:
        return [ValidationResult(name, f"is wrong: {error}", ValidationSeverity.CRITICAL)]
    return []
