"""What GrpcMessageBus does of itself for durable delivery: leases, what it gives back, and a bus that is killed."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from grpc import aio

import trunkline
from tests.bus.durable.calls import eventually, get
from tests.client.relay import relay
from tests.conftest import StartProgram
from tests.contract.durables import AT_ONCE, numbers, store, take
from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline import (
    AgentMessage,
    BusDisconnectedError,
    CompactedError,
    DurableMessage,
    DurableSettings,
    GrpcMessageBus,
    Receipt,
)
from trunkline.v1 import bus_pb2, bus_pb2_grpc

SHORT = DurableSettings(ack_wait=0.3)


@pytest.fixture
def channel() -> str:
    """A channel of this test alone."""
    return f"client:{uuid4().hex}:work"


@pytest.fixture
def name() -> str:
    """A durable name of this test alone."""
    return f"client-{uuid4().hex}"


@pytest.fixture
async def stub(bus_address: str) -> AsyncIterator[Any]:
    """A raw stub of the session's bus."""
    async with aio.insecure_channel(bus_address) as line:
        yield bus_pb2_grpc.BusServiceStub(line)


async def test_leases_are_extended_while_a_handler_lives(bus_address: str, stub: Any, channel: str, name: str) -> None:
    """A handler of four leases' length has its message to itself, although another subscriber is free."""
    began: list[tuple[Any, int]] = []
    done = asyncio.Event()

    async def slow(message: DurableMessage) -> None:
        began.append((message.payload["n"], message.attempt))
        await asyncio.sleep(1.2)  # that is what it does
        done.set()

    async with GrpcMessageBus(bus_address) as one, GrpcMessageBus(bus_address) as two:
        for bus in (one, two):
            await bus.subscribe(channel, slow, durable=name, settings=SHORT, credit=1)
        await store(one, channel, numbered(1))
        await asyncio.wait_for(done.wait(), PATIENCE)
        left = await eventually(lambda: get(stub, name), lambda now: now.acked == 1)
        assert (left.leased, left.retrying, left.redelivered) == (0, 0, 0)
    assert began == [(1, 1)]


async def test_what_waits_behind_a_slow_handler_is_extended_too(bus_address: str, channel: str, name: str) -> None:
    """Sent ahead and not begun, it stays leased: each is handed out once."""
    inbox, tried = Inbox(), []

    async def slow(message: DurableMessage) -> None:
        tried.append(message.attempt)
        await asyncio.sleep(0.25)  # that is what it does
        await inbox(message)

    async with GrpcMessageBus(bus_address) as bus:
        await bus.subscribe(channel, slow, durable=name, settings=SHORT, credit=5)
        await store(bus, channel, *(numbered(n) for n in range(5)))
        await inbox.have(5)
    assert inbox.numbers == [0, 1, 2, 3, 4]
    assert tried == [1] * 5


async def test_disconnect_gives_back_what_was_not_started(bus_address: str, stub: Any, channel: str, name: str) -> None:
    """Also what was on its way: nothing is leased afterwards, and no attempt is counted."""
    async with GrpcMessageBus(bus_address) as publisher:
        await publisher.create_durable(name, channel)
        await asyncio.gather(*(publisher.publish(channel, numbered(n), stored=True) for n in range(20_000)))
        leaver = GrpcMessageBus(bus_address)
        await leaver.connect()
        stream = leaver.messages(channel, durable=name, credit=2_048)
        for _ in range(500):
            message = await asyncio.wait_for(anext(stream), PATIENCE)
            await message.ack()
        await leaver.disconnect()
        left = await get(stub, name)
        assert (left.leased, left.acked, left.waiting + left.retrying) == (0, 500, 19_500)
        taken = await take(publisher, channel, name, 3_000, credit=2_048)
    assert {each.attempt for each in taken} == {1}
    assert numbers(taken) == list(range(500, 3_500))


async def test_disconnect_gives_back_what_was_started_as_failed(
    bus_address: str, stub: Any, channel: str, name: str
) -> None:
    """A callback that is torn off, and a message that an iterator gave out: again at once, as attempt 2."""
    async with GrpcMessageBus(bus_address) as other:
        for how in ("callback", "iterator"):
            durable, came = f"{name}-{how}", Inbox()

            async def endless(message: AgentMessage, came: Inbox = came) -> None:
                await came(message)
                await asyncio.Event().wait()

            await other.create_durable(durable, channel, settings=AT_ONCE)
            await store(other, channel, numbered(how))
            async with GrpcMessageBus(bus_address) as leaver:
                if how == "callback":
                    await leaver.subscribe(channel, endless, durable=durable)
                    await came.have(1)
                else:
                    stream = leaver.messages(channel, durable=durable)
                    await asyncio.wait_for(anext(stream), PATIENCE)
            assert (await get(stub, durable)).leased == 0, how
            assert [each.attempt for each in await take(other, channel, durable, 1)] == [2]


async def test_a_stale_ack_is_refused_and_logged(
    bus_address: str, stub: Any, channel: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that stood still past its lease: its work went to another once, and its late ack changes nothing."""
    attempts: list[int] = []
    handed_on, returned = threading.Event(), asyncio.Event()

    async def stands_still(message: DurableMessage) -> None:
        assert handed_on.wait(PATIENCE)  # the whole loop stands still: nothing is extended
        returned.set()

    def takes_over(message: trunkline.sync.DurableMessage) -> None:
        attempts.append(message.attempt)
        handed_on.set()

    settings = DurableSettings(ack_wait=0.3, backoff=AT_ONCE.backoff)
    with trunkline.sync.MessageBus(bus_address) as other:
        async with GrpcMessageBus(bus_address) as still:
            await still.subscribe(channel, stands_still, durable=name, settings=settings, credit=1)
            await store(still, channel, numbered(1))
            other_subscribes = asyncio.to_thread(other.subscribe, channel, takes_over, durable=name)
            with caplog.at_level(logging.WARNING):
                await asyncio.gather(other_subscribes, asyncio.wait_for(returned.wait(), PATIENCE))
                left = await eventually(lambda: get(stub, name), lambda now: now.acked >= 1)
                await still.flush()
            assert (left.acked, left.leased, left.retrying, left.dead_lettered) == (1, 0, 0, 0)
    assert attempts == [2]
    assert name in caplog.text


async def test_after_a_kill_nothing_that_was_acked_comes_twice(killable_bus: RunningProgram) -> None:
    """Acks that the bus may not have seen are said again when it is back: each message is handed out once. What the
    bus had committed as handed out and not sent comes when its lease is over."""
    handed_out: list[tuple[Any, int]] = []
    half, everything = asyncio.Event(), asyncio.Event()

    async def work(message: DurableMessage) -> None:
        handed_out.append((message.payload["n"], message.attempt))
        if len(handed_out) == 500:
            half.set()
        if len({n for n, _ in handed_out}) == 1_000:
            everything.set()

    async with GrpcMessageBus(killable_bus.address) as bus:
        await bus.create_durable("work", "kill:work", settings=DurableSettings(ack_wait=3.0))
        await asyncio.gather(*(bus.publish("kill:work", numbered(n), stored=True) for n in range(1_000)))
        await bus.subscribe("kill:work", work, durable="work", credit=100)
        await asyncio.wait_for(half.wait(), PATIENCE)
        killable_bus.kill()
        await asyncio.to_thread(killable_bus.start)
        await asyncio.wait_for(everything.wait(), 3 * PATIENCE)
        async with aio.insecure_channel(killable_bus.address) as line:
            stub = bus_pb2_grpc.BusServiceStub(line)
            await eventually(lambda: get(stub, "work"), lambda now: not (now.waiting + now.leased + now.retrying))
    assert sorted(n for n, _ in handed_out) == list(range(1_000))


async def test_published_again_after_a_kill_each_is_stored_once(killable_bus: RunningProgram) -> None:
    """What was in flight raises BusDisconnectedError; the same messages again: what was receipted is a duplicate."""
    back = asyncio.Event()
    messages = [numbered(n) for n in range(3_000)]
    receipts: dict[int, Receipt] = {}
    lost: set[int] = set()
    some = asyncio.Event()

    async with GrpcMessageBus(killable_bus.address, on_reconnected=back.set) as bus:

        async def publish(n: int) -> None:
            try:
                (receipts[n],) = await store(bus, "kill:work", messages[n])
                some.set()
            except BusDisconnectedError:
                lost.add(n)

        await bus.create_durable("work", "kill:work")
        publishing = asyncio.gather(*(publish(n) for n in range(3_000)))
        await asyncio.wait_for(some.wait(), PATIENCE)
        killable_bus.pause()  # what it has not answered by now stays in flight
        publishing_more = asyncio.ensure_future(bus.publish("kill:work", numbered("in flight"), stored=True))
        await asyncio.sleep(0)
        killable_bus.kill()
        with pytest.raises(BusDisconnectedError):
            await asyncio.wait_for(publishing_more, PATIENCE)
        await asyncio.wait_for(publishing, PATIENCE)
        await asyncio.to_thread(killable_bus.start)
        await asyncio.wait_for(back.wait(), PATIENCE)
        again = await asyncio.gather(*(store(bus, "kill:work", each) for each in messages))
        for n, receipt in receipts.items():
            assert [(each.duplicate, each.sequence) for each in again[n]] == [(True, receipt.sequence)]
        await store(bus, "kill:work", numbered("end"))
        taken = numbers(await take(bus, "kill:work", "work", 3_001, credit=1_000))
    assert taken.pop() == "end"
    assert sorted(taken) == list(range(3_000))
    assert lost | receipts.keys() == set(range(3_000))


async def test_a_receipt_that_was_lost_on_its_way(bus_address: str, stub: Any, channel: str, name: str) -> None:
    """Stored, but the line broke before its receipt: BusDisconnectedError; published again it is a duplicate."""
    message, back = numbered("once"), asyncio.Event()
    async with relay(bus_address) as line, GrpcMessageBus(line.address, on_reconnected=back.set) as bus:
        await bus.create_durable(name, channel)
        line.deafen()
        publishing = asyncio.ensure_future(bus.publish(channel, message, stored=True))
        await eventually(lambda: get(stub, name), lambda now: now.waiting == 1)
        line.cut()
        with pytest.raises(BusDisconnectedError):
            await asyncio.wait_for(publishing, PATIENCE)
        await asyncio.wait_for(back.wait(), PATIENCE)
        (receipt,) = await store(bus, channel, message)
        assert receipt.duplicate
        assert (await get(stub, name)).waiting == 1
        assert [each.sequence for each in await take(bus, channel, name, 1)] == [receipt.sequence]


async def test_acks_that_were_lost_on_their_way_are_said_again(
    bus_address: str, stub: Any, channel: str, name: str
) -> None:
    """The line breaks behind an ack: said again when it is back, it counts once and is no stale one."""
    back = asyncio.Event()
    async with relay(bus_address) as line, GrpcMessageBus(line.address, on_reconnected=back.set) as bus:
        await bus.create_durable(name, channel)
        await store(bus, channel, numbered(1), numbered(2))
        stream = bus.messages(channel, durable=name)
        first = await asyncio.wait_for(anext(stream), PATIENCE)
        line.cut()
        await first.ack()
        await asyncio.wait_for(back.wait(), PATIENCE)
        second = await asyncio.wait_for(anext(stream), PATIENCE)
        await second.ack()
        left = await eventually(lambda: get(stub, name), lambda now: now.acked == 2)
        assert (left.leased, left.retrying, left.redelivered) == (0, 0, 0)
        assert (first.attempt, second.attempt) == (1, 1)
        await stream.aclose()


async def test_a_place_that_is_not_kept_any_more(start_program: StartProgram, socket_dir: Any) -> None:
    """To start at or to move to: CompactedError, with the oldest that can be had."""
    rules = {"TRUNKLINE_BUS_RETENTION": '[{"pattern": ">", "max_messages": 5}]'}
    program = start_program("bus", "--path", f"{socket_dir}/bus.db", "--dedup-seconds", "0", env=rules)
    async with GrpcMessageBus(program.address) as bus:
        await bus.create_durable("there", "a:b")
        for n in range(20):
            await store(bus, "a:b", numbered(n))
        await take(bus, "a:b", "there", 20)
        async with aio.insecure_channel(program.address) as line:
            stub: Any = bus_pb2_grpc.BusServiceStub(line)
            await eventually(lambda: stub.GetStats(bus_pb2.GetStatsRequest()), lambda now: now.journal_messages == 5)
        for attempt in (
            bus.seek_durable("there", 1),
            bus.create_durable("new", "a:b", start=1),
            bus.subscribe("a:b", Inbox(), durable="new", start=1),
        ):
            with pytest.raises(CompactedError) as caught:
                await attempt
            assert caught.value.details["requested"] == 1
            assert 1 < caught.value.details["oldest"] <= 16
        await bus.seek_durable("there", "all")
        assert numbers(await take(bus, "a:b", "there", 5)) == [15, 16, 17, 18, 19]
