"""What waits, when the bus is killed while it is cancelled or moved."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.conftest import StartProgram
from tests.contract.inbox import numbered
from tests.patience import PATIENCE
from trunkline import GrpcMessageBus, TrunklineError, WaitingFilter

CHANNEL = "faults:waiting"


async def test_a_kill_leaves_each_message_in_one_of_two(start_program: StartProgram, tmp_path: Path) -> None:
    """Moved to and fro under kills: none is in both, none in none; what was cancelled stays so."""
    program = start_program("bus", "--path", f"{tmp_path}/bus.db")
    async with GrpcMessageBus(program.address) as bus:
        for name in ("a", "b"):
            await bus.create_durable(name, CHANNEL)
        await bus.pause_durable("a")
        receipts = await asyncio.gather(*(bus.publish(CHANNEL, numbered(n), stored=True) for n in range(600)))
        await bus.cancel_waiting("b", WaitingFilter())
        gone = WaitingFilter(sequences=[receipt.sequence for receipt in receipts[::4]])
        assert (await bus.cancel_waiting("a", gone)).cancelled == 150
    source, target = "a", "b"
    for kill in range(4):
        async with GrpcMessageBus(program.address) as bus:
            moving = asyncio.ensure_future(bus.move_waiting(source, WaitingFilter(), target))
            await asyncio.sleep(0.005 * kill)
            program.kill()
            with suppress(TrunklineError):
                await asyncio.wait_for(moving, PATIENCE)
        program.restart()
        async with GrpcMessageBus(program.address) as bus:
            waits = Counter[object]()
            for name in (source, target):
                async for each in bus.waiting_messages(name):
                    waits[each.message.payload["n"]] += 1
            assert set(waits.values()) == {1}
            assert set(waits) == {n for n in range(600) if n % 4}
            assert sum([(await bus.durable(name)).waiting for name in (source, target)]) == 450
            await bus.move_waiting(source, WaitingFilter(), target)
            assert (await bus.durable(target)).waiting == 450
        source, target = target, source
    taken = Counter[object]()
    async with GrpcMessageBus(program.address) as bus, asyncio.timeout(PATIENCE):
        for name in ("a", "b"):
            await bus.resume_durable(name)
        async for message in bus.messages(CHANNEL, durable=source):
            taken[message.payload["n"]] += 1
            await message.ack()
            if len(taken) == 450:
                break
        assert set(taken.values()) == {1}
