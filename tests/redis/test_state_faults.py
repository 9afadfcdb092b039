"""State services over Redis, when Redis or one of them is killed, hangs, forgets, is full or fails over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import RunningProgram, health
from tests.redis.servers import cluster, pause, resume, running, sentinels
from trunkline import (
    AgentMessage,
    AgentState,
    Change,
    ChangeType,
    CompactedError,
    DurableMessage,
    EndReason,
    GrpcMessageBus,
    GrpcStateManager,
    OverloadedError,
    StateError,
    StateManager,
)

SERVICE = "trunkline.v1.StateService"
SYNCED: dict[str, Any] = {"appendonly": "yes", "appendfsync": "always"}

FAILOVER = 5 * PATIENCE
"""Seconds. Sentinels that a busy machine held back for two seconds do nothing for the next thirty, each time."""


def agent(id: str, **fields: Any) -> AgentState:
    return AgentState(agent_id=id, agent_type="coding", **fields)


def serve(start: StartProgram, url: str, *options: str) -> RunningProgram:
    """Starts a state service over a Redis."""
    return start("state", "--engine", "redis", *options, env={"TRUNKLINE_STATE_REDIS_URL": url})


async def until_health(program: RunningProgram, wanted: str) -> None:
    """Returns when the service says so of itself."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if await asyncio.to_thread(health, program.address, SERVICE) == wanted:
                return
            await asyncio.sleep(0.05)


async def eventually_saves(state: StateManager, id: str) -> int:
    """Saves a record, again and again until it is answered; returns its revision."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await state.save_agent_state(agent(id))
            except StateError:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def watching(state: StateManager, **options: Any) -> AsyncIterator[AsyncIterator[Change]]:
    """A watch of agent states that has told what there was."""
    async with aclosing(state.watch("agent_state", **options)) as changes:  # type: ignore[type-var]
        async with asyncio.timeout(PATIENCE):
            while (await anext(changes)).type is not ChangeType.SYNCED:
                pass
        yield changes


async def change_of(changes: AsyncIterator[Change], holds: Callable[[Change], bool]) -> Change:
    """Returns the next change of which that is true."""
    async with asyncio.timeout(PATIENCE):
        async for change in changes:
            if holds(change):
                return change
    raise AssertionError("the watch ended")


@pytest.mark.parametrize("fault", ["killed", "paused"])
async def test_redis_away_and_back(start_program: StartProgram, fault: str) -> None:
    """Reads and writes fail clearly, readiness says so; all comes back by itself, and the watch goes on."""
    with running(**SYNCED) as server:
        program = serve(start_program, server.url, "--redis-timeout", "2", "--redis-wait", "1")
        async with GrpcStateManager(program.address) as state:
            revision = await state.save_agent_state(agent("before"))
            async with watching(state) as changes:
                server.kill() if fault == "killed" else pause(server)
                with pytest.raises(StateError) as refused:
                    await state.save_agent_state(agent("during"))
                assert refused.value.error_code in ("STORAGE_UNAVAILABLE", "STATE_DISCONNECTED")
                with pytest.raises(StateError) as unread:
                    await state.get_agent_state("before")
                assert unread.value.error_code == "STORAGE_UNAVAILABLE"
                await until_health(program, "NOT_SERVING")
                server.start() if fault == "killed" else resume(server)
                await until_health(program, "SERVING")
                assert await eventually_saves(state, "after") > revision
                await change_of(changes, lambda change: change.id == "after")
            got = await state.get_agent_state("before")
            assert got is not None
            assert got.revision == revision


async def test_redis_that_forgot_is_noticed(start_program: StartProgram) -> None:
    """Watches are told to start anew, on each replica; no revision is used twice."""
    with running() as server:
        programs = [serve(start_program, server.url) for _ in range(2)]
        async with (
            GrpcStateManager(programs[0].address) as one,
            GrpcStateManager(programs[1].address) as other,
            watching(one) as changes,
            watching(other) as others,
        ):
            last = [await one.save_agent_state(agent(f"{n}")) for n in range(10)][-1]
            await change_of(others, lambda change: change.revision == last)
            server.kill()
            server.start()
            for each in (changes, others):
                with pytest.raises(CompactedError):
                    await change_of(each, lambda change: change.revision > last)
            assert await other.get_agent_state("1") is None
            assert await eventually_saves(other, "new") > last
            assert await one.save_agent_state(agent("newer"), expected_revision=0) > last
            async with watching(other) as anew:
                await one.save_agent_state(agent("watched"))
                await change_of(anew, lambda change: change.id == "watched")
        assert any("has lost changes" in program.output() for program in programs)


async def test_memory_that_is_full(start_program: StartProgram) -> None:
    """Saves are refused, and say so; reads and deletes go on; with room again, saves do."""
    with running(maxmemory="12mb", maxmemory_policy="noeviction") as server:
        program = serve(start_program, server.url, "--watch-history-bytes", str(1024 * 1024))
        async with GrpcStateManager(program.address) as state:
            saved: list[str] = []

            async def fill() -> None:
                for n in range(1000):
                    await state.save_agent_state(agent(f"{n}", metadata={"x": "y" * 100_000}))
                    saved.append(f"{n}")

            with pytest.raises(OverloadedError) as refused:
                await fill()
            assert refused.value.details["limit"] == "redis_maxmemory"
            assert len(saved) > 10
            got = await state.get_agent_state(saved[-1])
            assert got is not None
            assert await state.get_agent_state(f"{len(saved)}") is None
            for id in saved[:-3]:
                assert await state.delete_agent_state(id)
            await eventually_saves(state, "again")
            assert len(await state.list_agent_states()) == 4


async def test_a_replica_that_dies_leaves_its_work_to_the_other(
    start_program: StartProgram, killable_bus: RunningProgram
) -> None:
    """What has a TTL ends, and the messages of writes are handed on, each once."""
    with running(**SYNCED) as server:
        options = ("--bus-address", killable_bus.address)
        dies, lives = (serve(start_program, server.url, *options) for _ in range(2))
        came: asyncio.Queue[object] = asyncio.Queue()

        async def take(message: DurableMessage) -> None:
            came.put_nowait(message.payload["n"])

        def publish(n: str) -> list[tuple[str, AgentMessage]]:
            return [("outbox:x", AgentMessage(message_type="x", sender_id="tests", payload={"n": n}))]

        async with GrpcMessageBus(killable_bus.address) as bus, GrpcStateManager(lives.address) as state:
            await bus.subscribe("outbox:x", take, durable="taker", start="all")
            async with GrpcStateManager(dies.address) as other, watching(state) as changes:
                await other.save_agent_state(agent("ends"), ttl=2.0, publish=publish("first"))
                assert await asyncio.wait_for(came.get(), PATIENCE) == "first"
                dies.kill()
                await state.save_agent_state(agent("stays"), publish=publish("second"))
                end = await change_of(changes, lambda change: change.id == "ends" and change.record is None)
                assert end.reason is EndReason.EXPIRED
                assert await asyncio.wait_for(came.get(), PATIENCE) == "second"
                await state.save_agent_state(agent("stays"), publish=publish("third"))
                assert await asyncio.wait_for(came.get(), PATIENCE) == "third"
        assert came.empty()


class Writer:
    """Saves records through one replica all the time, and remembers what was answered, and when."""

    def __init__(self, state: GrpcStateManager, name: str) -> None:
        self.answered: dict[str, int] = {}
        self.moments: list[float] = []
        self.refusals: dict[str, int] = {}
        self._answered = asyncio.Condition()
        self._state = state
        self._name = name

    async def work(self, stop: asyncio.Event) -> None:
        """Until it is told to stop."""
        while not stop.is_set():
            id = f"{self._name}-{len(self.moments) + sum(self.refusals.values())}"
            try:
                self.answered[id] = await self._state.save_agent_state(agent(id))
                async with self._answered:
                    self.moments.append(time.monotonic())
                    self._answered.notify_all()
            except StateError as error:
                self.refusals[error.error_code] = self.refusals.get(error.error_code, 0) + 1
            await asyncio.sleep(0.005)

    async def until(self, writes: int) -> None:
        """Returns when so many more were answered."""
        wanted = len(self.moments) + writes
        async with asyncio.timeout(FAILOVER), self._answered:
            await self._answered.wait_for(lambda: len(self.moments) >= wanted)


@asynccontextmanager
async def writing(*states: GrpcStateManager) -> AsyncIterator[list[Writer]]:
    """A writer at each of these: they write when the block begins, and again when it ends, and then no more."""
    writers = [Writer(state, uuid4().hex[:6]) for state in states]
    stop = asyncio.Event()
    tasks = [asyncio.create_task(writer.work(stop)) for writer in writers]
    for writer in writers:
        await writer.until(50)
    yield writers
    for writer in writers:
        await writer.until(50)
    stop.set()
    await asyncio.gather(*tasks)


async def test_a_failover_under_load(start_program: StartProgram) -> None:
    """The master is killed: writes stop, and go on by themselves on both replicas. What was lost with it, since Redis
    copies after it answers, is noticed: then watches start anew. No revision is used twice."""
    with sentinels() as watched:
        programs = [serve(start_program, watched.url, "--redis-timeout", "2") for _ in range(2)]
        async with (
            GrpcStateManager(programs[0].address) as one,
            GrpcStateManager(programs[1].address) as other,
            watching(other) as changes,
        ):
            async with writing(one, other, one, other) as writers:
                killed = time.monotonic()
                watched.master.kill()
            last = await one.save_agent_state(agent("last"))
            found = {state.agent_id: state.revision for state in await other.list_agent_states()}
            try:
                await change_of(changes, lambda change: change.revision >= last)
                watch = "went on"
            except CompactedError:
                watch = "started anew"
        answered = {id: revision for writer in writers for id, revision in writer.answered.items()}
        lost = {id for id, revision in answered.items() if found.get(id) != revision}
        stood = max(min(each for each in writer.moments if each > killed) - killed for writer in writers)
        refusals = [writer.refusals for writer in writers]
        print(f"{len(answered)} writes, {stood:.1f} s without, refused {refusals}, {len(lost)} lost, watch {watch}")  # noqa: T201
        assert len(set(answered.values())) == len(answered)
        assert max(answered.values()) < last
        assert not lost or watch == "started anew"
        assert not lost or any("has lost changes" in program.output() for program in programs)


async def test_a_slot_moves_under_load(start_program: StartProgram) -> None:
    """The store's, to another master, key by key: writes wait, and go on by themselves on both replicas. Nothing is
    lost, no revision is used twice, and watches go on."""
    with cluster(**SYNCED) as nodes:
        programs = [serve(start_program, nodes.url) for _ in range(2)]
        async with (
            GrpcStateManager(programs[0].address) as one,
            GrpcStateManager(programs[1].address) as other,
            watching(other) as changes,
        ):
            async with writing(one, other, one, other) as writers:
                moved = await asyncio.to_thread(nodes.move_slot, "{trunkline:state}", lambda: time.sleep(1.0))
                assert moved[0] is not moved[1]
            last = await one.save_agent_state(agent("last"))
            found = {state.agent_id: state.revision for state in await other.list_agent_states()}
            await change_of(changes, lambda change: change.revision >= last)
        answered = {id: revision for writer in writers for id, revision in writer.answered.items()}
        stood = max(max(b - a for a, b in pairwise(writer.moments)) for writer in writers)
        refusals = [writer.refusals for writer in writers]
        print(f"{len(answered)} writes, {stood:.1f} s without, refused {refusals}, 0 lost, the watch went on")  # noqa: T201
        assert {id: found.get(id) for id in answered} == answered
        assert len(set(answered.values())) == len(answered)
