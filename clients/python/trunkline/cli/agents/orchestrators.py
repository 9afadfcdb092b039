"""Which orchestrators a subcommand speaks to: one, through its socket, or a whole fleet, over its bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

import click

from trunkline.cli.agents.orchestrator_socket import SocketOrchestrator
from trunkline.cli.exit_codes import TIMED_OUT, UNREACHABLE, exit_code
from trunkline.cli.output import print_json, safe, write_line
from trunkline.cli.settings import Settings
from trunkline.errors import TrunklineError

Data = dict[str, Any]
T = TypeVar("T")


class Orchestrators(Protocol):
    """What can be asked of one orchestrator, or of a fleet. Each call raises TrunklineError."""

    async def ps(self) -> Data: ...

    async def start(self, name: str) -> str: ...

    async def stop(self, name: str) -> str: ...

    async def status(self, name: str | None = None) -> Data: ...

    async def report(self) -> Data: ...

    async def stats(self) -> Data: ...

    async def history(
        self, *, last: int | None = None, agent: str | None = None, type: str | None = None, after: Mapping[str, int]
    ) -> Data:
        """Events; `after` says of an orchestrator the `seq` of the last one that is not wanted."""

    async def dependencies(self) -> Data: ...

    async def shutdown(self, orchestrator: str | None = None) -> str: ...


def orchestrators(told: Settings) -> AbstractAsyncContextManager[Orchestrators]:
    """The fleet, where somebody said --bus or --state; else the one of the socket. An address in the environment alone
    is for the commands of bus and state.

    Raises:
        click.UsageError: somebody said both.
    """
    if not names_fleet(told):
        return SocketOrchestrator(told.socket)
    from trunkline.cli.agents.orchestrator_fleet import FleetOrchestrators

    return FleetOrchestrators(told.bus, told.state)


def one_orchestrator(told: Settings, command: str) -> SocketOrchestrator:
    """The one of the socket, for what cannot be asked of a fleet.

    Raises:
        click.UsageError: somebody named a fleet.
    """
    if names_fleet(told):
        raise click.UsageError(f"{command} asks one orchestrator: name its socket with --socket, without --bus")
    return SocketOrchestrator(told.socket)


def names_fleet(told: Settings) -> bool:
    """Whether somebody named a fleet. Raises as `orchestrators`."""
    fleet = told.said("bus") or told.said("state")
    if fleet and told.said("socket"):
        raise click.UsageError("--socket names one orchestrator, --bus and --state a fleet: say one of them")
    return bool(fleet)


async def again_and_again(
    told: Settings,
    question: Callable[[Orchestrators], Awaitable[T]],
    interval: float,
    lost: Callable[[TrunklineError], None],
) -> AsyncIterator[T]:
    """The answers to a question, until interrupted, so many seconds apart. Orchestrators that went away are asked again
    until they are back; `lost` is told each time that they are not.

    Raises:
        TrunklineError: the first question was not answered, or one was refused.
    """
    answered = False
    while True:
        try:
            async with orchestrators(told) as asked:
                while True:
                    yield await question(asked)
                    answered = True
                    await asyncio.sleep(interval)
        except TrunklineError as error:
            if not answered or exit_code(error) not in (UNREACHABLE, TIMED_OUT):
                raise
            lost(error)
        await asyncio.sleep(interval)


def print_data(data: Data) -> None:
    """For scripts: the answer as it stands on the socket."""
    print_json({"status": "success", "data": data})


def print_message(told: Settings, message: str) -> None:
    """What a deed came to."""
    if told.as_json:
        print_json({"status": "success", "message": message})
    else:
        write_line(safe(message))
