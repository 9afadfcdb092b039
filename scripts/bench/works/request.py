"""Request/reply: 64 in flight, and one at a time."""

from __future__ import annotations

from typing import Final

from scripts.bench.questions import REQUESTS, RUNTIMES
from scripts.bench.resources import CpuClock
from scripts.bench.stage import RUN_SECONDS, Stage
from scripts.bench.work import Measurement, Work, each, secured

ALONE: Final = 5_000
IN_FLIGHT: Final = 64

RIVALS: Final = {
    REQUESTS: ("nats", "nats-msgspec", "nats-pydantic", "faststream", "bare"),
    RUNTIMES: ("autogen", "slim"),
}


async def _figures(stage: Stage, count: int, in_flight: int) -> tuple[dict[str, float], dict[str, float]]:
    """The requester's figures, and what each request costs."""
    responder = await stage.role("responder")
    responder.go()
    requester = await stage.role("requester", count=count, in_flight=in_flight)
    broker, answering = CpuClock(*stage.pids), CpuClock(responder.pid)
    requester.go()
    figures = await requester.result(RUN_SECONDS)
    cpu = each(figures["done"], publisher=figures["cpu"], broker=broker.used(), subscriber=answering.used())
    return figures, dict(cpu)


async def measure_many(stage: Stage) -> Measurement:
    """Requests answered in a second, 64 in flight."""
    figures, cpu = await _figures(stage, stage.at_most(stage.peer.requests), IN_FLIGHT)
    return Measurement(figures["done"] / figures["seconds"], cpu=cpu)


async def measure_alone(stage: Stage) -> Measurement:
    """The median time from a request to its reply, one at a time."""
    figures, cpu = await _figures(stage, stage.at_most(ALONE), 1)
    return Measurement(figures["median"] * 1e6, cpu=cpu)


REQUEST = Work(
    name="request",
    title="request/reply, 64 in flight",
    unit="requests/s",
    service="bus",
    rivals=RIVALS,
    goals={"nats": 1.3},
    measure=measure_many,
)
REQUEST_LATENCY = Work(
    name="request-latency",
    title="request/reply, one at a time, median latency",
    unit="µs",
    service="bus",
    rivals=RIVALS,
    goals={"nats": 1 / 1.5},
    measure=measure_alone,
    smaller_is_better=True,
)
REQUEST_SECURED = secured(REQUEST, "request-secured")
