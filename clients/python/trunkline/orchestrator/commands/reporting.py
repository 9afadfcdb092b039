"""Reporting: what an orchestrator says of itself when it is asked."""

from __future__ import annotations

import json
import os
import platform
import socket
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from trunkline import __version__
from trunkline.orchestrator.commands.audit import Asker
from trunkline.orchestrator.commands.problems import problem_of, urgency
from trunkline.orchestrator.commands.resources import Resources
from trunkline.orchestrator.errors import CommandError
from trunkline.orchestrator.events.history import EventRecord
from trunkline.orchestrator.limits import (
    MAX_AGENTS_REPORTED,
    MAX_AUDITED_LENGTH,
    MAX_DETAIL_LENGTH,
    MAX_ERROR_REPORTED,
    MAX_RESULT_LENGTH,
)
from trunkline.orchestrator.registry.registry import AgentEntry

if TYPE_CHECKING:
    from trunkline.orchestrator.orchestrator import Orchestrator

RECENT_EVENTS: Final = 20
"""Events at the end of a report."""


class Reporting:
    """Reads what the supervisor writes; any thread may ask."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._of = orchestrator
        self._resources = Resources()

    def ps(self, page_size: int | None = None, page_token: str = "") -> dict[str, Any]:
        """The agents, in the order of their registration; a page of them, where a size is given."""
        shown, rest = _page(self._of.memory.agents, page_size, page_token)
        return {
            "agents": [_row(entry) for entry in shown],
            "running_count": self._of.supervisor.running_count,
            "max_workers": self._of.config.max_workers,
            "waiting_count": self._of.supervisor.waiting_count,
            **rest,
        }

    def agent_status(self, name: str) -> dict[str, Any]:
        """Everything of one agent."""
        entry = self._of.memory.get_agent(name)
        return {**entry.status(), **_result(entry), "dependencies": list(self._of.graph.of(name))}

    def status(self) -> dict[str, Any]:
        """The orchestrator itself. It has no `name`: by that, older clients tell an agent's status."""
        config = self._of.config
        return {
            "orchestrator": self._of.name,
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
            "uptime_seconds": round(self._of.uptime, 3),
            "version": __version__,
        }

    def dependencies(self) -> dict[str, Any]:
        """Who needs whom."""
        return {"dependencies": {agent: list(names) for agent, names in self._of.graph.dependencies.items() if names}}

    def history(
        self,
        last: int | None = None,
        agent: str | None = None,
        type: str | None = None,
        after_seq: int = 0,
        first: int | None = None,
    ) -> dict[str, Any]:
        """Events that match, the oldest first: all, or the `last` or the `first` of them."""
        store = self._of.event_store
        last_seq = store.last_seq  # before: who asks again for what is behind it misses nothing
        found = store.query(last=last, agent=agent, type=type, after_seq=after_seq)[:first]
        filters = {"last": last, "first": first, "agent": agent, "type": type, "after_seq": after_seq or None}
        return {
            "events": [_told(event) for event in found],
            "count": len(found),
            "filters": {name: value for name, value in filters.items() if value is not None},
            "last_seq": last_seq,
            "capacity_info": {"current_size": len(store), "capacity": store.capacity},
        }

    def history_stats(self, agent: str | None = None) -> dict[str, Any]:
        """How often which event happened, as far as the history reaches back."""
        store = self._of.event_store
        events = store.query(agent=agent)
        return {
            "statistics": {"by_type": dict(Counter(event.type for event in events).most_common())},
            "capacity_info": {
                "current_size": len(store),
                "capacity": store.capacity,
                "total_events": store.last_seq,
            },
            "agent_filter": agent,
            "timestamp": _now(),
        }

    def stats(self, page_size: int | None = None, page_token: str = "") -> dict[str, Any]:
        """Figures that change: of the orchestrator, and of each agent that was started, or a page of these."""
        agents = self._of.memory.agents
        self._resources.keep([os.getpid(), *(pid for entry in agents if (pid := entry.pid) is not None)])
        shown, rest = _page([entry for entry in agents if entry.has_started], page_size, page_token)
        now = datetime.now(UTC)
        return {
            "timestamp": _now(),
            "orchestrator": {
                "name": self._of.name,
                "running_agents": self._of.supervisor.running_count,
                "max_workers": self._of.config.max_workers,
                "waiting_agents": self._of.supervisor.waiting_count,
                "total_agents": len(agents),
                "states": dict(Counter(entry.state for entry in agents)),
                "restarts": sum(entry.restarts.count for entry in agents),
                "errors": sum(entry.error_count for entry in agents),
                "dropped_events": self._of.event_manager.dropped,
                "uptime_seconds": round(self._of.uptime, 3),
                **self._resources.of(os.getpid()),
            },
            "agents": [self._figures(entry, now) for entry in shown],
            **rest,
        }

    def report(self) -> dict[str, Any]:
        """All that somebody elsewhere needs in order to understand how it fares; who has problems comes first."""
        agents = sorted(self._of.memory.agents, key=urgency)
        shown = agents[:MAX_AGENTS_REPORTED]
        now = datetime.now(UTC)
        return {
            "time": _now(),
            "version": __version__,
            "python": platform.python_version(),
            "system": platform.platform(),
            "orchestrator": self.status(),
            "stats": self.stats(page_size=1)["orchestrator"],
            "problems": [problem for entry in shown if (problem := problem_of(entry)) is not None],
            "agents": [{**_row(entry), **self._figures(entry, now)} for entry in shown],
            "agents_not_listed": len(agents) - len(shown),
            "dependencies": {entry.name: needed for entry in shown if (needed := list(self._of.graph.of(entry.name)))},
            "recent_events": [
                _told(event, MAX_ERROR_REPORTED) for event in self._of.event_store.query(last=RECENT_EVENTS)
            ],
        }

    def commanded(self, asker: Asker, command: str, agent: str | None, failure: str | None) -> None:
        """The history tells who had something changed."""
        event = "COMMAND_EXECUTED" if failure is None else "COMMAND_FAILED"
        facts: dict[str, Any] = {"command": command, "via": asker.via, "sender": asker.sender[:MAX_AUDITED_LENGTH]}
        if asker.peer is not None:
            facts |= {"uid": asker.peer.uid, "pid": asker.peer.pid}
        if failure is not None:
            facts["error_message"] = failure
        self._of.event_store.add("COMMAND", event, agent, "INFO" if failure is None else "WARNING", **facts)

    def _figures(self, entry: AgentEntry, now: datetime) -> dict[str, Any]:
        life = entry.life
        alive = entry.is_alive()
        uptime = None if life is None else ((life.ended_at or now) - life.started_at).total_seconds()
        return {
            "name": entry.name,
            "state": entry.state,
            "kind": entry.kind,
            "alive": alive,
            "pid": entry.pid,
            "uptime": "N/A" if uptime is None else _span(uptime),
            "uptime_seconds": None if uptime is None else round(uptime, 3),
            "heartbeat_age_seconds": round(time.monotonic() - life.last_seen, 3)
            if life is not None and alive
            else None,
            "restarts": entry.restarts.count,
            "errors": entry.error_count,
            **self._resources.of(entry.pid),
        }


def _page(entries: Sequence[AgentEntry], size: int | None, token: str) -> tuple[Sequence[AgentEntry], dict[str, str]]:
    """A page, and what says where the next one begins: the name of its first agent."""
    first = 0
    if token:
        found = next((place for place, entry in enumerate(entries) if entry.name == token), None)
        if found is None:
            raise CommandError(f"page token {token[:80]!r} is none that was given out here; begin anew without it")
        first = found
    if size is None or first + size >= len(entries):
        return entries[first:], {}
    return entries[first : first + size], {"next_page_token": entries[first + size].name}


def _row(entry: AgentEntry) -> dict[str, Any]:
    return {
        "agent_name": entry.name,
        "alive": entry.is_alive(),
        "started": entry.has_started,
        "in_queue": entry.in_queue,
        "state": entry.state,
    }


def _result(entry: AgentEntry) -> dict[str, Any]:
    """The result of the present or last life, or its length where it is too large for an answer."""
    result = None if entry.life is None else entry.life.result
    length = len(json.dumps(result))
    return {"result": result} if length <= MAX_RESULT_LENGTH else {"result": None, "result_length": length}


def _told(event: EventRecord, limit: int = MAX_DETAIL_LENGTH) -> dict[str, Any]:
    """An event, with what is long in its details cut, or where it is no text told by its length."""
    details: dict[str, Any] = {}
    for name, value in event.details.items():
        if isinstance(value, str):
            details[name] = value[:limit]
        elif (length := len(json.dumps(value))) > limit:
            details |= {name: None, f"{name}_length": length}
        else:
            details[name] = value
    return {**event.to_dict(), "details": details}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _span(seconds: float) -> str:
    """As older clients show it: `1h 2m 3s`."""
    hours, rest = divmod(max(0, int(seconds)), 3600)
    parts = (f"{hours}h" if hours else "", f"{rest // 60}m" if hours or rest >= 60 else "", f"{rest % 60}s")
    return " ".join(part for part in parts if part)
