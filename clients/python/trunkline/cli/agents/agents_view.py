"""Answers about agents as text, in the words that scripts know from PyOrchestrate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from trunkline.cli.output import columns_of, safe
from trunkline.cli.times import span

Data = dict[str, Any]


def ps_lines(data: Data) -> list[str]:
    """Returns the table of `ps`."""
    lines = [f"Orchestrator Status: {data['running_count']}/{data['max_workers']} agents running"]
    if data["waiting_count"]:
        lines.append(f"Waiting in queue: {data['waiting_count']}")
    lines.append("")
    in_fleet = "orchestrators" in data
    if data["agents"]:
        titles = ["Name".ljust(20), "Status".ljust(8), "Started", "In Queue", "State"]
        rows = [
            _ps_row(agent) + ([str(agent.get("orchestrator") or "-")] if in_fleet else []) for agent in data["agents"]
        ]
        lines += columns_of(titles + ["Orchestrator"] * in_fleet, rows)
    else:
        lines.append("No agents registered")
    if in_fleet:
        lines += ["", *_orchestrator_lines(data["orchestrators"])]
    return lines


def _ps_row(agent: Data) -> list[str]:
    return [
        agent["agent_name"],
        "ALIVE" if agent["alive"] else "DEAD",
        _yes(agent["started"]),
        _yes(agent["in_queue"]),
        str(agent.get("state", "-")),
    ]


def _orchestrator_lines(found: Sequence[Data]) -> list[str]:
    titles = ("Orchestrator".ljust(20), "Status".ljust(8), "Running", "Waiting", "Host", "PID", "Last Heartbeat")
    rows = [
        (
            each["name"],
            "ALIVE" if each["alive"] else "DEAD",
            f"{each['running_count']}/{each['max_workers']}",
            str(each["waiting_count"]),
            str(each.get("host") or "-"),
            str(each.get("pid") or "-"),
            str(each.get("last_heartbeat") or "-"),
        )
        for each in found
    ]
    return columns_of(titles, rows) if rows else ["No orchestrators known"]


_LABELS = {
    "name": "Agent",
    "in_queue": "In Queue",
    "pid": "PID",
    "command_interface_enabled": "Command Interface",
    "command_socket_path": "Socket Path",
    "uptime_seconds": "Uptime",
}


def status_lines(data: Data) -> list[str]:
    """Returns the lines of `status`, a fact each, for an agent or an orchestrator. Unknown facts are left out; the
    facts of a fleet's orchestrators follow each other."""
    lines: list[str] = []
    for name, value in data.items():
        if name == "orchestrators":
            for each in value:
                lines += ["", *status_lines(each)]
        elif value is not None and value != []:
            lines.append(f"{_LABELS.get(name, name.replace('_', ' ').title())}: {safe(_shown(name, value))}")
    return lines


def _shown(name: str, value: Any) -> str:
    if name == "command_interface_enabled":
        return "Enabled" if value else "Disabled"
    if name == "uptime_seconds":
        return span(value)
    if name == "dependencies":
        return ", ".join(value)
    return str(value) if isinstance(value, str | bool) else json.dumps(value, ensure_ascii=False)


def dependency_lines(data: Data) -> list[str]:
    """Returns the lines of `dependencies`."""
    needed = {agent: names for agent, names in data["dependencies"].items() if names}
    if not needed:
        return ["No dependencies configured"]
    return ["Agent Dependencies:", *(safe(f"  {agent} -> {', '.join(names)}") for agent, names in needed.items())]


def command_lines(data: Data) -> list[str]:
    """Returns the lines of `commands`."""
    allowed, restricted = data["allowed_commands"], data["restricted_commands"]
    lines = ["Some commands are restricted" if restricted else "All commands are allowed", ""]
    lines += [f"Allowed commands ({len(allowed)}):", *(f"  {safe(name)}" for name in allowed)]
    if restricted:
        lines += ["", f"Restricted commands ({len(restricted)}):", *(f"  {safe(name)}" for name in restricted)]
    return lines


def figure(value: float | None) -> str:
    """Returns a measured figure with one decimal; `-` where it is unknown."""
    return "-" if value is None else f"{value:,.1f}"


def count(value: int | None) -> str:
    """Returns a whole number; `-` where it is unknown."""
    return "-" if value is None else f"{value:,}"


def duration(seconds: float | None) -> str:
    """Returns a time span; `-` where it is unknown."""
    return "-" if seconds is None else span(seconds)


def _yes(value: bool) -> str:
    return "YES" if value else "NO"
