"""Handlers of a torture run that end in every way: `python -m tests.torture.handler KIND ADDRESS SEED LEDGER`.

A "steady" one lives as long as the run: what stands still in it stays so. A "crashing" one ends its process, too, and
disconnects at random. Each holds every kind of subscription.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from tests.torture.agent import PAUSE_SECONDS, connect, told_to_finish
from tests.torture.endings import (
    HARMLESS,
    IN_PROCESS,
    OF_ITERATOR,
    OF_PROCESS,
    PATTERN,
    HandlerError,
    Way,
    end,
    fate_of,
)
from tests.torture.ledger import Delivered, Done, Failing, Ledger, Probed
from tests.torture.work import PROBE_SECONDS, is_intact, is_probe, key_of, number_of
from trunkline import AgentMessage, BusDisconnectedError, DurableMessage, GrpcMessageBus, TrunklineError

CONCURRENCY: Final = 4
STEP_SECONDS: Final = 0.1
"""A step of an iterator is cancelled after so long, at the most."""
CONNECTED_SECONDS: Final = (2.0, 8.0)
"""A crashing one disconnects after so long."""


class Face(StrEnum):
    """The kinds of subscriptions."""

    DURABLE = "durable"
    DURABLE_ITERATOR = "durable-iterator"
    LIVE = "live"
    GROUP = "group"
    ITERATOR = "iterator"


KINDS: Final = {"steady": (), "crashing": OF_PROCESS}
"""How each kind of handler ends besides what all do."""


def durables_of(kind: str) -> list[str]:
    """The durable subscriptions that handlers of a kind share."""
    return [kind, f"{kind}-iterator"]


class Handler:
    """Ends as each message says, and writes down how before it does."""

    def __init__(self, kind: str, address: str, seed: str, path: Path) -> None:
        self._kind = kind
        self._seed = seed
        self._bus = GrpcMessageBus(address)
        self._name = path.stem
        self._ledger = Ledger(path)
        self._ways: dict[Face, tuple[Way, ...]] = {
            Face.DURABLE: (*IN_PROCESS, *KINDS[kind]),
            Face.DURABLE_ITERATOR: (*OF_ITERATOR, *KINDS[kind]),
        }

    async def run(self, told: asyncio.Event) -> None:
        """Works until it is told to finish."""
        await connect(self._bus)
        iterators = [
            asyncio.ensure_future(self._iterate(face, told)) for face in (Face.ITERATOR, Face.DURABLE_ITERATOR)
        ]
        finish = asyncio.ensure_future(told.wait())
        while True:
            await self._subscribe()
            await asyncio.wait({finish}, timeout=random.uniform(*CONNECTED_SECONDS) if KINDS[self._kind] else None)
            if told.is_set():
                break
            await self._bus.disconnect()
            await connect(self._bus)
        await asyncio.gather(*iterators)
        await self._bus.disconnect()

    async def _subscribe(self) -> None:
        while True:
            try:
                await self._bus.subscribe(PATTERN, self._durable, durable=self._kind, concurrency=CONCURRENCY)
                await self._bus.subscribe(PATTERN, self._live)
                await self._bus.subscribe(PATTERN, self._group, group=self._kind)
            except BusDisconnectedError:
                await self._bus.disconnect()
                await connect(self._bus)
            else:
                return

    async def _durable(self, message: DurableMessage) -> None:
        await self._take(Face.DURABLE, self._kind, message)

    async def _live(self, message: AgentMessage) -> None:
        await self._take_live(Face.LIVE, message)

    async def _group(self, message: AgentMessage) -> None:
        await self._take_live(Face.GROUP, message)

    async def _iterate(self, face: Face, told: asyncio.Event) -> None:
        """Opens an iterator again and again, because it is left by what the body of its loop raises."""
        while not told.is_set():
            try:
                async with aclosing(self._open(face)) as messages:
                    await self._step(face, messages, told)
            except TrunklineError:  # the bus is away, or was disconnected
                await asyncio.sleep(PAUSE_SECONDS)
            except HandlerError:
                pass  # it has ended its message

    def _open(self, face: Face) -> AsyncGenerator[Any, None]:
        if face is Face.DURABLE_ITERATOR:
            messages: AsyncGenerator[Any, None] = self._bus.messages(PATTERN, durable=f"{self._kind}-iterator")
        else:
            messages = self._bus.messages(PATTERN)
        return messages

    async def _step(self, face: Face, messages: AsyncGenerator[Any, None], told: asyncio.Event) -> None:
        while True:
            try:
                async with asyncio.timeout(random.uniform(0, STEP_SECONDS)):
                    message = await anext(messages)
            except TimeoutError:
                if told.is_set():
                    return
                continue
            if face is Face.DURABLE_ITERATOR:
                await self._take(face, f"{self._kind}-iterator", message)
            else:
                await self._take_live(face, message)

    async def _take(self, face: Face, group: str, message: DurableMessage) -> None:
        if is_probe(message):
            await self._take_probe(face)
            return
        self._ledger.write(
            Delivered(
                group,
                message.message_id,
                number_of(message),
                key_of(message),
                message.attempt,
                time.monotonic_ns(),
                is_intact(message),
            )
        )
        fate = fate_of(self._seed, group, message.message_id, self._ways[face])
        if fate is not None and fate.fails(message.attempt):
            self._ledger.write(Failing(group, message.message_id, message.attempt, fate.way, fate.failures is None))
            await end(fate.way, message)
            if fate.way is not Way.LAPSED:  # else it has finished, if late
                return
        self._ledger.write(Done(group, message.message_id, time.monotonic_ns()))

    async def _take_live(self, face: Face, message: AgentMessage) -> None:
        if is_probe(message):
            await self._take_probe(face)
            return
        ways = HARMLESS if face is not Face.ITERATOR else (Way.RAISED,)
        fate = fate_of(self._seed, face, message.message_id, ways)
        if fate is not None:
            await end(fate.way, message)

    async def _take_probe(self, face: Face) -> None:
        self._ledger.write(Probed(self._name, face))
        await asyncio.sleep(PROBE_SECONDS)


async def main(kind: str, address: str, seed: str, path: str) -> None:
    """Runs one life of a handler."""
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("trunkline.bus.handling").setLevel(logging.CRITICAL)  # what callbacks raise is expected
    await Handler(kind, address, seed, Path(path)).run(told_to_finish())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
