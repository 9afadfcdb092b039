"""The report of an orchestrator, as Markdown that is readable as plain text; problems come first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from trunkline.cli.agents.agent_history import details_of
from trunkline.cli.agents.agents_view import duration, figure
from trunkline.cli.output import counted, safe
from trunkline.cli.times import span

Data = dict[str, Any]


def report_lines(data: Data) -> list[str]:
    """Returns the report of one orchestrator."""
    status, stats = data["orchestrator"], data["stats"]
    name = safe(str(status["orchestrator"]))
    return [
        f"# Orchestrator {name} on {safe(str(status['host']))}",
        "",
        f"{shown_time(data['time'])}, Trunkline {data['version']}, Python {data['python']}, {data['system']}",
        "",
        f"**{_verdict(data)}**",
        *_problems(data),
        *_recovered(data),
        *_waiting(data),
        *_facts(status, stats),
        *_agents(data),
        *_events(data),
    ]


def open_problems(data: Data) -> list[Data]:
    """Returns the problems that are not over."""
    return [problem for problem in data["problems"] if not problem["is_over"]]


def _verdict(data: Data) -> str:
    states = data["stats"]["states"]
    total = data["orchestrator"]["total_agents"]
    counts = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items(), key=lambda each: -each[1]))
    if not total:
        return "No agents are registered."
    bad = len(open_problems(data))
    if not bad:
        return f"Nothing is wrong with {'the agent' if total == 1 else f'the {total:,} agents'}: {counts}."
    needs = "needs" if bad == 1 else "need"
    return f"{bad:,} of {counted(total, 'agent')} {needs} attention: {counts}."


def _problems(data: Data) -> list[str]:
    lines: list[str] = []
    for problem in open_problems(data):
        lines += ["", f"### {inline(problem['agent'])}: {problem['state'].replace('_', ' ')}", ""]
        if problem["reason"]:
            lines.append(f"- {inline(problem['reason'])}")
        lines.append(f"- {counted(problem['errors'], 'error')}, {counted(problem['restarts'], 'restart')}")
        lines += _errors(problem)
    dropped = data["stats"].get("dropped_events")
    if dropped:
        lines += ["", f"{counted(dropped, 'event')} were dropped: callbacks are too slow for them."]
    return ["", "## What is wrong", *lines] if lines else []


def _errors(problem: Data) -> list[str]:
    """Returns the newest errors, each once with its last time; without the error that is the reason already."""
    errors = [each for each in problem["recent_errors"] if each["error"] != problem["reason"]]
    counts = Counter(each["error"] for each in errors)
    last = {each["error"]: each["time"] for each in errors}
    return [
        f"- {shown_time(last[error])} {inline(error)}" + (f" ({count} of the last errors)" if count > 1 else "")
        for error, count in reversed(counts.items())
    ]


def _recovered(data: Data) -> list[str]:
    over = [problem for problem in data["problems"] if problem["is_over"]]
    rows = [
        (each["agent"], each["state"], each["errors"], each["restarts"], _last_error(each["recent_errors"]))
        for each in over
    ]
    return section("Had errors, and goes on", ("agent", "state", "errors", "restarts", "last error"), rows)


def _last_error(errors: Sequence[Data]) -> str:
    return f"{shown_time(errors[-1]['time'])} {errors[-1]['error']}" if errors else "-"


def _waiting(data: Data) -> list[str]:
    needed = data["dependencies"]
    rows = [
        (each["name"], ", ".join(needed.get(each["name"], ())) or "-") for each in data["agents"] if each["in_queue"]
    ]
    return section("Waiting for their turn", ("agent", "needs"), rows)


def _facts(status: Data, stats: Data) -> list[str]:
    cpu, memory = stats.get("cpu_percent"), stats.get("memory_mb")
    facts = {
        "agents running": f"{status['running_agents']} of at most {status['max_workers']}",
        "agents waiting": status["waiting_agents"],
        "uptime": span(status["uptime_seconds"]),
        "process": f"{status['pid']}, CPU {figure(cpu)}%, {figure(memory)} MB, {stats.get('threads')} threads",
        "restarts": stats["restarts"],
        "errors": stats["errors"],
        "command socket": status["command_socket_path"],
        "bus": status["bus"],
        "state": status["state"],
    }
    return section(
        "The orchestrator", ("fact", "value"), [(name, "-" if v is None else v) for name, v in facts.items()]
    )


def _agents(data: Data) -> list[str]:
    columns = ("agent", "state", "kind", "pid", "uptime", "last heard", "CPU %", "MB", "restarts", "errors")
    rows = [
        (
            each["name"],
            each["state"],
            each["kind"],
            "-" if each["pid"] is None else str(each["pid"]),
            duration(each["uptime_seconds"]),
            duration(each["heartbeat_age_seconds"]),
            figure(each["cpu_percent"]),
            figure(each["memory_mb"]),
            each["restarts"],
            each["errors"],
        )
        for each in data["agents"]
    ]
    lines = section("Agents", columns, rows)
    if data["agents_not_listed"]:
        lines += ["", f"{counted(data['agents_not_listed'], 'agent')} more are not listed; `trunkline ps` lists all."]
    return lines


def _events(data: Data) -> list[str]:
    rows = [
        (each["seq"], shown_time(each["timestamp"]), each["type"], each["agent"] or "-", details_of(each) or "-")
        for each in data["recent_events"]
    ]
    return section("Last events", ("seq", "time", "type", "agent", "details"), rows)


def section(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Returns a heading and a Markdown table with aligned columns; nothing where there are no rows."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        return []
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        # The last column is as wide as its text: errors are long.
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        return f"| {' | '.join([*padded, row[-1]])} |"

    rule = line(["-" * width for width in widths[:-1]] + ["-" * len(columns[-1])])
    return ["", f"## {title}", "", line(columns), rule, *map(line, cells)]


def _cell(value: Any) -> str:
    return inline(f"{value:,}" if isinstance(value, int) else str(value)).replace("|", "\\|")


def inline(text: str) -> str:
    """Returns a text on one line, escaped so that Markdown sees no HTML and no link in it."""
    return safe(" ".join(text.split())).replace("<", "\\<").replace("[", "\\[")


def shown_time(text: str) -> str:
    """Returns an ISO 8601 time in UTC, to the second."""
    return f"{text[:19].replace('T', ' ')} UTC"
