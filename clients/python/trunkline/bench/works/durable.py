"""Durable consume: stored messages wait, and one subscriber takes them all, with an ack for each."""

from __future__ import annotations

from typing import Final

from trunkline.bench.stage import RUN_SECONDS, Stage
from trunkline.bench.work import Measurement, Work
from trunkline.bench.works.stored import IN_FLIGHT

MESSAGES: Final = 100_000


async def measure(stage: Stage) -> Measurement:
    """From the subscriber's call to the last ack."""
    storer = await stage.role("storer", count=MESSAGES, in_flight=IN_FLIGHT, warm_up=0)
    storer.go()
    await storer.result(RUN_SECONDS)
    consumer = await stage.role("consumer", count=MESSAGES)
    consumer.go()
    got = await consumer.result(RUN_SECONDS)
    return Measurement(got["received"] / (got["ended"] - got["began"]), int(MESSAGES - got["received"]))


DURABLE = Work(
    name="durable",
    title="durable consume, 1 subscriber, an ack for each",
    unit="messages/s",
    service="bus",
    goals={"nats": 4.0},
    measure=measure,
)
