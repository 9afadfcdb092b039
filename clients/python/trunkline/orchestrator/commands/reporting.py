"""Reporting: answers questions about an orchestrator and its agents."""

from __future__ import annotations

import json
import os
import platform
import socket
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from trunkline import __version__
from trunkline.orchestrator.commands.audit import Caller
from trunkline.orchestrator.commands.problems import problem_of, urgency
from trunkline.orchestrator.commands.resources import Resources
from trunkline.orchestrator.config import OrchestratorConfig
from trunkline.orchestrator.errors import CommandError
from trunkline.orchestrator.events.event_log import EventLog
from trunkline.orchestrator.events.history import EventRecord
from trunkline.orchestrator.limits import (
    MAX_AGENTS_REPORTED,
    MAX_AUDITED_LENGTH,
    MAX_DETAIL_LENGTH,
    MAX_ERROR_REPORTED,
    MAX_RESULT_LENGTH,
)
from trunkline.orchestrator.registry.dependencies import DependencyGraph
from trunkline.orchestrator.registry.entry import AgentEntry
from trunkline.orchestrator.registry.registry import AgentRegistry
from trunkline.orchestrator.supervision.supervisor import Supervisor

RECENT_EVENTS: Final = 20
"""Events at the end of a report."""


class Reporting:
    """Answers from the state that the supervisor keeps. Any thread may call.

    Args:
        name: the orchestrator's.
        config: its configuration.
        registry: its agents.
        graph: their dependencies.
        event_log: its events.
        supervisor: has the counts of agents that run and wait.
    """

    def __init__(
        self,
        name: str,
        config: OrchestratorConfig,
        registry: AgentRegistry,
        graph: DependencyGraph,
        event_log: EventLog,
        supervisor: Supervisor,
    ) -> None:
        self._name = name
        self._config = config
        self._registry = registry
        self._graph = graph
        self._history = event_log.history
        self._events = event_log.events
        self._supervisor = supervisor
        self._resources = Resources()
        self._began = time.monotonic()
        self._began_at = datetime.now(UTC).isoformat()

    @property
    def uptime(self) -> float:
        """Seconds since the orchestrator was made."""
        return time.monotonic() - self._began

    def ps(self, page_size: int | None = None, page_token: str = "") -> dict[str, Any]:
        """Returns the agents in the order of their registration; with `page_size`, a page of them."""
        shown, rest = _page(self._registry.agents, page_size, page_token)
        return {
            "agents": [_row(entry) for entry in shown],
            "running_count": self._supervisor.running_count,
            "max_workers": self._config.max_workers,
            "waiting_count": self._supervisor.waiting_count,
            **rest,
        }

    def agent_status(self, name: str) -> dict[str, Any]:
        """Returns all facts about one agent."""
        entry = self._registry.get_agent(name)
        return {**entry.status(), **_result(entry), "dependencies": list(self._graph.of(name))}

    def status(self) -> dict[str, Any]:
        """Returns facts about the orchestrator. There is no `name` among them: older clients take an answer with one
        for an agent's status."""
        config = self._config
        return {
            "orchestrator": self._name,
            "total_agents": len(self._registry),
            "running_agents": self._supervisor.running_count,
            "max_workers": config.max_workers,
            "waiting_agents": self._supervisor.waiting_count,
            "command_interface_enabled": config.enable_command_interface,
            "command_socket_path": config.command_socket_path if config.enable_command_interface else None,
            "bus": config.bus_address,
            "state": config.state_address,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "uptime_seconds": round(self.uptime, 3),
            "version": __version__,
        }

    def dependencies(self) -> dict[str, Any]:
        """Returns the dependencies of each agent that has some."""
        return {"dependencies": {agent: list(names) for agent, names in self._graph.dependencies.items() if names}}

    def history(
        self,
        last: int | None = None,
        agent: str | None = None,
        type: str | None = None,
        after_seq: int = 0,
        first: int | None = None,
    ) -> dict[str, Any]:
        """Returns the events that match, the oldest first: all, or the `last` or the `first` of them. Where `began_at`
        is another than in an answer before, the orchestrator and its `seq` have begun anew."""
        store = self._history
        last_seq = store.last_seq  # read before the query, so that the next question after it misses no event
        found = store.query(last=last, agent=agent, type=type, after_seq=after_seq)[:first]
        filters = {"last": last, "first": first, "agent": agent, "type": type, "after_seq": after_seq or None}
        return {
            "events": [_event(event) for event in found],
            "count": len(found),
            "filters": {name: value for name, value in filters.items() if value is not None},
            "last_seq": last_seq,
            "began_at": self._began_at,
            "capacity_info": {"current_size": len(store), "capacity": store.capacity},
        }

    def history_stats(self, agent: str | None = None) -> dict[str, Any]:
        """Returns the number of events of each type in the history."""
        store = self._history
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
        """Returns figures of the orchestrator, and of each agent that was started; with `page_size`, a page of
        these."""
        agents = self._registry.agents
        self._resources.keep([os.getpid(), *(pid for entry in agents if (pid := entry.pid) is not None)])
        shown, rest = _page([entry for entry in agents if entry.has_started], page_size, page_token)
        now = datetime.now(UTC)
        return {
            "timestamp": _now(),
            "orchestrator": {
                "name": self._name,
                "running_agents": self._supervisor.running_count,
                "max_workers": self._config.max_workers,
                "waiting_agents": self._supervisor.waiting_count,
                "total_agents": len(agents),
                "states": dict(Counter(entry.state for entry in agents)),
                "restarts": sum(entry.restarts.count for entry in agents),
                "errors": sum(entry.error_count for entry in agents),
                "dropped_events": self._events.dropped,
                "uptime_seconds": round(self.uptime, 3),
                **self._resources.of(os.getpid()),
            },
            "agents": [self._figures(entry, now) for entry in shown],
            **rest,
        }

    def report(self) -> dict[str, Any]:
        """Returns a report for a reader elsewhere; agents with problems come first."""
        agents = sorted(self._registry.agents, key=urgency)
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
            "dependencies": {entry.name: needed for entry in shown if (needed := list(self._graph.of(entry.name)))},
            "recent_events": [_event(event, MAX_ERROR_REPORTED) for event in self._history.query(last=RECENT_EVENTS)],
        }

    def record_command(self, caller: Caller, command: str, agent: str | None, failure: str | None) -> None:
        """Adds a command that changes something, or its failure, to the history."""
        event = "COMMAND_EXECUTED" if failure is None else "COMMAND_FAILED"
        facts: dict[str, Any] = {"command": command, "via": caller.via, "sender": caller.sender[:MAX_AUDITED_LENGTH]}
        if caller.peer is not None:
            facts |= {"uid": caller.peer.uid, "pid": caller.peer.pid}
        if failure is not None:
            facts["error_message"] = failure
        self._history.add("COMMAND", event, agent, "INFO" if failure is None else "WARNING", **facts)

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
    """Returns a page, and `next_page_token` where there are more: the name of the next page's first agent."""
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
    """Returns the result of the present or last life, or its length where it is too large for an answer."""
    result = None if entry.life is None else entry.life.result
    length = len(json.dumps(result))
    return {"result": result} if length <= MAX_RESULT_LENGTH else {"result": None, "result_length": length}


def _event(event: EventRecord, limit: int = MAX_DETAIL_LENGTH) -> dict[str, Any]:
    """Returns an event. Long texts in its details are cut; other long values are replaced by their lengths."""
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
    """Returns a duration as older clients show it: `1h 2m 3s`."""
    hours, rest = divmod(max(0, int(seconds)), 3600)
    parts = (f"{hours}h" if hours else "", f"{rest // 60}m" if hours or rest >= 60 else "", f"{rest % 60}s")
    return " ".join(part for part in parts if part)
