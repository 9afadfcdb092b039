"""MessageChannel: what it carries between threads and between processes, beside Python's own queues."""

from __future__ import annotations

from typing import Final

from scripts.bench.questions import QUEUES
from scripts.bench.stage import RUN_SECONDS, Stage
from scripts.bench.work import Measurement, Work, each

MESSAGES: Final = 300_000


async def measure_threads(stage: Stage) -> Measurement:
    """Messages from one thread to another, in a second."""
    return await _rate(stage, "thread_receiver")


async def measure_processes(stage: Stage) -> Measurement:
    """Messages from a spawned process to its owner, in a second."""
    return await _rate(stage, "process_receiver")


async def _rate(stage: Stage, role: str) -> Measurement:
    receiver = await stage.role(role, count=stage.at_most(MESSAGES))
    receiver.go()
    figures = await receiver.result(RUN_SECONDS)
    return Measurement(figures["done"] / figures["seconds"], cpu=each(figures["done"], both=figures["cpu"]))


CHANNEL_THREAD = Work(
    name="channel-thread",
    title="MessageChannel, from a thread to its owner",
    unit="messages/s",
    service="channel",
    rivals={QUEUES: ("queue",)},
    goals={"queue": 0.7},
    measure=measure_threads,
)
CHANNEL_PROCESS = Work(
    name="channel-process",
    title="MessageChannel, from a process to its owner",
    unit="messages/s",
    service="channel",
    rivals={QUEUES: ("multiprocessing",)},
    goals={"multiprocessing": 0.9},
    measure=measure_processes,
)
