"""OpenStream on the wire: everything multiplexed on one stream, and what its frames may do wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from tests.bus.calls import gone, listed, message, publish, reached, refused, several, start
from tests.patience import PATIENCE
from trunkline.v1 import bus_pb2, durable_pb2
from trunkline.v1.bus_pb2 import OpenStreamRequest, PublishRequest, RequestRequest, SubscribeRequest

Item = OpenStreamRequest.ClientItem


class Line:
    """A raw OpenStream stream: `say` writes one frame of items, `hear` gives the next item that comes."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self._came: list[Any] = []

    async def say(self, *items: Item) -> None:
        await self.call.write(OpenStreamRequest(items=items))

    async def hear(self) -> Any:
        while not self._came:
            frame = await asyncio.wait_for(self.call.read(), PATIENCE)
            if frame is grpc.aio.EOF:
                return frame
            self._came.extend(frame.items)
        return self._came.pop(0)

    async def hear_many(self, count: int) -> list[tuple[int, str]]:
        """The ids and kinds of the next items."""
        items = [await self.hear() for _ in range(count)]
        return [(item.id, item.WhichOneof("item")) for item in items]

    async def error(self) -> tuple[int, str, str]:
        """The next item, which must be an error: its id, reason and field."""
        item = await self.hear()
        assert item.WhichOneof("item") == "error", item
        return item.id, item.error.reason, item.error.metadata.get("field", "")


@pytest.fixture
async def line(stub: Any) -> AsyncIterator[Line]:
    call = stub.OpenStream()
    await asyncio.wait_for(call.initial_metadata(), PATIENCE)
    yield Line(call)
    call.cancel()


def ping(id: int) -> Item:
    return Item(id=id, ping=OpenStreamRequest.Ping())


def cancel(id: int) -> Item:
    return Item(id=id, cancel=OpenStreamRequest.Cancel())


def publishing(id: int, channel: str, *what: Any) -> Item:
    return Item(id=id, publish=PublishRequest(channel=channel, messages=what or [message()]))


def subscribing(id: int, channel: str, **words: Any) -> Item:
    return Item(id=id, subscribe=start(channel, **words))


def requesting(id: int, channel: str, seconds: float | None = 10.0, **fields: Any) -> Item:
    request = RequestRequest(channel=channel, message=message("?", **fields))
    if seconds is not None:
        request.timeout.FromNanoseconds(int(seconds * 1e9))
    return Item(id=id, request=request)


async def test_items_of_one_frame_are_taken_in_order(line: Line, channel: str) -> None:
    """Items of one frame are taken in order: what is published before the subscription is not for it."""
    await line.say(
        publishing(1, channel, message("before")),
        subscribing(2, channel),
        publishing(3, channel, message("after")),
        cancel(2),
        publishing(4, channel, message("behind")),
        ping(5),
    )
    heard = await line.hear_many(6)
    answers = [each for each in heard if each != (2, "subscription")]
    assert (2, "subscription") in heard
    assert answers == [(1, "published"), (3, "published"), (2, "cancelled"), (4, "published"), (5, "pong")]


async def test_large_items_are_as_small_ones(line: Line, channel: str) -> None:
    """A publish of megabytes is taken as it came, between others, and what is wrong with one is said of it alone."""
    await line.say(Item(id=1, subscribe=start(channel)))
    assert (await line.hear()).WhichOneof("item") == "subscription"
    texts = [letter * 3_000_000 for letter in "abc"]
    large = PublishRequest(channel=channel, messages=[{"message_id": text[:1], "json": text} for text in texts])
    bad = PublishRequest(channel=channel, messages=[*large.messages, {"priority": 9}])
    await line.say(
        *(
            Item(id=2, publish=large),
            Item(id=3, publish=bad),
            Item(id=4, request=RequestRequest(message=bad.messages[0])),
        ),
        *(Item(id=5, publish=PublishRequest(channel=channel, messages=[{"message_id": "d", "json": "d"}])), ping(6)),
    )
    answers: dict[int, Any] = {}
    came: dict[str, str] = {}
    while len(answers) < 5 or len(came) < 4:
        item = await line.hear()
        if item.id == 1:
            came |= {each.message_id: each.json for each in item.subscription.deliveries.messages}
        else:
            answers[item.id] = item
    assert came == {**{text[:1]: text for text in texts}, "d": "d"}
    assert len(answers[2].published.receipts) == 3
    assert (answers[3].error.metadata["field"], answers[3].error.metadata["index"]) == ("priority", "3")
    assert answers[4].error.metadata["field"] == "timeout"
    assert [answers[id].WhichOneof("item") for id in (5, 6)] == ["published", "pong"]


async def test_the_end_of_a_subscription_is_behind_its_last_delivery(line: Line, channel: str) -> None:
    """A subscription's end is answered with cancelled, behind its last delivery."""
    await line.say(subscribing(1, channel))
    assert await line.hear_many(1) == [(1, "subscription")]
    await line.say(publishing(0, channel, *several(range(2_000))))
    await line.say(cancel(1), ping(2))
    kinds = []
    while (item := await line.hear()).WhichOneof("item") != "pong":
        kinds.append(item.WhichOneof("item"))
    assert kinds[-1] == "cancelled"
    assert kinds.count("cancelled") == 1


async def test_publish_with_id_0_is_answered_only_when_refused(line: Line, channel: str) -> None:
    """For publish, 0 means: no answer wanted unless it is refused."""
    await line.say(publishing(0, channel), publishing(0, "bad channel"), publishing(0, channel), ping(9))
    assert await line.error() == (0, "INVALID_CHANNEL", "channel")
    assert await line.hear_many(1) == [(9, "pong")]


async def test_an_unknown_id_to_cancel_is_no_error(line: Line) -> None:
    """An unknown id is no error: it may just have ended."""
    await line.say(cancel(77), cancel(0), cancel(2**64 - 1), ping(1))
    assert await line.hear_many(1) == [(1, "pong")]


async def test_errors_come_as_items_and_the_stream_goes_on(line: Line, channel: str) -> None:
    """Every refusal is an item with the id of what was refused; the stream goes on."""
    await line.say(
        Item(id=1),
        requesting(2, channel, seconds=None),
        requesting(0, channel),
        subscribing(0, channel),
        subscribing(3, "a::b"),
        subscribing(4, channel, credit=0),
        Item(id=5, subscribe=SubscribeRequest(ack=durable_pb2.Ack(sequences=[1]))),
        Item(id=6, subscribe=SubscribeRequest()),
        publishing(7, channel, message(priority=99)),
        requesting(8, channel, seconds=-1),
        Item(id=9, publish=PublishRequest(channel=channel)),
        Item(id=10, request=RequestRequest(channel=channel)),
        ping(11),
    )
    assert [await line.error() for _ in range(10)] == [
        (1, "INVALID_MESSAGE", "item"),
        (2, "INVALID_MESSAGE", "timeout"),
        (0, "INVALID_MESSAGE", "id"),
        (0, "INVALID_MESSAGE", "id"),
        (3, "INVALID_CHANNEL", "pattern"),
        (4, "INVALID_MESSAGE", "start.credit"),
        (5, "INVALID_MESSAGE", "frame"),
        (6, "INVALID_MESSAGE", "frame"),
        (7, "INVALID_MESSAGE", "priority"),
        (8, "INVALID_MESSAGE", "timeout"),
    ]
    assert (await line.error())[:2] == (9, "INVALID_MESSAGE")
    assert (await line.error())[:2] == (10, "INVALID_MESSAGE")
    assert await line.hear_many(1) == [(11, "pong")]


async def test_an_id_in_use_is_refused_and_free_when_it_ended(line: Line, channel: str) -> None:
    """Ids are unique among what is open on this stream; an id that ended may be used again."""
    await line.say(subscribing(1, channel), requesting(2, channel))
    heard = await line.hear_many(2)
    assert heard == [(1, "subscription"), (1, "subscription")]
    await line.say(requesting(1, channel), subscribing(2, channel), requesting(2, channel), subscribing(1, channel))
    assert [(await line.error())[:2] for _ in range(4)] == [
        (1, "INVALID_MESSAGE"),
        (2, "INVALID_MESSAGE"),
        (2, "INVALID_MESSAGE"),
        (1, "INVALID_MESSAGE"),
    ]
    await line.say(cancel(1), cancel(2), subscribing(2, channel), ping(3))
    assert await line.hear_many(3) == [(1, "cancelled"), (2, "subscription"), (3, "pong")]


async def test_requests_fail_as_items(line: Line, channel: str) -> None:
    """NO_RESPONDERS and REQUEST_TIMEOUT come as items with the code that a unary call would have ended with."""
    await line.say(requesting(1, channel))
    item = await line.hear()
    assert (item.id, item.error.reason, item.error.code) == (1, "NO_RESPONDERS", 9)
    await line.say(subscribing(2, channel), requesting(3, channel, seconds=0.2, message_id="m"))
    while (item := await line.hear()).WhichOneof("item") != "error":
        pass
    assert (item.id, item.error.reason, item.error.code) == (3, "REQUEST_TIMEOUT", 4)
    assert dict(item.error.metadata) == {"channel": channel, "correlation_id": "m", "timeout_seconds": "0.2"}


async def test_a_cancelled_request_leaves_nothing_behind(line: Line, stub: Any, channel: str) -> None:
    """A cancelled request is not answered, also when its reply comes later."""
    await line.say(subscribing(1, channel), requesting(2, channel, correlation_id=f"{channel}-c"), cancel(2))
    assert await line.hear_many(2) == [(1, "subscription"), (1, "subscription")]
    await reached(stub, lambda figures: figures.pending_requests == 0)
    await line.say(publishing(0, f"{channel}:r", message("late", correlation_id=f"{channel}-c")), ping(3))
    assert await line.hear_many(1) == [(3, "pong")]


async def test_credit_is_given_by_frames_of_the_same_id(line: Line, channel: str) -> None:
    """A frame of the subscription with this id grants credit; credit where none was asked is refused."""
    await line.say(subscribing(1, channel, credit=1), subscribing(2, f"{channel}:none"))
    await line.say(publishing(0, channel, *several(range(3))), ping(3))
    assert sorted(await line.hear_many(4)) == [
        (1, "subscription"),
        (1, "subscription"),
        (2, "subscription"),
        (3, "pong"),
    ]
    granted = SubscribeRequest(credit=SubscribeRequest.Credit(messages=5))
    await line.say(Item(id=1, subscribe=granted), Item(id=2, subscribe=granted), ping(4))
    heard = sorted(await line.hear_many(3))
    assert heard == [(1, "subscription"), (2, "error"), (4, "pong")]


async def test_half_closing_waits_for_what_is_open(stub: Any, channel: str) -> None:
    """A client that half-closes still gets its answers, and then the end of the stream."""
    line = Line(stub.OpenStream())
    await line.say(subscribing(1, channel), requesting(2, channel, seconds=0.3), publishing(3, channel))
    await line.call.done_writing()
    assert (1, "subscription") in await line.hear_many(3)
    await publish(stub, channel, message("still delivered"))
    kinds = {await _kind(line) for _ in range(2)}
    assert kinds <= {"subscription", "error", "published"}
    line.call.cancel()
    await gone(stub, channel)
    brief = Line(stub.OpenStream())
    await brief.say(publishing(1, channel), ping(2))
    await brief.call.done_writing()
    assert await brief.hear_many(2) == [(1, "published"), (2, "pong")]
    assert await brief.hear() is grpc.aio.EOF
    assert await brief.call.code() is grpc.StatusCode.OK


async def _kind(line: Line) -> str:
    kind: str = (await line.hear()).WhichOneof("item")
    return kind


async def test_a_client_that_vanishes_leaves_nothing(stub: Any, channel: str) -> None:
    """Clients that vanish in the middle of anything: subscriptions and pending requests are gone afterwards."""
    lines = [Line(stub.OpenStream()) for _ in range(5)]
    for line in lines:
        await line.say(subscribing(1, channel), requesting(2, channel, 60), requesting(3, channel, 60))
        await line.hear()
    assert (await stub.GetStats(bus_pb2.GetStatsRequest())).pending_requests >= 10
    for line in lines:
        line.call.cancel()
    await gone(stub, channel)
    await reached(stub, lambda figures: figures.pending_requests == 0)


async def test_garbage_ends_only_its_own_stream(stub: Any, bus_address: str, line: Line, channel: str) -> None:
    """Bytes that are no frame end that stream with INVALID_MESSAGE; the others go on."""
    await line.say(subscribing(1, channel))
    await line.hear()
    async with grpc.aio.insecure_channel(bus_address) as other:
        call: Any = other.stream_stream("/trunkline.v1.BusService/OpenStream")()
        await call.write(b"\x0a\xff\xff\xff\xff")
        await refused(call.read(), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MESSAGE")
    assert len(await listed(stub, channel)) == 1
    await line.say(ping(2))
    assert await line.hear_many(1) == [(2, "pong")]


async def test_a_thousand_subscriptions_on_one_line(line: Line, stub: Any, channel: str) -> None:
    """Everything that a client does goes over one stream; each subscription gets its own copy, once."""
    await line.say(*(subscribing(id, channel) for id in range(1, 1_001)))
    assert await line.hear_many(1_000) == [(id, "subscription") for id in range(1, 1_001)]
    await publish(stub, channel, message("one"), message("two"))
    heard: dict[int, list[str]] = {}
    while sum(map(len, heard.values())) < 2_000:
        item = await line.hear()
        heard.setdefault(item.id, []).extend(each.json for each in item.subscription.deliveries.messages)
    assert set(map(tuple, heard.values())) == {("one", "two")}
    assert len(heard) == 1_000


@pytest.mark.parametrize("id", [2**63, 2**64 - 1])
async def test_ids_may_be_any_number(line: Line, channel: str, id: int) -> None:
    """Ids are uint64, chosen by the client."""
    await line.say(subscribing(id, channel), publishing(0, channel), ping(id))
    assert sorted(await line.hear_many(3)) == [(id, "pong"), (id, "subscription"), (id, "subscription")]
