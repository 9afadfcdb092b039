"""Stored publish: a receipt for each message, when it is kept. 512 in flight, and one at a time."""

from __future__ import annotations

from typing import Final

from scripts.bench.questions import SYNCED, UNSYNCED
from scripts.bench.resources import CpuClock
from scripts.bench.stage import RUN_SECONDS, Stage
from scripts.bench.work import Measurement, Work, each, over_redis

IN_FLIGHT: Final = 512
ALONE: Final = 3_000


async def store(stage: Stage, count: int, in_flight: int, **order: int) -> dict[str, float]:
    """Stores messages; the figures of the role, and seconds of CPU that the `broker` used."""
    storer = await stage.role("storer", count=count, in_flight=in_flight, **order)
    broker = CpuClock(*stage.pids)
    storer.go()
    figures = await storer.result(RUN_SECONDS)
    return {**figures, "broker": broker.used()}


async def rate(stage: Stage, count: int, **order: int) -> Measurement:
    """Messages stored in a second, 512 in flight."""
    figures = await store(stage, count, IN_FLIGHT, **order)
    return Measurement(figures["done"] / figures["seconds"], cpu=_cpu(figures))


async def measure_many(stage: Stage) -> Measurement:
    """Messages stored in a second, 512 in flight."""
    return await rate(stage, stage.at_most(stage.peer.stored))


async def measure_alone(stage: Stage) -> Measurement:
    """The median time from a publish to its receipt, one at a time."""
    figures = await store(stage, stage.at_most(ALONE), 1)
    return Measurement(figures["median"] * 1e6, cpu=_cpu(figures))


def _cpu(figures: dict[str, float]) -> dict[str, float]:
    return dict(each(figures["done"], publisher=figures["cpu"], broker=figures["broker"]))


STORED = Work(
    name="stored",
    title="stored publish, 512 in flight",
    unit="messages/s",
    service="bus",
    rivals={SYNCED: ("nats-synced",), UNSYNCED: ("nats",)},
    goals={"nats": 4.0},
    measure=measure_many,
)
STORED_REDIS = over_redis(STORED, "stored-redis", 2.0)
STORED_ALONE = Work(
    name="stored-alone",
    title="stored publish, one at a time, median latency",
    unit="µs",
    service="bus",
    rivals={SYNCED: ("nats-synced", "sqlite"), UNSYNCED: ("nats",)},
    goals={"sqlite": 1 / 3},
    measure=measure_alone,
    smaller_is_better=True,
)
