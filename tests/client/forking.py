"""A program that forks while it is connected: `python -m tests.client.forking KIND CLIENT ADDRESS`.

It says, a JSON line each, what its child and then it itself came to. KIND: bus, state, sync-bus, sync-state. CLIENT of
the child: "own", or its parent's, "inherited".
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from tests.contract.inbox import numbered
from trunkline import GrpcMessageBus, GrpcStateManager, TrunklineError, sync

CHANNEL = "forking:work"


def _say(who: str, work: Callable[[], object]) -> None:
    """Says how it ended."""
    try:
        work()
        words: dict[str, Any] = {"who": who, "error": None}
    except TrunklineError as error:
        words = {"who": who, "error": error.error_code, "text": str(error)}
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def _fork(work: Callable[[], object]) -> None:
    """Does it in a child; a child that hangs is left to whoever waits for this program."""
    child = multiprocessing.get_context("fork").Process(target=_say, args=("child", work))
    child.start()
    child.join()


async def _use_bus(bus: GrpcMessageBus) -> None:
    await bus.publish(CHANNEL, numbered(1), stored=True)
    await bus.publish(CHANNEL, numbered(2))
    await bus.flush()


async def _use_state(state: GrpcStateManager) -> None:
    await state.get_agent_state("forking")


def _use_sync_bus(bus: sync.MessageBus) -> None:
    bus.publish(CHANNEL, numbered(1), stored=True)
    bus.publish(CHANNEL, numbered(2))
    bus.flush()


def _use_sync_state(state: sync.StateManager) -> None:
    state.get_agent_state("forking")


async def _asynchronous(make: Callable[[], Any], use: Callable[[Any], Awaitable[None]], client: str) -> None:
    async def own() -> None:
        async with make() as object:
            await use(object)

    async def inherited() -> None:
        try:
            await use(parents)
        finally:
            await parents.disconnect()

    async with make() as parents:
        await use(parents)
        _fork(lambda: asyncio.run(own() if client == "own" else inherited()))
        await use(parents)


def _synchronous(make: Callable[[], Any], use: Callable[[Any], None], client: str) -> None:
    def own() -> None:
        with make() as object:
            use(object)

    def inherited() -> None:
        try:
            use(parents)
        finally:
            parents.disconnect()

    with make() as parents:
        use(parents)
        _fork(own if client == "own" else inherited)
        use(parents)


def main(kind: str, client: str, address: str) -> None:
    """Connects, forks, and goes on."""
    match kind:
        case "bus":
            work = partial(_asynchronous, partial(GrpcMessageBus, address), _use_bus, client)
            _say("parent", lambda: asyncio.run(work()))
        case "state":
            work = partial(_asynchronous, partial(GrpcStateManager, address), _use_state, client)
            _say("parent", lambda: asyncio.run(work()))
        case "sync-bus":
            _say("parent", partial(_synchronous, partial(sync.MessageBus, address), _use_sync_bus, client))
        case "sync-state":
            _say("parent", partial(_synchronous, partial(sync.StateManager, address), _use_sync_state, client))


if __name__ == "__main__":
    main(*sys.argv[1:])
