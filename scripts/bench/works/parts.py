"""Answers in parts: three askers at once, each reads a thousand parts of one responder."""

from __future__ import annotations

from typing import Final

from scripts.bench.questions import REQUESTS
from scripts.bench.resources import CpuClock
from scripts.bench.stage import RUN_SECONDS, Stage
from scripts.bench.work import Measurement, Work, each

PARTS: Final = 1_000
ASKED: Final = 60
AT_ONCE: Final = 3


async def measure(stage: Stage) -> Measurement:
    """Parts that were read in a second."""
    streamer = await stage.role("streamer", parts=PARTS)
    streamer.go()
    asker = await stage.role("asker", parts=PARTS, count=stage.at_most(ASKED), in_flight=AT_ONCE, warm_up=AT_ONCE)
    broker, answering = CpuClock(*stage.pids), CpuClock(streamer.pid)
    asker.go()
    figures = await asker.result(RUN_SECONDS)
    parts = figures["done"] * PARTS
    cpu = each(parts, publisher=answering.used(), broker=broker.used(), subscriber=figures["cpu"])
    return Measurement(parts / figures["seconds"], cpu=cpu)


PARTS_WORK = Work(
    name="request-parts",
    title="answers in parts, three askers at once",
    unit="parts/s",
    service="bus",
    rivals={REQUESTS: ("nats",)},
    goals={"nats": 1.0},
    measure=measure,
)
