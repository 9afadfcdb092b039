"""Backlog: stored publish and durable consume while millions of messages wait, beside the same with few."""

from __future__ import annotations

from typing import Final

from scripts.bench.contender import FEW
from scripts.bench.questions import BACKLOG
from scripts.bench.stage import Stage
from scripts.bench.work import Measurement, Work
from scripts.bench.works import durable, stored

MESSAGES: Final = 100_000
FILL_SECONDS: Final = 900.0
"""Within which the backlog must be there: 10,000,000 messages take about two minutes."""


async def measure_publish(stage: Stage) -> Measurement:
    """Messages stored in a second; then as many are consumed, so that the next run finds what this one found."""
    await fill(stage, stage.waiting)
    count = stage.at_most(MESSAGES)
    published = await stored.rate(stage, count, warm_up=0)
    await durable.rate(stage, count)
    return published


async def measure_consume(stage: Stage) -> Measurement:
    """Messages consumed in a second: the oldest, after as many were published."""
    await fill(stage, stage.waiting)
    count = stage.at_most(MESSAGES)
    await stored.rate(stage, count, warm_up=0)
    return await durable.rate(stage, count)


async def fill(stage: Stage, waiting: int) -> None:
    """Publishes what is missing of so many messages."""
    filler = await stage.role("filler", waiting=waiting)
    filler.go()
    await filler.result(FILL_SECONDS)


BACKLOG_PUBLISH = Work(
    name="backlog-publish",
    title="stored publish, 512 in flight, {waiting} waiting",
    unit="messages/s",
    service="bus",
    rivals={BACKLOG: (FEW,)},
    goals={FEW: 0.7},
    measure=measure_publish,
    keeps="backlog",
)
BACKLOG_CONSUME = Work(
    name="backlog-consume",
    title="durable consume, {waiting} waiting",
    unit="messages/s",
    service="bus",
    rivals={BACKLOG: (FEW,)},
    goals={FEW: 0.7},
    measure=measure_consume,
    keeps="backlog",
)
