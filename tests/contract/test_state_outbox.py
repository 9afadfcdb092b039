"""Writes that carry messages, over every StateManager and every bus that it hands them to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.spread import spread
from tests.patience import PATIENCE
from trunkline import (
    AgentMessage,
    AgentState,
    Delete,
    DurableMessage,
    GrpcMessageBus,
    GrpcStateManager,
    InMemoryMessageBus,
    InMemoryStateManager,
    InvalidRecordError,
    MessageBus,
    MessageTooLargeError,
    OutboxMessage,
    RevisionMismatchError,
    Save,
    StateManager,
    TaskResult,
    WorkflowState,
)
from trunkline.sync import StateManager as SyncStateManager

Both = tuple[StateManager, MessageBus]


@pytest.fixture(params=["memory", "grpc", "sidecar", "redis-replicas"])
async def both(request: pytest.FixtureRequest) -> AsyncIterator[Both]:
    """A store, and the bus that it hands messages to."""
    if request.param == "memory":
        bus = InMemoryMessageBus()
        async with bus, InMemoryStateManager(bus=bus) as state:
            yield state, bus
        return
    addresses = [request.getfixturevalue("bus_address"), request.getfixturevalue("state_address")]
    if request.param == "sidecar":
        addresses = [request.getfixturevalue("sidecar_address")] * 2
    if request.param == "redis-replicas":
        replicas = [GrpcStateManager(address) for address in request.getfixturevalue("redis_state_addresses")]
        async with GrpcMessageBus(addresses[0]) as one_bus, spread(replicas) as both_replicas:
            yield both_replicas, one_bus
        return
    async with GrpcMessageBus(addresses[0]) as bus_there, GrpcStateManager(addresses[1]) as state_there:
        yield state_there, bus_there


@pytest.fixture
def prefix() -> str:
    """Ids and channels of this test alone."""
    return uuid4().hex[:12]


def numbered(n: object) -> AgentMessage:
    """A message with a number."""
    return AgentMessage(message_type="x", sender_id="tests", payload={"n": n})


def result(task_id: str) -> TaskResult:
    return TaskResult(task_id=task_id, agent_id="a", status="completed")


class Came:
    """What a bus has stored on some channels, in order."""

    def __init__(self) -> None:
        self.messages: list[DurableMessage] = []
        self._news = asyncio.Condition()

    async def __call__(self, message: DurableMessage) -> None:
        async with self._news:
            self.messages.append(message)
            self._news.notify_all()

    async def numbers(self, count: int) -> list[Any]:
        """Waits for so many messages, and returns all numbers that came."""
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: len(self.messages) >= count)
        return [message.payload["n"] for message in self.messages]


async def listen(bus: MessageBus, prefix: str) -> Came:
    came = Came()
    await bus.subscribe(f"{prefix}:*", came, durable=prefix, start="all")
    return came


async def test_each_write_publishes_its_messages(both: Both, prefix: str) -> None:
    """Saves and deletes of every kind, alone and in batches: stored, in the order of the writes, with their ids."""
    state, bus = both
    came = await listen(bus, prefix)
    messages = [numbered(n) for n in range(12)]
    publish = [[(f"{prefix}:a", message)] for message in messages]
    agent = AgentState(agent_id=prefix, agent_type="coding")
    await state.save_agent_state(agent, publish=publish[0])
    await state.save_workflow_state(WorkflowState(workflow_id=prefix), publish=publish[1])
    await state.save_task_result(result(prefix), publish=[*publish[2], *publish[3]])
    assert await state.delete_agent_state(prefix, publish=publish[4])
    assert await state.delete_workflow_state(prefix, publish=publish[5])
    assert await state.delete_task_result(prefix, publish=publish[6])
    assert not await state.delete_task_result(prefix, publish=[(f"{prefix}:a", numbered("of none"))])
    await state.batch([Save(agent, publish=publish[7]), Delete("agent_state", prefix, publish=publish[8])])
    operations = [Save(agent, 0, publish=publish[9]), Save(result(prefix), publish=publish[10])]
    await state.batch(operations, atomic=True)
    await state.save_agent_state(agent, publish=publish[11])
    assert await came.numbers(12) == list(range(12))
    assert [each.message_id for each in came.messages] == [message.message_id for message in messages]


async def test_a_write_that_fails_publishes_nothing(both: Both, prefix: str) -> None:
    """Another revision, or another operation of an atomic batch; without atomic, the others' messages go."""
    state, bus = both
    came = await listen(bus, prefix)
    publish = [(f"{prefix}:a", numbered("never"))]
    with pytest.raises(RevisionMismatchError):
        await state.save_task_result(result(prefix), expected_revision=7, publish=publish)
    good, bad = Save(result(prefix), publish=publish), Save(result(f"{prefix}2"), 7, publish=publish)
    with pytest.raises(RevisionMismatchError):
        await state.batch([good, bad], atomic=True)
    assert await state.get_task_result(prefix) is None
    outcomes = await state.batch([Save(result(prefix), publish=[(f"{prefix}:a", numbered(1))]), bad])
    assert isinstance(outcomes[1], RevisionMismatchError)
    await state.save_task_result(result(prefix), publish=[(f"{prefix}:a", numbered(2))])
    assert await came.numbers(2) == [1, 2]


async def test_a_message_says_how_it_is_delivered(both: Both, prefix: str) -> None:
    """An ordering key, and a delay that counts from the save."""
    state, bus = both
    came = await listen(bus, prefix)
    later = OutboxMessage(f"{prefix}:a", numbered("later"), deliver_after=0.2)
    keyed = OutboxMessage(f"{prefix}:b", numbered("keyed"), ordering_key="k")
    await state.save_task_result(result(prefix), publish=[later, keyed])
    assert await came.numbers(2) == ["keyed", "later"]
    assert [each.ordering_key for each in came.messages] == ["k", None]


@pytest.mark.parametrize(
    ("publish", "says"),
    [
        ([("a::b", numbered(1))], r"publish\[0\].channel: channel 'a::b'"),
        ([("a", numbered(1)), ("a b", numbered(1))], r"publish\[1\].channel"),
        ([OutboxMessage("a", numbered(1), ordering_key="k" * 256)], r"publish\[0\].ordering_key: .* 256 bytes"),
        ([OutboxMessage("a", numbered(1), deliver_after=-1)], r"publish\[0\].deliver_after: .* is -1 s"),
        ([OutboxMessage("a", numbered(1), deliver_at=datetime(2030, 1, 1))], r"deliver_at: .* no time zone"),
        ([("a", numbered(1))] * 1_001, r"publish has 1001 entries, at most 1000"),
    ],
)
async def test_what_a_bus_would_refuse_is_refused_at_once(
    both: Both, prefix: str, publish: list[Any], says: str
) -> None:
    """The error names the message and its field; nothing is written."""
    state, _ = both
    for write in (
        lambda: state.save_task_result(result(prefix), publish=publish),
        lambda: state.batch([Save(result(prefix), publish=publish)], atomic=True),
        lambda: state.delete_task_result(prefix, publish=publish),
    ):
        with pytest.raises(InvalidRecordError, match=says):
            await write()
    assert await state.get_task_result(prefix) is None


async def test_a_message_that_is_too_large_is_refused(both: Both, prefix: str) -> None:
    """With its size and the limit, and which one it is."""
    state, _ = both
    large = AgentMessage(message_type="x", sender_id="tests", payload={"text": "x" * 5_000_000})
    with pytest.raises(MessageTooLargeError, match="at most 4194304 are allowed") as caught:
        await state.save_task_result(result(prefix), publish=[("a", numbered(1)), ("a", large)])
    assert caught.value.details["field"] == "publish[1]"
    assert await state.get_task_result(prefix) is None


async def test_what_is_no_message_is_a_mistake(both: Both) -> None:
    """It is said before anything is sent."""
    state, _ = both
    with pytest.raises(TypeError, match=r"publish\[0\]: want a pair of a channel and an AgentMessage, not dict"):
        await state.save_task_result(result("a"), publish=[("a", {"n": 1})])  # type: ignore[list-item]


async def test_the_figures_of_the_outbox(both: Both, prefix: str) -> None:
    """What waits, and what was handed on."""
    state, bus = both
    came = await listen(bus, prefix)
    before = (await state.statistics()).outbox
    assert before is not None
    await state.save_task_result(result(prefix), publish=[(f"{prefix}:a", numbered(1))])
    await came.numbers(1)
    async with asyncio.timeout(PATIENCE):
        while True:
            after = (await state.statistics()).outbox
            assert after is not None
            if after.relayed > before.relayed and not after.waiting:
                break
            await asyncio.sleep(0.01)
    assert (after.bus_connected, after.oldest_at, after.stuck, after.waiting_bytes) == (True, None, 0, 0)


async def test_a_store_without_a_bus_refuses_messages() -> None:
    """It says what is missing; nothing is written, and writes without messages go on."""
    async with InMemoryStateManager() as state:
        with pytest.raises(InvalidRecordError, match="this state service was given no bus") as caught:
            await state.save_task_result(result("a"), publish=[("a", numbered(1))])
        assert caught.value.details["field"] == "publish"
        assert await state.get_task_result("a") is None
        await state.save_task_result(result("a"))
        assert (await state.statistics()).outbox is None


def test_the_synchronous_face(state_address: str, bus_address: str, prefix: str) -> None:
    """Saves, deletes and batches take messages as well."""
    with SyncStateManager(state_address) as state:
        state.save_task_result(result(prefix), publish=[(f"{prefix}:a", numbered(0))])
        state.batch([Save(result(prefix), publish=[(f"{prefix}:a", numbered(1))])])
        state.delete_task_result(prefix, publish=[(f"{prefix}:a", numbered(2))])

    async def stored() -> list[Any]:
        async with GrpcMessageBus(bus_address) as bus:
            return await (await listen(bus, prefix)).numbers(3)

    assert asyncio.run(stored()) == [0, 1, 2]


async def test_a_store_in_memory_waits_for_its_bus(prefix: str) -> None:
    """A bus that is connected later has what was saved before."""
    bus = InMemoryMessageBus()
    async with InMemoryStateManager(bus=bus) as state:
        await state.save_task_result(result(prefix), publish=[(f"{prefix}:a", numbered(1))])
        outbox = (await state.statistics()).outbox
        assert outbox is not None
        assert (outbox.waiting, outbox.bus_connected) == (1, False)
        async with bus:
            assert await (await listen(bus, prefix)).numbers(1) == [1]


async def test_a_store_in_memory_hands_on_what_it_has_before_it_ends(prefix: str) -> None:
    """What was saved last is on the bus when `disconnect` returns."""
    bus = InMemoryMessageBus()
    async with bus:
        came = await listen(bus, prefix)
        async with InMemoryStateManager(bus=bus) as state:
            for n in range(50):
                await state.save_task_result(result(prefix), publish=[(f"{prefix}:a", numbered(n))])
        assert await came.numbers(50) == list(range(50))
