"""Writes that carry messages, while state and bus are killed: both or neither, and no message twice.

Set TRUNKLINE_OUTBOX_KILLS for more kills than `make test` has time for."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import RunningProgram, address_of, hold_port
from tests.sidecar.outage import metrics_of
from trunkline import (
    AgentMessage,
    DurableMessage,
    DurableSettings,
    GrpcMessageBus,
    GrpcStateManager,
    OutboxStatistics,
    OverloadedError,
    StateDisconnectedError,
    TaskResult,
)

KILLS: Final = int(os.environ.get("TRUNKLINE_OUTBOX_KILLS", "9"))
SAVES_A_KILL: Final = 100
SAVERS: Final = 8
SEED: Final = 12


def numbered(n: object, **fields: object) -> AgentMessage:
    """A message with a number."""
    return AgentMessage(message_type="task_result", sender_id="tests", payload={"n": n, **fields})


def result(task_id: str) -> TaskResult:
    return TaskResult(task_id=task_id, agent_id="a", status="completed")


@pytest.fixture
def channel() -> str:
    """A channel of this test alone."""
    return f"outbox:{uuid4().hex}"


@pytest.fixture
def state(start_program: StartProgram, socket_dir: Path, killable_bus: RunningProgram) -> RunningProgram:
    """A state service of this test alone, before its killable bus."""
    return start_state(start_program, socket_dir, killable_bus.address)


def start_state(start: StartProgram, directory: Path, bus_address: str, *options: str) -> RunningProgram:
    files = ("--engine", "sqlite", "--path", f"{directory}/state.db", "--metrics-address", "127.0.0.1:0")
    return start("state", *files, "--bus-address", bus_address, *options)


async def outbox_of(manager: GrpcStateManager) -> OutboxStatistics:
    outbox = (await manager.statistics()).outbox
    assert outbox is not None
    return outbox


async def emptied(manager: GrpcStateManager) -> OutboxStatistics:
    """Waits until nothing waits for the bus."""
    async with asyncio.timeout(PATIENCE):
        while True:
            outbox = await outbox_of(manager)
            if not outbox.waiting:
                return outbox
            await asyncio.sleep(0.05)


class Stored:
    """What the bus has on a channel: the payload's `n` by sequence. What is handed out again counts once."""

    def __init__(self) -> None:
        self.by_sequence: dict[int, str] = {}
        self._news = asyncio.Condition()

    async def __call__(self, message: DurableMessage) -> None:
        async with self._news:
            assert message.sequence is not None
            self.by_sequence[message.sequence] = str(message.payload["n"])
            self._news.notify_all()

    @property
    def in_order(self) -> list[str]:
        return [n for _, n in sorted(self.by_sequence.items())]

    async def have(self, count: int) -> None:
        """Waits until so many came; patient as long as some come."""
        async with self._news:
            while len(self.by_sequence) < count:
                await asyncio.wait_for(self._news.wait(), PATIENCE)


@asynccontextmanager
async def reading(bus: RunningProgram, channel: str, name: str = "audit") -> AsyncIterator[Stored]:
    """Everything that is stored on a channel."""
    stored = Stored()
    async with GrpcMessageBus(bus.address) as client:
        settings = DurableSettings(ack_wait=PATIENCE)
        await client.subscribe(channel, stored, durable=name, start="all", settings=settings)
        yield stored


class Savers:
    """Save task results, each with a message that names it, until they are stopped."""

    def __init__(self, state: RunningProgram, channel: str) -> None:
        self.answered: list[str] = []
        self.in_doubt: set[str] = set()
        """Those whose answer never came."""
        self._state = state
        self._channel = channel
        self._news = asyncio.Event()
        self._stopped = False

    async def run(self) -> None:
        async with GrpcStateManager(self._state.address, timeout=PATIENCE) as manager:
            await asyncio.gather(*(self._save(manager, saver) for saver in range(SAVERS)))

    def stop(self) -> None:
        self._stopped = True

    async def answered_more(self, count: int) -> None:
        """Waits until so many more were answered."""
        wanted = len(self.answered) + count
        async with asyncio.timeout(PATIENCE):
            while len(self.answered) < wanted:
                self._news.clear()
                await self._news.wait()

    async def _save(self, manager: GrpcStateManager, saver: int) -> None:
        for n in itertools.count():
            if self._stopped:
                return
            id = f"{saver}-{n}"
            try:
                await manager.save_task_result(result(id), publish=[(self._channel, numbered(id))])
            except StateDisconnectedError:
                self.in_doubt.add(id)
            else:
                self.answered.append(id)
                self._news.set()


@pytest.mark.timeout(300 + 20 * KILLS)
async def test_both_or_neither_whoever_is_killed(
    killable_bus: RunningProgram, state: RunningProgram, channel: str
) -> None:
    """State, bus, or both are killed at any moment between save and publish, again and again. In the end there is no
    message without its record, no record without its message, none twice, and they are in the order of the writes."""
    dice = random.Random(SEED)
    savers = Savers(state, channel)
    running = asyncio.create_task(savers.run())
    victims = ([state], [killable_bus], [state, killable_bus])
    for kill in range(KILLS):
        await savers.answered_more(dice.randrange(1, SAVES_A_KILL))
        for victim in victims[kill % len(victims)]:
            victim.process.kill()
        await asyncio.gather(*(asyncio.to_thread(victim.restart) for victim in victims[kill % len(victims)]))
    await savers.answered_more(1)
    savers.stop()
    await asyncio.wait_for(running, PATIENCE)
    async with GrpcStateManager(state.address, timeout=PATIENCE) as manager:
        figures = await emptied(manager)
        saved = sorted(await manager.list_task_results(page_size=1_000), key=lambda each: each.revision or 0)
    assert (figures.stuck, figures.possible_duplicates) == (0, 0)
    ids = [each.task_id for each in saved]
    assert set(savers.answered) <= set(ids) <= set(savers.answered) | savers.in_doubt
    async with reading(killable_bus, channel) as stored:
        await stored.have(len(ids))
        async with GrpcMessageBus(killable_bus.address) as client:  # behind all that the relay sent
            await client.publish(channel, numbered("last"), stored=True)
        await stored.have(len(ids) + 1)
        assert stored.in_order == [*ids, "last"]


async def test_a_bus_that_is_away_for_long_holds_nobody_up(
    start_program: StartProgram, socket_dir: Path, channel: str
) -> None:
    """It was never there: saves are answered, shown as waiting, and bounded; what carries no messages goes on beyond
    the bound; a state service that is killed keeps them; the bus comes, and has them in order."""
    held = hold_port()
    try:
        state = start_state(start_program, socket_dir, address_of(held), "--max-outbox-messages", "20")
        async with GrpcStateManager(state.address) as manager:
            for n in range(20):
                await manager.save_task_result(result(f"{n}"), publish=[(channel, numbered(n))])
            with pytest.raises(OverloadedError, match="max_outbox_messages is 20, it has 20, and 1 came") as caught:
                await manager.save_task_result(result("refused"), publish=[(channel, numbered("refused"))])
            assert caught.value.details == {"limit": "max_outbox_messages", "maximum": "20", "held": "20"}
            assert await manager.get_task_result("refused") is None
            await manager.save_task_result(result("without"))
            figures = await outbox_of(manager)
            assert (figures.waiting, figures.bus_connected, figures.relayed) == (20, False, 0)
            assert figures.bus_address == address_of(held)
            assert figures.oldest_at is not None
            metrics = await asyncio.to_thread(metrics_of, state)
            assert "trunkline_state_outbox_waiting 20.0" in metrics
            assert "trunkline_state_outbox_bus_up 0.0" in metrics
        await asyncio.to_thread(state.restart)
        async with GrpcStateManager(state.address) as manager:
            assert (await outbox_of(manager)).oldest_at == figures.oldest_at
            with pytest.raises(OverloadedError):
                await manager.delete_task_result("0", publish=[(channel, numbered("refused"))])
            bus = start_program("bus", "--path", f"{socket_dir}/bus.db", address=address_of(held))
            after = await emptied(manager)
            assert (after.relayed, after.oldest_at, after.bus_connected) == (20, None, True)
            assert await manager.delete_task_result("0", publish=[(channel, numbered("deleted"))])
            await emptied(manager)
        async with reading(bus, channel) as stored:
            await stored.have(21)
            assert stored.in_order == [*map(str, range(20)), "deleted"]
    finally:
        held.close()


async def test_what_the_bus_never_takes_is_set_aside(
    start_program: StartProgram, socket_dir: Path, channel: str
) -> None:
    """A message that is larger than the bus's limit is stuck: counted, shown and logged; those around it arrive."""
    bus = start_program("bus", "--path", f"{socket_dir}/bus.db", "--max-message-bytes", "2000")
    state = start_state(start_program, socket_dir, bus.address)
    large = numbered(1, text="x" * 3_000)
    async with GrpcStateManager(state.address) as manager:
        messages = [(channel, numbered(0)), (channel, large), (channel, numbered(2))]
        await manager.save_task_result(result("a"), publish=messages)
        figures = await emptied(manager)
        assert (figures.stuck, figures.relayed) == (1, 2)
        [stuck] = figures.last_stuck
        assert (stuck.channel, stuck.message_id, stuck.reason) == (channel, large.message_id, "MESSAGE_TOO_LARGE")
        assert "at most 2000 are allowed" in stuck.error
        await asyncio.to_thread(state.restart)
    async with GrpcStateManager(state.address) as manager:
        figures = await outbox_of(manager)
        assert (figures.stuck, [each.message_id for each in figures.last_stuck]) == (1, [large.message_id])
    async with reading(bus, channel) as stored:
        await stored.have(2)
        assert stored.in_order == ["0", "2"]
    assert "trunkline_state_outbox_stuck 1.0" in await asyncio.to_thread(metrics_of, state)
