"""A publisher of a torture run: `python -m tests.torture.publisher NAME ADDRESS LEDGER [COUNT]`.

It goes on with what the life before left without a receipt, by the same message ids; COUNT messages on each of its
lanes, else until its standard input ends.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.torture.agent import PAUSE_SECONDS, connect, told_to_finish, within_time
from tests.torture.ledger import Ledger, Receipted, Sent, read
from tests.torture.work import channel_of, compose, lane_of
from trunkline import BusDisconnectedError, GrpcMessageBus, MessageBus, OverloadedError, StorageUnavailableError

KEYS: Final = 3
UNORDERED: Final = 5
"""Lanes, each with one message in flight: so many with an ordering key each, and so many without."""
GAP_SECONDS: Final = 0.2
"""Between two messages of a lane, at the most; half as long on average."""


class Publisher:
    """Publishes on lanes, and writes down what it sends and what is receipted."""

    def __init__(self, name: str, bus: MessageBus, path: Path) -> None:
        self._name = name
        self._bus = bus
        past = read(path)
        self._ledger = Ledger(path)
        receipted = {fact.message_id for fact in past if isinstance(fact, Receipted)}
        sent = [fact for fact in past if isinstance(fact, Sent)]
        self._open = {_lane(fact): fact for fact in sent if fact.message_id not in receipted}
        self._numbers = {_lane(fact): fact.number for fact in sent}

    async def run(self, lane: str, key: str | None, count: int, told: asyncio.Event) -> None:
        """Publishes one message after the other."""
        if lane in self._open:
            await self._publish(self._open[lane])
        for number in self._to_come(lane, count):
            if told.is_set():
                return
            sent = Sent(f"{self._name}.{lane}.{number}", number, key)
            self._ledger.write(sent)
            await self._publish(sent)
            await asyncio.sleep(random.uniform(0, GAP_SECONDS))

    def _to_come(self, lane: str, count: int) -> Iterator[int]:
        first = self._numbers.get(lane, 0) + 1
        return iter(range(first, count + 1)) if count else itertools.count(first)

    async def _publish(self, sent: Sent) -> None:
        message = compose(sent)
        while True:
            try:
                receipt = await self._bus.publish(channel_of(sent), message, stored=True, ordering_key=sent.key)
            except (BusDisconnectedError, OverloadedError, StorageUnavailableError):
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self._ledger.write(Receipted(sent.message_id, receipt.duplicate))
                return


def _lane(sent: Sent) -> str:
    return lane_of(sent.message_id)


async def main(name: str, address: str, path: str, count: str = "0") -> None:
    """Runs one life of a publisher."""
    told = told_to_finish()
    bus = GrpcMessageBus(address)
    await connect(bus)
    publisher = Publisher(name, bus, Path(path))
    lanes = {f"k{index}": f"{name}-{index}" for index in range(KEYS)} | {
        f"u{index}": None for index in range(UNORDERED)
    }
    work = [publisher.run(lane, key, int(count), told) for lane, key in lanes.items()]
    await within_time(told, *work)
    await bus.disconnect()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
