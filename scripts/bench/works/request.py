"""Request/reply: 64 in flight, and one at a time."""

from __future__ import annotations

from typing import Final

from scripts.bench.stage import RUN_SECONDS, Stage
from scripts.bench.work import Measurement, Work

MANY: Final = 50_000
ALONE: Final = 5_000
IN_FLIGHT: Final = 64


async def _figures(stage: Stage, count: int, in_flight: int) -> dict[str, float]:
    responder = await stage.role("responder")
    responder.go()
    requester = await stage.role("requester", count=count, in_flight=in_flight)
    requester.go()
    return await requester.result(RUN_SECONDS)


async def measure_many(stage: Stage) -> Measurement:
    """Requests answered in a second, 64 in flight."""
    figures = await _figures(stage, MANY, IN_FLIGHT)
    return Measurement(figures["done"] / figures["seconds"])


async def measure_alone(stage: Stage) -> Measurement:
    """The median time from a request to its reply, one at a time."""
    figures = await _figures(stage, ALONE, 1)
    return Measurement(figures["median"] * 1e6)


REQUEST = Work(
    name="request",
    title="request/reply, 64 in flight",
    unit="requests/s",
    service="bus",
    goals={"nats": 1.3},
    measure=measure_many,
)
REQUEST_LATENCY = Work(
    name="request-latency",
    title="request/reply, one at a time, median latency",
    unit="µs",
    service="bus",
    goals={"nats": 1 / 1.5},
    measure=measure_alone,
    smaller_is_better=True,
)
