"""A disk that is really full, and then has room again: what the bus keeps, refuses, and does by itself."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from tests.conftest import StartProgram
from tests.patience import PATIENCE
from trunkline import AgentMessage, DurableMessage, DurableSettings, GrpcMessageBus, MessageType, OverloadedError

EVERYTHING_GOES = '[{"pattern": ">", "max_messages": 0}]'
"""A rule under which only what is needed stays: what is removed wrongly is lost at once."""


def task(n: int, size: int) -> AgentMessage:
    """A task with a number, of about that size."""
    payload = {"n": n, "text": "x" * size}
    return AgentMessage(message_type=MessageType.TASK_ASSIGNMENT, sender_id="tests", payload=payload)


def grow(disk: Path) -> None:
    """Makes room."""
    subprocess.run(["mount", "-o", "remount,size=32m", str(disk)], check=True)


async def fill(bus: GrpcMessageBus) -> list[int]:
    """Stores until there is no room even for a small message; returns the numbers of what has a receipt."""
    stored: list[int] = []
    size = 20_000
    while size > 100:
        n = len(stored)
        try:
            await asyncio.wait_for(bus.publish("full:a", task(n, size), stored=True), PATIENCE)
            stored.append(n)
        except OverloadedError as error:
            assert error.details["limit"] == "disk"  # noqa: PT017  # it is what ends the filling
            size //= 4
    return stored


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("there_before", [False, True])
async def test_nothing_is_lost_and_it_resumes_by_itself(
    small_disk: Path, start_program: StartProgram, killed: bool, there_before: bool
) -> None:
    """Stored publishes are refused, live messages go on; when there is room, all that was receipted comes, once."""
    program = start_program(
        "bus", "--path", f"{small_disk}/bus.db", "--dedup-seconds", "0", "--retention", EVERYTHING_GOES
    )
    settings = DurableSettings(ack_wait=2.0, max_deliveries=1_000)
    seen: dict[int, list[int]] = {}
    begin, news, live = asyncio.Event(), asyncio.Condition(), asyncio.Event()

    async def work(message: DurableMessage) -> None:
        await begin.wait()
        async with news:
            seen.setdefault(int(str(message.payload["n"])), []).append(message.attempt)
            news.notify_all()

    async def hear(_: AgentMessage) -> None:
        live.set()

    back = asyncio.Event()
    async with GrpcMessageBus(program.address, on_reconnected=back.set) as bus:
        await bus.create_durable("w", "full:>", settings=settings)
        if there_before:
            await bus.subscribe("full:>", work, durable="w", settings=settings)
        stored = await fill(bus)
        assert len(stored) > 20
        if killed:
            program.kill()
            program.restart()
            await asyncio.wait_for(back.wait(), PATIENCE)
        await bus.subscribe("live:x", hear)
        await bus.publish("live:x", task(0, 10))
        await asyncio.wait_for(live.wait(), PATIENCE)
        begin.set()
        subscribing = None
        if not there_before:
            subscribing = asyncio.ensure_future(bus.subscribe("full:>", work, durable="w", settings=settings))
        await asyncio.sleep(3.0)  # housekeeping looks, commits are tried in vain, and leases end
        await asyncio.to_thread(grow, small_disk)
        if subscribing is not None:
            await asyncio.wait_for(subscribing, PATIENCE)
        async with asyncio.timeout(PATIENCE), news:
            await news.wait_for(lambda: set(stored) <= set(seen))
        assert [n for n, attempts in seen.items() if attempts.count(1) > 1] == []
        async with asyncio.timeout(PATIENCE):
            receipt = await bus.publish("full:a", task(10**6, 10), stored=True)
        assert receipt.durability == "stored"
