"""Traffic over several replicas of the bus: what receipts promised, what was delivered, and for how long nothing was.

Where a process gets no core for long, the journal's owner changes more often than a test wants, which is no fault: what
a test asks of the bus is asked again, as its users do.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise
from typing import Any, TypeVar

from tests.contract.inbox import Inbox
from tests.patience import PATIENCE
from trunkline import AgentMessage, Backoff, DurableMessage, DurableSettings, GrpcMessageBus, Receipt
from trunkline.errors import BusDisconnectedError, StorageUnavailableError

T = TypeVar("T")

Store = Callable[[str, AgentMessage], Coroutine[Any, Any, Receipt]]
"""Publishes a message to be stored on a channel, and returns its receipt."""
Way = Callable[[str], AbstractAsyncContextManager[Store]]
"""Makes what stores messages at an address."""

CHANNEL = "faults:replicas"
LIVE_CHANNEL = "faults:live"
SETTINGS = DurableSettings(ack_wait=2.0, max_deliveries=100, backoff=Backoff(initial=0.1, maximum=0.5))
PUBLISHED_AT_LEAST = 30
"""Messages between two faults."""


def numbered(n: object) -> AgentMessage:
    return AgentMessage(message_type="work", sender_id="tests", payload={"n": n})


async def asked(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer, asked for again where the journal's owner changes meanwhile."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await ask()
            except (BusDisconnectedError, StorageUnavailableError):
                await asyncio.sleep(0.05)


async def until(holds: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Returns when something holds."""
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end, f"waited for {what}"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def by_client(address: str) -> AsyncIterator[Store]:
    """Stores messages by the client."""
    async with GrpcMessageBus(address) as bus:

        async def store(channel: str, message: AgentMessage) -> Receipt:
            return await bus.publish(channel, message, stored=True)

        yield store


class Ledger:
    """What was promised by receipts, and what was delivered.

    Args:
        channel: what it is published on.
    """

    def __init__(self, channel: str = CHANNEL) -> None:
        self.channel = channel
        self.receipts: dict[int, Receipt] = {}
        self.deliveries: Counter[tuple[int, int, int]] = Counter()
        """How often each message came, by its number, its sequence and the attempt."""
        self.is_over = False
        self.refusals: Counter[str] = Counter()
        self.moments: list[float] = []
        """When each receipt came."""
        self._numbers = itertools.count()

    async def publish(self, address: str, way: Way = by_client, at_once: int = 1) -> None:
        """Publishes messages, each until it has a receipt: so many at the same time, in the order of their numbers."""
        async with way(address) as store, asyncio.TaskGroup() as tasks:
            for _ in range(at_once):
                tasks.create_task(self._publish(store))

    async def _publish(self, store: Store) -> None:
        while not self.is_over:
            n = next(self._numbers)
            wanted = numbered(n)
            while n not in self.receipts:
                try:
                    async with asyncio.timeout(2 * PATIENCE):
                        self.receipts[n] = await store(self.channel, wanted)
                except (BusDisconnectedError, StorageUnavailableError) as error:
                    self.refusals[error.error_code] += 1
                    await asyncio.sleep(0.05)
            self.moments.append(time.monotonic())
            await asyncio.sleep(0.005)

    @asynccontextmanager
    async def work(self, address: str, durable: str = "ledger") -> AsyncIterator[None]:
        """A worker at one replica."""

        async def note(came: DurableMessage) -> None:
            self.deliveries[int(str(came.payload["n"])), came.sequence, came.attempt] += 1

        async with GrpcMessageBus(address) as bus:
            await bus.subscribe(self.channel, note, durable=durable, settings=SETTINGS)
            yield

    async def goes_on(self, patience: float = PATIENCE) -> None:
        """Returns when more messages have their receipts."""
        enough = len(self.receipts) + PUBLISHED_AT_LEAST
        await until(lambda: len(self.receipts) >= enough, "more receipts", patience)


class LiveTraffic:
    """Numbered live messages from a client of one replica to a subscriber at another."""

    def __init__(self) -> None:
        self.published = 0
        self.inbox = Inbox()
        self.moments: list[float] = []
        """When each came."""
        self.is_over = False

    async def publish(self, bus: GrpcMessageBus) -> None:
        """Publishes one after the other, until it is over."""
        while not self.is_over:
            await bus.publish(LIVE_CHANNEL, numbered(self.published))
            self.published += 1
            await asyncio.sleep(0.005)

    async def take(self, message: AgentMessage) -> None:
        """Hears one."""
        self.moments.append(time.monotonic())
        await self.inbox(message)

    async def goes_on(self, patience: float = PATIENCE) -> None:
        """Returns when of what is published from now on much was heard."""
        first, enough = self.published, len(self.inbox.messages) + PUBLISHED_AT_LEAST
        heard = self.inbox.messages

        def holds() -> bool:
            return len(heard) >= enough and int(str(heard[-1].payload["n"])) >= first

        await until(holds, "live messages", patience)

    @property
    def lost(self) -> int:
        """How many did not come, of those before the last one that did."""
        numbers = [int(str(n)) for n in self.inbox.numbers]
        return numbers[-1] + 1 - len(set(numbers))


def longest_pause(moments: Sequence[float]) -> float:
    """The longest time between two of them, in seconds."""
    return max(after - before for before, after in pairwise(sorted(moments)))
