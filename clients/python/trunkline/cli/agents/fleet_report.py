"""The report of a fleet: a summary, then each orchestrator, those with problems first."""

from __future__ import annotations

from typing import Any

from trunkline.cli.agents.report_view import open_problems, report_lines, section, shown_time
from trunkline.cli.output import counted

Data = dict[str, Any]


def fleet_report_lines(data: Data) -> list[str]:
    """Returns the report of a fleet."""
    fleet, reports = data["fleet"], data["reports"]
    gone = [each for each in fleet["orchestrators"] if not each["alive"]]
    lost = [each for each in fleet["agents"] if each["state"] == "lost"]
    lines = [
        f"# Fleet of {counted(len(fleet['orchestrators']), 'orchestrator')}",
        "",
        shown_time(data["time"]),
        "",
        f"**{_verdict(data, len(gone), len(lost))}**",
        *section(
            "Orchestrators that are not heard of",
            ("orchestrator", "host", "pid", "last heard"),
            [(each["name"], each["host"] or "-", str(each["pid"] or "-"), _last_heartbeat(each)) for each in gone],
        ),
        *section("Orchestrators that did not answer", ("orchestrator", "why"), [*data["silent"].items()]),
        *section("Agents that are lost", ("agent", "orchestrator"), [_lost(each) for each in lost]),
        *section(
            "Orchestrators",
            ("orchestrator", "running", "waiting", "host", "pid", "problems"),
            [_row(each, reports) for each in fleet["orchestrators"] if each["alive"]],
        ),
    ]
    for report in sorted(reports, key=lambda each: -len(open_problems(each))):
        lines += ["", "---", "", *report_lines(report)]
    return lines


def _verdict(data: Data, gone: int, lost: int) -> str:
    bad = sum(len(open_problems(report)) for report in data["reports"])
    found = [
        f"{counted(gone, 'orchestrator')} not heard of" if gone else "",
        f"{counted(len(data['silent']), 'orchestrator')} without an answer" if data["silent"] else "",
        f"{counted(lost, 'agent')} lost" if lost else "",
        f"{counted(bad, 'agent')} in need of attention" if bad else "",
    ]
    parts = [each for each in found if each]
    agents = counted(len(data["fleet"]["agents"]), "agent")
    return f"{agents}: {', '.join(parts)}." if parts else f"{agents}: nothing is wrong."


def _row(each: Data, reports: list[Data]) -> tuple[Any, ...]:
    own = next((report for report in reports if report["orchestrator"]["orchestrator"] == each["name"]), None)
    problems = "-" if own is None else len(open_problems(own))
    running = f"{each['running_count']}/{each['max_workers']}"
    return each["name"], running, each["waiting_count"], each["host"] or "-", str(each["pid"] or "-"), problems


def _lost(agent: Data) -> tuple[str, str]:
    return agent["agent_name"], agent["orchestrator"]


def _last_heartbeat(each: Data) -> str:
    return shown_time(each["last_heartbeat"]) if each["last_heartbeat"] else "never"
