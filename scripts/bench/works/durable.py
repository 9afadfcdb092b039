"""Durable consume: stored messages wait, and one subscriber takes them all, with an ack for each."""

from __future__ import annotations

from scripts.bench.questions import SYNCED, UNSYNCED
from scripts.bench.resources import CpuClock
from scripts.bench.stage import RUN_SECONDS, Stage
from scripts.bench.work import Measurement, Work, each, over_redis
from scripts.bench.works.stored import IN_FLIGHT, store


async def rate(stage: Stage, count: int) -> Measurement:
    """Messages consumed in a second, of those that wait: from the subscriber's call to the last ack."""
    consumer = await stage.role("consumer", count=count)
    broker = CpuClock(*stage.pids)
    consumer.go()
    got = await consumer.result(RUN_SECONDS)
    used = broker.used()
    await consumer.end()
    return Measurement(
        got["received"] / (got["ended"] - got["began"]),
        int(count - got["received"]),
        each(got["received"], broker=used, subscriber=got["cpu"]),
    )


async def measure(stage: Stage) -> Measurement:
    """Messages consumed in a second, all that wait: twice as many as are stored in one run."""
    count = stage.at_most(2 * stage.peer.stored)
    await store(stage, count, IN_FLIGHT, warm_up=0)
    return await rate(stage, count)


DURABLE = Work(
    name="durable",
    title="durable consume, 1 subscriber, an ack for each",
    unit="messages/s",
    service="bus",
    rivals={SYNCED: ("nats-synced",), UNSYNCED: ("nats", "nats-push")},
    goals={"nats": 4.0},
    measure=measure,
)
DURABLE_REDIS = over_redis(DURABLE, "durable-redis", 1.5)
