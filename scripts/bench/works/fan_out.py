"""Fan-out: one publisher to 100 subscribers, each with a connection of its own, in 4 processes."""

from __future__ import annotations

import asyncio
from typing import Final

from scripts.bench.questions import FAN_OUT as QUESTION
from scripts.bench.resources import CpuClock
from scripts.bench.stage import RUN_SECONDS, Stage
from scripts.bench.work import Measurement, Work, each

PROCESSES: Final = 4
SUBSCRIBERS: Final = 25
MESSAGES: Final = 4_000


async def measure(stage: Stage) -> Measurement:
    """From the publisher's first call to the last subscriber's last message; what it costs is for each delivery."""
    count = stage.at_most(MESSAGES)
    subscribers = [await stage.role("subscriber", count=count, subscribers=SUBSCRIBERS) for _ in range(PROCESSES)]
    publisher = await stage.role("publisher", count=count)
    broker = CpuClock(*stage.pids)
    for role in (*subscribers, publisher):
        role.go()
    sent = await publisher.result(RUN_SECONDS)
    got = await asyncio.gather(*(subscriber.result(RUN_SECONDS) for subscriber in subscribers))
    received = sum(one["received"] for one in got)
    seconds = max(one["ended"] for one in got) - sent["began"]
    reading = sum(one["cpu"] for one in got)
    return Measurement(
        received / seconds,
        int(count * SUBSCRIBERS * PROCESSES - received),
        each(received, publisher=sent["cpu"], broker=broker.used(), subscriber=reading),
    )


FAN_OUT = Work(
    name="fan-out",
    title="1 publisher → 100 subscribers in 4 processes",
    unit="deliveries/s",
    service="bus",
    rivals={QUESTION: ("nats-msgspec", "nats-pydantic", "nats")},
    measure=measure,
)
