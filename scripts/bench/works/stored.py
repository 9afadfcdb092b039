"""Stored publish: a receipt for each message, when it is on disk. 512 in flight, and one at a time."""

from __future__ import annotations

from typing import Final

from scripts.bench.stage import RUN_SECONDS, Stage
from scripts.bench.work import Measurement, Work

MANY: Final = 100_000
IN_FLIGHT: Final = 512
ALONE: Final = 3_000


async def store(stage: Stage, count: int, in_flight: int, **order: int) -> dict[str, float]:
    """Stores messages; the figures of the role."""
    storer = await stage.role("storer", count=count, in_flight=in_flight, **order)
    storer.go()
    return await storer.result(RUN_SECONDS)


async def rate(stage: Stage, count: int, **order: int) -> Measurement:
    """Messages stored in a second, 512 in flight."""
    figures = await store(stage, count, IN_FLIGHT, **order)
    return Measurement(figures["done"] / figures["seconds"])


async def measure_many(stage: Stage) -> Measurement:
    """Messages stored in a second, 512 in flight."""
    return await rate(stage, MANY)


async def measure_alone(stage: Stage) -> Measurement:
    """The median time from a publish to its receipt, one at a time."""
    figures = await store(stage, ALONE, 1)
    return Measurement(figures["median"] * 1e6)


STORED = Work(
    name="stored",
    title="stored publish, 512 in flight",
    unit="messages/s",
    service="bus",
    goals={"nats": 4.0},
    measure=measure_many,
)
STORED_ALONE = Work(
    name="stored-alone",
    title="stored publish, one at a time, median latency",
    unit="µs",
    service="bus",
    goals={"sqlite": 1 / 3, "nats": None},
    measure=measure_alone,
    smaller_is_better=True,
)
