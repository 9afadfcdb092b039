"""A subscriber of a torture run: `python -m tests.torture.subscriber GROUP ADDRESS LEDGER`."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path
from typing import Final

from tests.torture.agent import connect, told_to_finish
from tests.torture.ledger import Delivered, Done, Ledger, Probed
from tests.torture.work import (
    LONG_SECONDS,
    PATTERN,
    PROBE_SECONDS,
    SETTINGS,
    fails_at_first,
    is_intact,
    is_long,
    is_probe,
    key_of,
    number_of,
)
from trunkline import DurableMessage, GrpcMessageBus

CONCURRENCY: Final = 8


class FirstAttemptError(Exception):
    """What a message raises that is to fail at first."""


class Subscriber:
    """Works on messages, and writes down when it begins and ends."""

    def __init__(self, group: str, path: Path) -> None:
        self._name = path.stem
        self._group = group
        self._ledger = Ledger(path)

    async def take(self, message: DurableMessage) -> None:
        """Works on one message; the client acks it when this returns."""
        if is_probe(message):
            self._ledger.write(Probed(self._name, "durable"))
            await asyncio.sleep(PROBE_SECONDS)
            return
        self._ledger.write(
            Delivered(
                self._group,
                message.message_id,
                number_of(message),
                key_of(message),
                message.attempt,
                time.monotonic_ns(),
                is_intact(message),
            )
        )
        if fails_at_first(message) and message.attempt == 1:
            raise FirstAttemptError(message.message_id)
        if is_long(message):
            await asyncio.sleep(LONG_SECONDS)
        self._ledger.write(Done(self._group, message.message_id, time.monotonic_ns()))


async def main(group: str, address: str, path: str) -> None:
    """Runs one life of a subscriber."""
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("trunkline.bus.handling").addFilter(_without_expected_failures)
    told = told_to_finish()
    bus = GrpcMessageBus(address)
    await connect(bus)
    subscriber = Subscriber(group, Path(path))
    await bus.subscribe(PATTERN, subscriber.take, durable=group, settings=SETTINGS, concurrency=CONCURRENCY)
    await told.wait()
    await bus.disconnect()


def _without_expected_failures(record: logging.LogRecord) -> bool:
    return record.exc_info is None or record.exc_info[0] is not FirstAttemptError


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
