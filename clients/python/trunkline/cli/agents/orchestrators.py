"""The orchestrators that a subcommand asks: one through its socket, or a fleet over its bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import click

from trunkline.cli.agents.orchestrator_socket import SocketOrchestrator
from trunkline.cli.exit_codes import TIMED_OUT, UNREACHABLE, exit_code, run
from trunkline.cli.output import print_json, print_lines, safe, write_line
from trunkline.cli.settings import Settings
from trunkline.errors import TrunklineError

if TYPE_CHECKING:
    from trunkline.cli.agents.orchestrator_fleet import FleetOrchestrators

Data = dict[str, Any]
Orchestrators: TypeAlias = "SocketOrchestrator | FleetOrchestrators"
"""Both answer `ps`, `status`, `report`, `stats`, `history`, `dependencies`, `start`, `stop` and `shutdown`."""

Client = TypeVar("Client")
T = TypeVar("T")


def orchestrators(chosen: Settings) -> AbstractAsyncContextManager[Orchestrators]:
    """Returns the fleet, where --bus or --state is given; else the orchestrator of the socket. An address in the
    environment alone is for the commands of bus and state.

    Raises:
        click.UsageError: --socket is given, too.
    """
    if not names_fleet(chosen):
        return SocketOrchestrator(chosen.socket)
    from trunkline.cli.agents.orchestrator_fleet import FleetOrchestrators

    return FleetOrchestrators(chosen.bus, chosen.state)


def one_orchestrator(chosen: Settings, command: str) -> SocketOrchestrator:
    """Returns the orchestrator of the socket, for a command that a fleet does not have.

    Raises:
        click.UsageError: --bus or --state is given.
    """
    if names_fleet(chosen):
        raise click.UsageError(f"{command} asks one orchestrator: name its socket with --socket, without --bus")
    return SocketOrchestrator(chosen.socket)


def names_fleet(chosen: Settings) -> bool:
    """Tells whether --bus or --state is given. Raises as `orchestrators`."""
    fleet = chosen.said("bus") or chosen.said("state")
    if fleet and chosen.said("socket"):
        raise click.UsageError("--socket names one orchestrator, --bus and --state a fleet: say one of them")
    return bool(fleet)


def show(
    chosen: Settings,
    client: AbstractAsyncContextManager[Client],
    question: Callable[[Client], Awaitable[Data]],
    lines: Callable[[Data], list[str]],
) -> None:
    """Asks a question, and prints the answer: as JSON, or as lines."""

    async def main() -> None:
        async with client as connected:
            data = await question(connected)
        if chosen.as_json:
            print_data(data)
        else:
            print_lines(lines(data))

    run(main(), chosen)


async def again_and_again(
    chosen: Settings,
    question: Callable[[Orchestrators], Awaitable[T]],
    interval: float,
    lost: Callable[[TrunklineError], None],
) -> AsyncIterator[T]:
    """Yields the answers to a question, `interval` seconds apart, until interrupted. Orchestrators that went away are
    asked again until they are back; `lost` is called with each error meanwhile.

    Raises:
        TrunklineError: the first question was not answered, or one was refused.
    """
    answered = False
    while True:
        try:
            async with orchestrators(chosen) as connected:
                while True:
                    yield await question(connected)
                    answered = True
                    await asyncio.sleep(interval)
        except TrunklineError as error:
            if not answered or exit_code(error) not in (UNREACHABLE, TIMED_OUT):
                raise
            lost(error)
        await asyncio.sleep(interval)


def print_data(data: Data) -> None:
    """Prints an answer for scripts, as it stands on the socket."""
    print_json({"status": "success", "data": data})


def print_message(chosen: Settings, answer: Data) -> None:
    """Prints the message of a command that changes something."""
    if chosen.as_json:
        print_json({"status": "success", "message": answer["message"]})
    else:
        write_line(safe(answer["message"]))
