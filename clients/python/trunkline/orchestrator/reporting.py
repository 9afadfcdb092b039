"""Reporting: what an orchestrator says of itself when it is asked."""

from __future__ import annotations

import os
import platform
import socket
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trunkline import __version__
from trunkline.orchestrator.memory import AgentEntry
from trunkline.orchestrator.resources import Resources

if TYPE_CHECKING:
    from trunkline.orchestrator.orchestrator import Orchestrator

RECENT_EVENTS = 20
"""Events at the end of a report."""


class Reporting:
    """Reads what the supervisor writes; any thread may ask."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._of = orchestrator
        self._resources = Resources()

    def ps(self, page_size: int | None = None, page_token: str = "") -> dict[str, Any]:
        """The agents, in the order of their registration; a page of them, where a size is given."""
        names = self._of.memory.names()
        first = names.index(page_token) if page_token in names else 0
        rest = names[first:]
        shown = rest if page_size is None else rest[:page_size]
        data: dict[str, Any] = {
            "agents": [_row(self._of.memory.get_agent(name)) for name in shown],
            "running_count": self._of.supervisor.running_count,
            "max_workers": self._of.config.max_workers,
            "waiting_count": self._of.supervisor.waiting_count,
        }
        if len(shown) < len(rest):
            data["next_page_token"] = rest[len(shown)]
        return data

    def agent_status(self, name: str) -> dict[str, Any]:
        """Everything of one agent."""
        return {**self._of.memory.get_agent(name).status(), "dependencies": list(self._of.graph.of(name))}

    def status(self) -> dict[str, Any]:
        """The orchestrator itself."""
        config = self._of.config
        return {
            "name": self._of.name,
            "total_agents": len(self._of.memory),
            "running_agents": self._of.supervisor.running_count,
            "max_workers": config.max_workers,
            "waiting_agents": self._of.supervisor.waiting_count,
            "command_interface_enabled": config.enable_command_interface,
            "command_socket_path": config.command_socket_path if config.enable_command_interface else None,
            "bus": config.bus_address,
            "state": config.state_address,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "uptime_seconds": self._of.uptime,
        }

    def dependencies(self) -> dict[str, Any]:
        """Who needs whom."""
        return {"dependencies": {agent: list(names) for agent, names in self._of.graph.dependencies.items() if names}}

    def history(
        self, last: int | None = None, agent: str | None = None, type: str | None = None, after_seq: int = 0
    ) -> dict[str, Any]:
        """Events, the oldest first."""
        store = self._of.event_store
        events = [event.to_dict() for event in store.query(last=last, agent=agent, type=type, after_seq=after_seq)]
        filters = {"last": last, "agent": agent, "type": type, "after_seq": after_seq or None}
        return {
            "events": events,
            "count": len(events),
            "filters": {name: value for name, value in filters.items() if value is not None},
            "capacity_info": {"current_size": len(store), "capacity": store.capacity},
        }

    def stats(self) -> dict[str, Any]:
        """Figures that change: of the orchestrator, and of each agent that was started."""
        agents = self._of.memory.agents
        now = datetime.now(UTC)
        own = self._resources.of(os.getpid())
        return {
            "name": self._of.name,
            "time": now.isoformat(timespec="milliseconds"),
            "uptime_seconds": self._of.uptime,
            "agents": [self._figures(entry, now) for entry in agents if entry.has_started],
            "states": dict(Counter(_state(entry) for entry in agents)),
            "running_count": self._of.supervisor.running_count,
            "max_workers": self._of.config.max_workers,
            "waiting_count": self._of.supervisor.waiting_count,
            "restarts": sum(entry.restarts.count for entry in agents),
            "errors": sum(entry.error_count for entry in agents),
            "dropped_events": self._of.event_manager.dropped,
            **own,
        }

    def report(self) -> dict[str, Any]:
        """All that somebody elsewhere needs in order to understand how it fares."""
        troubled = [entry for entry in self._of.memory.agents if entry.errors]
        return {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": __version__,
            "python": platform.python_version(),
            "system": platform.platform(),
            "orchestrator": self.status(),
            "stats": {name: value for name, value in self.stats().items() if name != "agents"},
            "agents": [self.agent_status(entry.name) for entry in self._of.memory.agents],
            "problems": [
                {"agent": entry.name, "time": at.isoformat(timespec="milliseconds"), "error": message}
                for entry in troubled
                for at, message in entry.errors
            ],
            "recent_events": self.history(last=RECENT_EVENTS)["events"],
        }

    def _figures(self, entry: AgentEntry, now: datetime) -> dict[str, Any]:
        life = entry.life
        end = None if life is None else life.ended_at or now
        return {
            "name": entry.name,
            "state": _state(entry),
            "kind": entry.kind,
            "alive": entry.is_alive(),
            "pid": entry.pid,
            "uptime_seconds": None if life is None or end is None else (end - life.started_at).total_seconds(),
            "heartbeat_age_seconds": time.monotonic() - life.last_seen
            if life is not None and entry.is_alive()
            else None,
            "restarts": entry.restarts.count,
            "errors": entry.error_count,
            **self._resources.of(entry.pid),
        }


def _state(entry: AgentEntry) -> str:
    return "hung" if entry.is_hung else entry.stage.value


def _row(entry: AgentEntry) -> dict[str, Any]:
    return {
        "agent_name": entry.name,
        "alive": entry.is_alive(),
        "started": entry.has_started,
        "in_queue": entry.in_queue,
        "state": _state(entry),
    }
