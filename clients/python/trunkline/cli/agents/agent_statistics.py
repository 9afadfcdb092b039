"""`trunkline stats`: resources and states of agents, redrawn live."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from trunkline.cli.agents.agents_view import count, duration, figure
from trunkline.cli.agents.command_connection import OrchestratorUnreachableError
from trunkline.cli.agents.orchestrators import Data, again_and_again, names_fleet, orchestrators, print_data
from trunkline.cli.exit_codes import run
from trunkline.cli.output import Marked, make_table, print_table, safe, write_line
from trunkline.cli.settings import Settings, settings, with_orchestrator
from trunkline.cli.times import span
from trunkline.errors import TrunklineError

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLUMNS = ("NAME", "STATE", "PID", "CPU %", "MEM MB", "UPTIME", "HEARTBEAT", "RESTARTS", "ERRORS")
_RIGHT = frozenset(_COLUMNS[2:])
_BAD = {"hung": 0, "failed": 1, "backing_off": 2}
_COLOURS = {"hung": "red", "failed": "red", "backing_off": "yellow", "waiting": "yellow", "ready": "green"}


@click.command()
@click.option(
    "--interval", type=click.FloatRange(0.1, 3600), default=2.0, show_default=True, help="Seconds between two pictures."
)
@click.option("--once", is_flag=True, help="One picture. So it is, too, in a pipe and with --format json.")
@with_orchestrator
def stats(interval: float, once: bool) -> None:
    """Shows CPU, memory, uptime, heartbeat, restarts and errors of each agent, anew until interrupted.

    HEARTBEAT is how long ago it was last heard of. A thread takes of the orchestrator's process, which stands above the
    table. CPU counts one core as 100. For the figures of the bus and state services: trunkline services.
    """
    chosen = settings()
    names_fleet(chosen)
    pictures = _once(chosen) if once or chosen.as_json or not sys.stdout.isatty() else _live(chosen, interval)
    run(_hinting(pictures), chosen)


async def _hinting(pictures: Coroutine[Any, Any, None]) -> None:
    """Adds a hint for readers who expect the figures of bus and state, which had this name before."""
    try:
        await pictures
    except OrchestratorUnreachableError as error:
        hint = f"{error.message}. For the figures of bus and state: trunkline services"
        raise OrchestratorUnreachableError(hint, details=error.details) from error


async def _once(chosen: Settings) -> None:
    async with orchestrators(chosen) as client:
        data = await client.stats()
    if chosen.as_json:
        print_data(data)
        return
    for line in summary_lines(data):
        write_line(line)
    write_line("")
    columns, rows = _table(data)
    print_table(columns, rows, right=_RIGHT)


async def _live(chosen: Settings, interval: float) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    picture: RenderableType = ""
    with Live(auto_refresh=False, transient=False, vertical_overflow="crop") as live:

        def lost(error: TrunklineError) -> None:
            live.update(Group(Text(f"no answer: {safe(error.message)}", style="red"), picture), refresh=True)

        pictures = again_and_again(chosen, lambda client: client.stats(), interval, lost)
        async with aclosing(pictures) as answers:  # type: ignore[type-var]
            async for data in answers:
                picture = _picture(data)
                live.update(picture, refresh=True)


def _picture(data: Data) -> RenderableType:
    """Returns one picture: a line an agent, as many as there is room for. Cells that are too wide are cut, names
    first."""
    from rich.console import Group
    from rich.text import Text

    width, height = shutil.get_terminal_size()
    summary = summary_lines(data)
    columns, rows = _table(data)
    if width < _ROOMY:
        columns = tuple(_SHORT.get(column, column) for column in columns)
    room = max(1, height - len(summary) - 5)
    rest = f"and {len(rows) - room:,} more: a larger window, or --once, shows them" if len(rows) > room else ""
    shown = rows[:room]
    widest = max((len(str(row[0])) for row in shown), default=0)
    others = max(0, width - sum(_width(columns, shown, place) for place in range(1, len(columns))))
    if widest > others:
        shown = [[_cut(str(row[0]), max(_NARROWEST, others)), *row[1:]] for row in shown]
    return Group(
        *(Text(line, style="bold", no_wrap=True, overflow="ellipsis") for line in summary),
        "",
        make_table(columns, shown, right=_RIGHT | frozenset(_SHORT.values()), is_tight=True),
        Text(rest or "Ctrl-C ends this", style="bright_black"),
    )


_ROOMY = 110
"""Width of a terminal that has room for the long titles."""
_SHORT = {"HEARTBEAT": "BEAT", "RESTARTS": "RST", "ERRORS": "ERR"}
_NARROWEST = 8


def _width(columns: Sequence[str], rows: Sequence[Sequence[str | Marked]], place: int) -> int:
    """Returns the width of a column, with the gap before it."""
    cells = (cell.value if isinstance(cell := row[place], Marked) else cell for row in rows)
    return 1 + max(map(len, (columns[place], *cells)))


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def summary_lines(data: Data) -> list[str]:
    """Returns the lines above the table, one for each orchestrator."""
    lines = []
    for each in data["orchestrators"] if "orchestrators" in data else [data["orchestrator"]]:
        running = f"{each.get('running_agents')}/{each.get('max_workers')} agents running"
        waiting = f", {each['waiting_agents']} waiting" if each.get("waiting_agents") else ""
        lines.append(f"{safe(str(each.get('name', '-')))}: {running}{waiting}; {_own(each)}")
    return lines


def _own(facts: Data) -> str:
    parts = [f"up {span(facts['uptime_seconds'])}"] if facts.get("uptime_seconds") is not None else []
    if facts.get("cpu_percent") is not None:
        parts.append(f"CPU {facts['cpu_percent']:.1f}%, {facts['memory_mb']:,.1f} MB")
    parts.append(f"{facts.get('restarts', 0):,} restarts, {facts.get('errors', 0):,} errors")
    if facts.get("dropped_events"):
        parts.append(f"{facts['dropped_events']:,} events dropped by slow callbacks")
    return ", ".join(parts)


def _table(data: Data) -> tuple[tuple[str, ...], list[list[str | Marked]]]:
    """Returns the columns and the rows; agents that need attention come first."""
    in_fleet = "orchestrators" in data
    agents = sorted(data["agents"], key=lambda agent: _BAD.get(agent.get("state", ""), len(_BAD)))
    rows = [[*_row(agent), *([agent.get("orchestrator") or "-"] if in_fleet else [])] for agent in agents]
    return (*_COLUMNS, *(("ORCHESTRATOR",) if in_fleet else ())), rows


def _row(agent: Data) -> list[str | Marked]:
    state, errors = agent.get("state", "-"), agent.get("errors")
    return [
        agent["name"],
        Marked(state, _COLOURS[state]) if state in _COLOURS else state,
        str(agent.get("pid") or "-"),
        figure(agent.get("cpu_percent")),
        figure(agent.get("memory_mb")),
        duration(agent.get("uptime_seconds")),
        duration(agent.get("heartbeat_age_seconds")),
        count(agent.get("restarts")),
        Marked(count(errors), "red") if errors else count(errors),
    ]
