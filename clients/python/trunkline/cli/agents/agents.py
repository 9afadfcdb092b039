"""`trunkline ps, list, start, stop, status, dependencies, commands, report, shutdown`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import click

from trunkline.cli.agents.agents_view import command_lines, dependency_lines, ps_lines, status_lines
from trunkline.cli.agents.orchestrators import (
    Data,
    Orchestrators,
    names_fleet,
    one_orchestrator,
    orchestrators,
    print_message,
    show,
)
from trunkline.cli.exit_codes import run
from trunkline.cli.settings import settings, with_orchestrator

_agent = click.argument("name", metavar="AGENT")


def _show(question: Callable[[Orchestrators], Awaitable[Data]], lines: Callable[[Data], list[str]]) -> None:
    chosen = settings()
    show(chosen, orchestrators(chosen), question, lines)


def _change(action: Callable[[Orchestrators], Awaitable[Data]]) -> None:
    """Runs a command that changes something, and prints its message."""
    chosen = settings()
    client = orchestrators(chosen)

    async def main() -> None:
        async with client as connected:
            print_message(chosen, await action(connected))

    run(main(), chosen)


@click.command()
@with_orchestrator
def ps() -> None:
    """Shows the agents and how they stand: alive or dead, started or not, waiting in the queue or not.

    With --bus, those of the whole fleet, and its orchestrators.
    """
    _show(lambda client: client.ps(), ps_lines)


@click.command("list")
@with_orchestrator
def list_() -> None:
    """The same as ps."""
    _show(lambda client: client.ps(), ps_lines)


@click.command()
@_agent
@with_orchestrator
def start(name: str) -> None:
    """Starts AGENT and what it needs. With --bus, where there is most room for it.

    Exit code 3 where there is no such agent, 1 where it runs already.
    """
    _change(lambda client: client.start(name))


@click.command()
@_agent
@with_orchestrator
def stop(name: str) -> None:
    """Ends AGENT, and returns when it has ended.

    Exit code 3 where there is no such agent, 1 where it does not run, or cannot be ended.
    """
    _change(lambda client: client.stop(name))


@click.command()
@click.argument("name", metavar="[AGENT]", required=False)
@with_orchestrator
def status(name: str | None) -> None:
    """Shows everything of AGENT, or without one how the orchestrator stands.

    Exit code 3 where there is no such agent.
    """
    _show(lambda client: client.status(name), status_lines)


@click.command()
@with_orchestrator
def dependencies() -> None:
    """Shows which agents need which others."""
    _show(lambda client: client.dependencies(), dependency_lines)


@click.command()
@with_orchestrator
def report() -> None:
    """Writes a report to send to somebody: Markdown, what is wrong first."""
    from trunkline.cli.agents.fleet_report import fleet_report_lines
    from trunkline.cli.agents.report_view import report_lines

    _show(lambda client: client.report(), fleet_report_lines if names_fleet(settings()) else report_lines)


@click.command()
@click.option("--orchestrator", metavar="NAME", help="With --bus: only this one of the fleet.")
@with_orchestrator
def shutdown(orchestrator: str | None) -> None:
    """Ends the orchestrator and all its agents.

    With --bus, every orchestrator of the fleet, or the one that is named.
    """
    if orchestrator is not None and not names_fleet(settings()):
        raise click.UsageError("--orchestrator names one of a fleet: say --bus too")
    _change(lambda client: client.shutdown(*([] if orchestrator is None else [orchestrator])))


@click.command()
@with_orchestrator
def commands() -> None:
    """Shows which commands the orchestrator serves, and which it does not."""
    chosen = settings()
    show(chosen, one_orchestrator(chosen, "commands"), lambda client: client.commands(), command_lines)
