"""State: saves stored on disk with 64 in flight, gets one at a time."""

from __future__ import annotations

from typing import Final

from scripts.bench.questions import STATE
from scripts.bench.resources import CpuClock
from scripts.bench.stage import RUN_SECONDS, Stage
from scripts.bench.work import Measurement, Work, each, over_redis

IN_FLIGHT: Final = 64
GETS: Final = 8_000


async def _rate(stage: Stage, role: str, count: int, in_flight: int) -> Measurement:
    started = await stage.role(role, count=count, in_flight=in_flight)
    broker = CpuClock(*stage.pids)
    started.go()
    figures = await started.result(RUN_SECONDS)
    cpu = each(figures["done"], publisher=figures["cpu"], broker=broker.used())
    return Measurement(figures["done"] / figures["seconds"], cpu=cpu)


async def measure_saves(stage: Stage) -> Measurement:
    """Records saved in a second, 64 in flight, each answered when it is on disk."""
    return await _rate(stage, "saver", stage.at_most(stage.peer.saves), IN_FLIGHT)


async def measure_gets(stage: Stage) -> Measurement:
    """Records read in a second, one at a time."""
    return await _rate(stage, "getter", stage.at_most(GETS), 1)


STATE_SAVE = Work(
    name="state-save",
    title="state save, 64 in flight",
    unit="saves/s",
    service="state",
    rivals={STATE: ("nats-synced", "nats")},
    goals={"nats": 1.0},
    measure=measure_saves,
)
STATE_GET = Work(
    name="state-get",
    title="state get, one at a time",
    unit="gets/s",
    service="state",
    rivals={STATE: ("nats-synced", "nats")},
    goals={"nats": 1.0},
    measure=measure_gets,
)
STATE_REDIS = over_redis(STATE_SAVE, "state-redis", 0.5)
