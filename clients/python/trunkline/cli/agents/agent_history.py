"""`trunkline history` and `trunkline history-stats`: events of agents."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import click

from trunkline.cli.agents.orchestrator_socket import THE_ONE
from trunkline.cli.agents.orchestrators import (
    Data,
    Orchestrators,
    again_and_again,
    names_fleet,
    one_orchestrator,
    orchestrators,
    show,
)
from trunkline.cli.exit_codes import run
from trunkline.cli.output import columns_of, note_back, note_lost, print_json, safe, write_line
from trunkline.cli.settings import Settings, settings, with_orchestrator
from trunkline.errors import TrunklineError

FOLLOWED_AT_FIRST = 10
"""Events that --follow begins with, where --last is not given."""

_SEVERITY_COLOURS = {"WARNING": "yellow", "ERROR": "red"}
_TITLES = ("SEQ".ljust(6), "TIME".ljust(19), "CATEGORY", "TYPE".ljust(20), "AGENT".ljust(15), "SEV".ljust(7), "DETAILS")


@click.command()
@click.option("--last", type=click.IntRange(1, 10_000), metavar="N", help="The last N events that match; default all.")
@click.option("--agent", metavar="NAME", help="Only those of this agent.")
@click.option("--type", metavar="TYPE", help="Only those of this type, such as AGENT_ERROR.")
@click.option("--after-seq", type=click.IntRange(0), default=0, metavar="SEQ", help="Only those after this one.")
@click.option("--follow", "-f", is_flag=True, help=f"Begin with the last {FOLLOWED_AT_FIRST}, and go on with new ones.")
@click.option("--interval", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True, help="With --follow.")
@with_orchestrator
def history(
    last: int | None, agent: str | None, type: str | None, after_seq: int, follow: bool, interval: float
) -> None:
    """Shows what happened, the oldest first, as far as the orchestrator remembers.

    With --follow, new events as they come, until interrupted: a line each, with --format json an object each. An
    orchestrator that goes away is told on standard error, and followed again when it is back.
    """
    chosen = settings()
    if names_fleet(chosen) and after_seq:
        raise click.UsageError("--after-seq asks one orchestrator: those of a fleet count each for itself")
    if follow:
        if last is None and not after_seq:
            last = FOLLOWED_AT_FIRST
        run(_follow(chosen, _Following(last, agent, type, after_seq), interval), chosen)
    after = {THE_ONE: after_seq}
    show(
        chosen,
        orchestrators(chosen),
        lambda client: client.history(last=last, agent=agent, type=type, after=after),
        history_lines,
    )


@click.command("history-stats")
@click.option("--agent", metavar="NAME", help="Only the events of this agent.")
@with_orchestrator
def history_stats(agent: str | None) -> None:
    """Shows how often which event happened, as far as the orchestrator remembers."""
    chosen = settings()
    show(
        chosen,
        one_orchestrator(chosen, "history-stats"),
        lambda client: client.history_stats(agent),
        _history_stats_lines,
    )


def _history_stats_lines(data: Data) -> list[str]:
    room = data["capacity_info"]
    lines = [f"Buffer: {room['current_size']}/{room['capacity']} events", f"Total Events: {room['total_events']}"]
    rows = [(name, str(count)) for name, count in data["statistics"]["by_type"].items()]
    return [*lines, "", *columns_of(("Event Type".ljust(25), "Count"), rows)] if rows else lines


def history_lines(data: Data) -> list[str]:
    """Returns the table of `history`."""
    events, room = data["events"], data.get("capacity_info")
    lines = [f"Event History ({data['count']} events)"]
    if data.get("filters"):
        lines.append(safe("Filters: " + ", ".join(f"{name}={value}" for name, value in data["filters"].items())))
    if room:
        lines.append(f"Buffer: {room['current_size']}/{room['capacity']} events")
    lines.append("")
    if not events:
        return [*lines, "No events found"]
    in_fleet = any(event.get("orchestrator") for event in events)
    titles = _TITLES if not in_fleet else (*_TITLES[:5], "ORCHESTRATOR", *_TITLES[5:])
    return [*lines, *columns_of(titles, [_row(event, in_fleet) for event in events])]


def _row(event: Data, in_fleet: bool) -> list[str]:
    row = [str(event["seq"]), _short_time(event), event["category"], event["type"], event.get("agent") or "-"]
    return [*row, *([event.get("orchestrator") or "-"] if in_fleet else []), event["severity"], details_of(event)]


def _short_time(event: Data) -> str:
    """Returns the time of an event to the second, in UTC."""
    return str(event["timestamp"])[:19]


def details_of(event: Data) -> str:
    """Returns the details of an event: the text of an error, then the others by name."""
    details: dict[str, Any] = event.get("details") or {}
    error = details.get("error_message")
    others = [f"{name}={value}" for name, value in details.items() if name != "error_message"]
    return ", ".join(([str(error)] if error is not None else []) + others)


class _Following:
    """Asks for new events: of each orchestrator, those after the last one that was seen of it."""

    def __init__(self, last: int | None, agent: str | None, type: str | None, after_seq: int) -> None:
        self._filters: Any = {"agent": agent, "type": type}
        self._last = last
        self._seen = {THE_ONE: after_seq} if after_seq else {}
        self._began: dict[str, Any] = {}
        self.is_lost = False

    async def ask(self, client: Orchestrators) -> list[Data]:
        """Returns the events since the previous call; at first the last ones."""
        data = await client.history(last=self._last, after=self._seen, **self._filters)
        began = _by_orchestrator(data.get("began_at", {}))  # older orchestrators do not say it
        begun_anew = {name for name, seq in _newest(data).items() if seq < self._seen.get(name, 0)}
        begun_anew |= {name for name, time in began.items() if time != self._began.get(name, time)}
        self._began |= began
        if begun_anew:
            self._seen = {name: seq for name, seq in self._seen.items() if name not in begun_anew}
            data = await client.history(after=self._seen, **self._filters)
        self._last = None
        shown = {event.get("orchestrator", THE_ONE): event["seq"] for event in data["events"]}
        self._seen |= _newest(data) | shown
        return list(data["events"])


def _newest(data: Data) -> dict[str, int]:
    """Returns the newest sequence of each orchestrator, with and without a match of the filters."""
    return _by_orchestrator(data["last_seq"])


def _by_orchestrator(said: Any) -> dict[str, Any]:
    """Returns what one orchestrator says, or several by their names, by name."""
    return dict(said) if isinstance(said, dict) else {THE_ONE: said}


async def _follow(chosen: Settings, following: _Following, interval: float) -> None:
    def lost(error: TrunklineError) -> None:
        if not following.is_lost:
            note_lost(error, as_json=chosen.as_json)
        following.is_lost = True

    async with aclosing(again_and_again(chosen, following.ask, interval, lost)) as answers:  # type: ignore[type-var]
        async for events in answers:
            if following.is_lost:
                note_back(as_json=chosen.as_json)
            following.is_lost = False
            for event in events:
                _print_event(chosen, event)


def _print_event(chosen: Settings, event: Data) -> None:
    if chosen.as_json:
        print_json(event)
        return
    severity = click.style(f"{event['severity']:<7}", fg=_SEVERITY_COLOURS.get(event["severity"]))
    parts = [f"{event['seq']:>6}", _short_time(event), severity, safe(f"{event['type']:<20}")]
    parts += [safe(part) for part in (event.get("orchestrator"), event.get("agent"), details_of(event)) if part]
    write_line("  ".join(parts))
