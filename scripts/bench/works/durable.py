"""Durable consume: stored messages wait, and one subscriber takes them all, with an ack for each."""

from __future__ import annotations

from typing import Final

from scripts.bench.stage import RUN_SECONDS, Stage
from scripts.bench.work import Measurement, Work
from scripts.bench.works.stored import IN_FLIGHT, store

MESSAGES: Final = 200_000


async def rate(stage: Stage, count: int) -> Measurement:
    """Messages consumed in a second, of those that wait: from the subscriber's call to the last ack."""
    consumer = await stage.role("consumer", count=count)
    consumer.go()
    got = await consumer.result(RUN_SECONDS)
    await consumer.end()
    return Measurement(got["received"] / (got["ended"] - got["began"]), int(count - got["received"]))


async def measure(stage: Stage) -> Measurement:
    """Messages consumed in a second, all that wait."""
    await store(stage, MESSAGES, IN_FLIGHT, warm_up=0)
    return await rate(stage, MESSAGES)


DURABLE = Work(
    name="durable",
    title="durable consume, 1 subscriber, an ack for each",
    unit="messages/s",
    service="bus",
    goals={"nats": 4.0, "nats-push": None},
    measure=measure,
)
