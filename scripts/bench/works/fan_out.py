"""Fan-out: one publisher to 100 subscribers, each with a connection of its own, in 4 processes."""

from __future__ import annotations

import asyncio
from typing import Final

from scripts.bench.stage import RUN_SECONDS, Stage
from scripts.bench.work import Measurement, Work

PROCESSES: Final = 4
SUBSCRIBERS: Final = 25
MESSAGES: Final = 4_000


async def measure(stage: Stage) -> Measurement:
    """From the publisher's first call to the last subscriber's last message."""
    subscribers = [await stage.role("subscriber", count=MESSAGES, subscribers=SUBSCRIBERS) for _ in range(PROCESSES)]
    publisher = await stage.role("publisher", count=MESSAGES)
    for role in (*subscribers, publisher):
        role.go()
    sent = await publisher.result(RUN_SECONDS)
    got = await asyncio.gather(*(subscriber.result(RUN_SECONDS) for subscriber in subscribers))
    received = sum(one["received"] for one in got)
    seconds = max(one["ended"] for one in got) - sent["began"]
    return Measurement(received / seconds, int(MESSAGES * SUBSCRIBERS * PROCESSES - received))


FAN_OUT = Work(
    name="fan-out",
    title="fan-out, 1 publisher → 100 subscribers in 4 processes",
    unit="deliveries/s",
    service="bus",
    goals={"nats": None},
    measure=measure,
)
