"""GrpcMessageBus: what is its own beyond the contract of every bus: buffers, listeners, lives of a connection."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

import grpc
import pytest

from tests.bus.durable.calls import eventually
from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE, Stopwatch
from tests.programs import RunningProgram
from trunkline import (
    AgentMessage,
    BusDisconnectedError,
    BusNotConnectedError,
    GrpcMessageBus,
    MessageTooLargeError,
    OverloadedError,
)
from trunkline.limits import CLIENT_BUFFER_BYTES, CLIENT_WINDOW_MESSAGES, FRAME_BYTES
from trunkline.v1 import bus_pb2, bus_pb2_grpc
from trunkline.v1.message_pb2 import Message


@pytest.fixture
def channel() -> str:
    """A channel of this test alone."""
    return f"client:{uuid4().hex}:work"


async def test_connecting_to_nobody_fails_in_time(socket_dir: Any) -> None:
    """connect raises BusDisconnectedError when the service does not answer, and leaves the object usable."""
    bus = GrpcMessageBus(f"unix:{socket_dir}/nobody.sock", connect_timeout=0.3)

    async def connect() -> None:
        with pytest.raises(BusDisconnectedError):
            await bus.connect()
        assert not bus.is_connected

    for _ in range(2):
        await Stopwatch(0, 3).measure_async(connect)
    await bus.disconnect()


async def test_connecting_to_another_service_is_refused(state_address: str) -> None:
    """A service that is no bus says so at once; it is not tried again and again."""

    async def connect() -> None:
        with pytest.raises(Exception, match=r"(?i)unimplemented|not found|not implemented"):
            await GrpcMessageBus(state_address, connect_timeout=20).connect()

    await Stopwatch(0, 10).measure_async(connect)


async def test_the_buffer_is_bounded_whatever_the_channels(bus_address: str, channel: str) -> None:
    """publish waits while the buffer of 4 MiB is full, also where every message is for another channel."""
    async with GrpcMessageBus(bus_address) as bus:
        assert bus._session is not None
        line = bus._session.stream
        largest = 0
        text = "x" * 2_000
        for n in range(12_000):
            await bus.publish(f"{channel}:{n % 2}", numbered(text))
            largest = max(largest, line.waiting_bytes)
        await bus.flush()
        assert line.waiting_bytes == 0
    assert largest <= CLIENT_BUFFER_BYTES + 3 * FRAME_BYTES


async def test_the_buffer_is_bounded_while_the_connection_is_lost(killable_bus: RunningProgram, channel: str) -> None:
    """What is published meanwhile waits in the buffer; when that is full, publish raises and takes nothing more."""
    lost, back = asyncio.Event(), asyncio.Event()
    bus = GrpcMessageBus(killable_bus.address, on_disconnected=lambda _: lost.set(), on_reconnected=back.set)
    await bus.connect()
    killable_bus.kill()
    await asyncio.wait_for(lost.wait(), PATIENCE)
    assert bus._session is not None
    line = bus._session.stream
    taken = refused = 0
    text = "x" * 2_000
    while refused < 500:
        try:
            await bus.publish(f"{channel}:{taken % 3}", numbered(text))
            taken += 1
        except BusDisconnectedError:
            refused += 1
    assert bus.published_count == taken
    assert line.waiting_bytes + FRAME_BYTES >= CLIENT_BUFFER_BYTES
    assert line.waiting_bytes <= CLIENT_BUFFER_BYTES + 3 * FRAME_BYTES
    killable_bus.start()
    await asyncio.wait_for(back.wait(), PATIENCE)
    await bus.publish(channel, numbered("after"))
    async with GrpcMessageBus(killable_bus.address) as other:
        await other.flush()
    await bus.flush()  # what waited in the buffer was sent, so nothing is in doubt
    async with grpc.aio.insecure_channel(killable_bus.address) as raw:
        stub: Any = bus_pb2_grpc.BusServiceStub(raw)
        figures = await stub.GetStats(bus_pb2.GetStatsRequest())
    assert figures.published == taken + 1, "each message that was taken was sent, once"
    await bus.disconnect()


async def test_disconnecting_from_a_service_that_hangs_ends(killable_bus: RunningProgram, channel: str) -> None:
    """disconnect always ends, also where the service does not read what was published."""
    bus = GrpcMessageBus(killable_bus.address)
    await bus.connect()
    killable_bus.pause()
    for _ in range(200):
        await bus.publish(channel, numbered("x" * 10_000))
    began = time.monotonic()
    await bus.disconnect()
    assert time.monotonic() - began < 10
    assert not bus.is_connected
    killable_bus.resume()


async def test_listeners_that_fail_hurt_nothing(killable_bus: RunningProgram, channel: str) -> None:
    """An exception of on_disconnected, on_reconnected or on_lagged is logged; the connection comes back."""
    calls: list[str] = []
    back = asyncio.Event()

    def fails(what: str) -> Any:
        def listener(*_: object) -> None:
            calls.append(what)
            if what == "reconnected":
                back.set()
            raise RuntimeError("a broken listener")

        return listener

    inbox = Inbox()
    bus = GrpcMessageBus(
        killable_bus.address, on_disconnected=fails("disconnected"), on_reconnected=fails("reconnected")
    )
    async with bus:
        await bus.subscribe(channel, inbox, on_lagged=fails("lagged"))
        killable_bus.restart()
        await asyncio.wait_for(back.wait(), PATIENCE)
        await bus.publish(channel, numbered(1))
        await inbox.have(1)
        assert bus.is_connected
    assert calls == ["disconnected", "reconnected"]


async def test_an_iterator_of_an_earlier_life_touches_nothing_of_the_next(bus_address: str, channel: str) -> None:
    """Ids begin anew with each connect: closing an old iterator leaves the new subscription of the same id alone."""
    bus, inbox = GrpcMessageBus(bus_address), Inbox()
    await bus.connect()
    old = bus.messages(channel, credit=2)
    first = asyncio.ensure_future(anext(old))
    async with GrpcMessageBus(bus_address) as other:
        for n in range(500):
            await other.publish(channel, numbered(n))
            await other.flush()
            if (await asyncio.wait({first}, timeout=0.01))[0]:
                break
        await other.publish(channel, numbered("waits"))
        await other.flush()
        await bus.flush()
        await bus.disconnect()
        await bus.connect()
        await bus.subscribe(channel, inbox)
        with pytest.raises(Exception, match="disconnected"):
            async for _ in old:
                pass
        await old.aclose()
        await other.publish(channel, numbered("new"))
        await inbox.have(1)
        await bus.flush()
    await bus.disconnect()


@pytest.mark.parametrize(
    ("how", "error"), [("unsubscribe", BusDisconnectedError), ("disconnect", BusNotConnectedError)]
)
async def test_a_subscribe_that_waits_for_the_line_does_not_outlive_its_subscription(
    killable_bus: RunningProgram, channel: str, how: str, error: type[Exception]
) -> None:
    """While the bus is away, subscribe waits; who ends the subscription meanwhile ends the wait."""
    lost = asyncio.Event()
    bus = GrpcMessageBus(killable_bus.address, on_disconnected=lambda _: lost.set())
    await bus.connect()
    killable_bus.kill()
    await asyncio.wait_for(lost.wait(), PATIENCE)
    subscribing = asyncio.create_task(bus.subscribe(channel, Inbox()))
    await asyncio.sleep(0)
    assert not subscribing.done()
    await (bus.unsubscribe(channel) if how == "unsubscribe" else bus.disconnect())
    with pytest.raises(error):
        await asyncio.wait_for(subscribing, PATIENCE)
    await bus.disconnect()


async def test_what_the_service_refuses_comes_out_of_flush(start_program: Any, channel: str) -> None:
    """flush raises the first error of what was refused since the last one; the next is clean."""
    program = start_program("bus", "--max-message-bytes", "2000")
    async with GrpcMessageBus(program.address) as bus:
        await bus.publish(channel, numbered("fits"))
        await bus.flush()
        await bus.publish(channel, numbered("x" * 3_000))
        with pytest.raises(MessageTooLargeError) as caught:
            await bus.flush()
        assert caught.value.details["limit"] == 2_000
        await bus.flush()


async def test_a_subscription_that_is_refused_raises(start_program: Any, channel: str) -> None:
    """OVERLOADED from subscribe and from the iterator; the bus goes on, and there is room again after unsubscribe."""
    program = start_program("bus", "--max-subscriptions", "1")
    async with GrpcMessageBus(program.address) as bus:
        await bus.subscribe(channel, Inbox())
        with pytest.raises(OverloadedError) as caught:
            await bus.subscribe(f"{channel}:2", Inbox())
        assert caught.value.details == {"limit": "max_subscriptions", "maximum": 1}
        with pytest.raises(OverloadedError):
            await anext(bus.messages(channel))
        await bus.unsubscribe(channel)
        inbox = Inbox()
        await bus.subscribe(channel, inbox)
        await bus.publish(channel, numbered(1))
        await inbox.have(1)


async def _raw_publish(address: str, channel: str, *messages: Message) -> None:
    async with grpc.aio.insecure_channel(address) as raw:
        stub: Any = bus_pb2_grpc.BusServiceStub(raw)
        await stub.Publish(bus_pb2.PublishRequest(channel=channel, messages=messages))


async def test_a_message_that_cannot_be_read_stops_nothing(bus_address: str, channel: str) -> None:
    """What others publish ends no subscription: JSON nested too deeply, huge numbers."""
    inbox = Inbox()
    deep = "[" * 100_000 + "]" * 100_000
    deep_object = '{"a":' * 5_000 + "1" + "}" * 5_000
    huge = '{"n": ' + "9" * 5_000 + "}"
    async with GrpcMessageBus(bus_address) as bus:
        await bus.subscribe(channel, inbox)
        await _raw_publish(
            bus_address,
            channel,
            Message(json=deep),
            Message(json=deep_object),
            Message(json=huge),
            Message(json="not json"),
            Message(json="[1]"),
            Message(metadata_json="{not json"),
            Message(metadata_json=deep_object),
            Message(json='{"n": "good"}'),
        )
        await inbox.until(lambda: "good" in inbox.numbers, "the good one")
    assert [each.data for each in inbox.messages[:2]] == [deep.encode(), deep_object.encode()]
    assert inbox.messages[3].data == b"not json"
    assert inbox.messages[4].data == b"[1]"
    assert {each.content_type for each in inbox.messages[:2]} == {"application/json"}


async def test_requests_leave_nothing_behind(killable_bus: RunningProgram, channel: str) -> None:
    """Cancelled, timed out, refused: GetStats.pending_requests is 0, and the client holds nothing either."""
    async with GrpcMessageBus(killable_bus.address) as bus:
        seen = Inbox()
        await bus.subscribe(channel, seen)
        asking = [asyncio.ensure_future(bus.request(channel, numbered(n), timeout=60)) for n in range(20)]
        asking += [asyncio.ensure_future(bus.request(channel, numbered(n), timeout=0.2)) for n in range(20)]
        await seen.have(40)
        for each in asking[:20]:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await bus.flush()
        assert bus._session is not None
        assert not bus._session.stream._pending
        async with grpc.aio.insecure_channel(killable_bus.address) as raw:
            stub: Any = bus_pb2_grpc.BusServiceStub(raw)
            figures = await eventually(
                lambda: stub.GetStats(bus_pb2.GetStatsRequest()), lambda now: not now.pending_requests
            )
        assert (figures.request_timeouts, figures.requests) == (20, 40)


async def test_a_subscription_holds_no_more_than_its_window(bus_address: str, channel: str) -> None:
    """What is not taken waits in the service, not in the client: at most the window is sent ahead."""
    release = asyncio.Event()

    async def stuck(_: AgentMessage) -> None:
        await release.wait()

    async with GrpcMessageBus(bus_address) as bus, GrpcMessageBus(bus_address) as publisher:
        await bus.subscribe(channel, stuck)
        for n in range(3 * CLIENT_WINDOW_MESSAGES):
            await publisher.publish(channel, numbered(n))
        await publisher.flush()
        async with grpc.aio.insecure_channel(bus_address) as raw:
            stub: Any = bus_pb2_grpc.BusServiceStub(raw)
            async with asyncio.timeout(PATIENCE):
                while True:
                    [row] = (
                        await stub.ListSubscriptions(bus_pb2.ListSubscriptionsRequest(pattern=channel))
                    ).subscriptions
                    if row.credit == 0:
                        break
                    await asyncio.sleep(0.02)
        assert row.delivered == CLIENT_WINDOW_MESSAGES
        assert row.queued_messages == 2 * CLIENT_WINDOW_MESSAGES
        release.set()


async def test_a_message_of_another_language_keeps_its_names(bus_address: str, channel: str) -> None:
    """The wire takes any name for a type; an unset priority is medium, empty texts are None."""
    inbox = Inbox()
    async with GrpcMessageBus(bus_address) as bus:
        await bus.subscribe(channel, inbox)
        await _raw_publish(bus_address, channel, Message(message_type="a_go_type", data=b"\x00", sender_id="go"))
        [came] = await inbox.have(1)
    assert (came.message_type, came.data, came.content_type) == ("a_go_type", b"\x00", "application/octet-stream")
    assert (came.priority.value, came.recipient_id, came.correlation_id, came.ttl_seconds) == (
        "medium",
        None,
        None,
        None,
    )
    assert came.message_id


async def test_a_client_that_does_not_wait_says_at_once_that_nothing_is_there() -> None:
    """With gRPC's own words, long before the timeout; one that is there is connected to."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(BusDisconnectedError) as caught:
        await GrpcMessageBus("127.0.0.1:1", connect_timeout=30.0, wait_for_ready=False).connect()
    assert "Connection refused" in caught.value.message
    assert loop.time() - began < 20.0


async def test_a_client_that_does_not_wait_comes_back_all_the_same(killable_bus: RunningProgram) -> None:
    """Only the first connection is not waited for: a lost one is restored."""
    back = asyncio.Event()
    program = killable_bus
    async with GrpcMessageBus(program.address, wait_for_ready=False, on_reconnected=back.set):
        await asyncio.to_thread(program.restart)
        await asyncio.wait_for(back.wait(), PATIENCE)
