"""Publish and PublishStream on the wire: what is taken, what is refused, and that the service goes on."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from uuid import UUID

import grpc
import pytest

from tests.bus.calls import message, publish, refused, several, subscribed
from trunkline.limits import MAX_MESSAGE_BYTES, MAX_PUBLISH_MESSAGES
from trunkline.v1 import bus_pb2
from trunkline.v1.message_pb2 import Message

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def wanted(channel: str, *messages: Message, **fields: Any) -> bus_pb2.PublishRequest:
    return bus_pb2.PublishRequest(channel=channel, messages=messages, **fields)


async def test_each_message_gets_its_receipt(stub: Any, channel: str) -> None:
    """Receipts in order: sequences without a gap, the time, and never more durability than was reached."""
    before = time.time()
    answer = await stub.Publish(wanted(channel, *several(range(5)), durability=bus_pb2.DURABILITY_REPLICATED))
    sequences = [receipt.sequence for receipt in answer.receipts]
    assert sequences == list(range(sequences[0], sequences[0] + 5))
    assert {receipt.durability for receipt in answer.receipts} == {bus_pb2.DURABILITY_STORED}
    assert all(before - 1 < receipt.time.ToNanoseconds() / 1e9 < time.time() + 1 for receipt in answer.receipts)


async def test_an_unknown_durability_is_refused(stub: Any, channel: str) -> None:
    """Unknown enum values: a durability that is not listed is no wish."""
    error = await refused(stub.Publish(wanted(channel, message(), durability=99)), INVALID, "INVALID_MESSAGE")
    assert error.details["field"] == "durability"
    assert "99" in error.message


@pytest.mark.parametrize("bad", ["", "a::b", ":", "a:*", "a:>", ">", "a b", "ä", "x" * 256, "a:\x00", "a\n"])
async def test_bad_channels_are_refused(stub: Any, bad: str) -> None:
    """Empty, overlong and malformed channels, and wildcards, answer INVALID_CHANNEL with the field."""
    error = await refused(stub.Publish(wanted(bad, message())), INVALID, "INVALID_CHANNEL")
    assert error.details["field"] == "channel"


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "messages"),
        ([message(priority=99)], "priority"),
        ([message(priority=-1)], "priority"),
        ([message(ttl_seconds=0)], "ttl_seconds"),
        ([message(ttl_seconds=-1)], "ttl_seconds"),
        (several(range(MAX_PUBLISH_MESSAGES + 1)), "messages"),
    ],
    ids=["none", "priority 99", "priority -1", "ttl 0", "ttl -1", "10,001"],
)
async def test_bad_messages_are_refused(stub: Any, channel: str, messages: list[Message], field: str) -> None:
    """Unknown enum values, negative or zero TTLs, none or too many messages answer INVALID_MESSAGE."""
    error = await refused(stub.Publish(wanted(channel, *messages)), INVALID, "INVALID_MESSAGE")
    assert error.details["field"] == field


async def test_the_index_of_a_bad_message_is_said(stub: Any, channel: str) -> None:
    """Of several messages, the error says which one it was."""
    error = await refused(
        stub.Publish(wanted(channel, message(), message(), message(ttl_seconds=0))), INVALID, "INVALID_MESSAGE"
    )
    assert error.details["index"] == 2


async def test_as_many_as_are_allowed_are_taken(stub: Any, channel: str) -> None:
    """10,000 messages in one call arrive, all and in order."""
    async with subscribed(stub, channel) as subscription:
        assert len(await publish(stub, channel, *several(range(MAX_PUBLISH_MESSAGES)))) == MAX_PUBLISH_MESSAGES
        assert await subscription.have(MAX_PUBLISH_MESSAGES) == [str(n) for n in range(MAX_PUBLISH_MESSAGES)]


async def test_over_the_size_limit_both_sizes_are_said(stub: Any, channel: str) -> None:
    """MESSAGE_TOO_LARGE: with both sizes; what is exactly at the limit passes."""
    fields: dict[str, Any] = {"message_id": "m", "timestamp": {"seconds": 1}, "json": ""}
    frame = Message(**fields)
    frame.json = "x" * (MAX_MESSAGE_BYTES - frame.ByteSize() - 5)
    assert frame.ByteSize() <= MAX_MESSAGE_BYTES
    frame.json += "x" * (MAX_MESSAGE_BYTES - frame.ByteSize())
    assert frame.ByteSize() == MAX_MESSAGE_BYTES
    assert len(await publish(stub, channel, frame)) == 1
    frame.json += "x"
    error = await refused(stub.Publish(wanted(channel, frame)), INVALID, "MESSAGE_TOO_LARGE")
    assert error.details["size"] == MAX_MESSAGE_BYTES + 1
    assert error.details["limit"] == MAX_MESSAGE_BYTES


async def test_all_are_published_or_none(stub: Any, channel: str) -> None:
    """All are published, or none: one bad message in the middle, or a bad channel, and nobody gets any."""
    async with subscribed(stub, channel) as subscription:
        bad = [message("bad"), message("bad", priority=77), message("bad")]
        await refused(stub.Publish(wanted(channel, *bad)), INVALID, "INVALID_MESSAGE")
        await publish(stub, channel, message("good"))
        assert await subscription.have(1) == ["good"]


async def test_what_is_missing_is_filled_in_and_nothing_else_is_changed(stub: Any, channel: str) -> None:
    """An empty message id becomes a UUID and an unset timestamp the time of arrival; the rest passes as it is."""
    async with subscribed(stub, channel) as subscription:
        await publish(
            stub,
            channel,
            message("1"),
            Message(message_id="ä\x00 strange", sender_id="\u2028", json="not json {", metadata_json="[1]"),
            Message(data=bytes(range(256)), content_type="image/png", timestamp={"seconds": -62135596800, "nanos": 7}),
        )
        got: list[Message] = []
        while len(got) < 3:
            got.extend((await subscription.read()).deliveries.messages)
    assert UUID(got[0].message_id).version == 4
    assert abs(got[0].timestamp.ToNanoseconds() / 1e9 - time.time()) < 10
    assert (got[1].message_id, got[1].sender_id, got[1].json) == ("ä\x00 strange", "\u2028", "not json {")
    assert got[1].metadata_json == "[1]"
    assert (got[2].data, got[2].content_type) == (bytes(range(256)), "image/png")
    assert (got[2].timestamp.seconds, got[2].timestamp.nanos) == (-62135596800, 7)


async def test_an_expired_message_gets_sequence_0_and_is_counted(stub: Any, channel: str) -> None:
    """TTL: a message past its TTL is dropped and counted; its receipt says so with sequence 0."""
    before = (await stub.GetStats(bus_pb2.GetStatsRequest())).dropped["expired"]
    async with subscribed(stub, channel) as subscription:
        old = message("old", ttl_seconds=1, timestamp={"seconds": 1})
        sequences = await publish(stub, channel, message("a"), old, message("b"))
        assert sequences[1] == 0
        assert sequences[2] == sequences[0] + 1
        assert await subscription.have(2) == ["a", "b"]
    assert (await stub.GetStats(bus_pb2.GetStatsRequest())).dropped["expired"] >= before + 1


async def test_bytes_that_are_no_request_are_refused(bus_address: str) -> None:
    """Garbage answers INVALID_ARGUMENT with INVALID_MESSAGE, not an internal error; so does text that is no UTF-8."""
    not_utf8 = b"\x0a\x02\xff\xfe"
    async with grpc.aio.insecure_channel(bus_address) as line:
        for name in ("Publish", "Request", "ListSubscriptions"):
            call: Any = line.unary_unary(f"/trunkline.v1.BusService/{name}")
            for garbage in (b"\xff\xff\xff", not_utf8):
                await refused(call(garbage, timeout=10), INVALID, "INVALID_MESSAGE")
        for name in ("PublishStream", "Subscribe", "OpenStream"):
            bad_channel = b"\x12\x04" + not_utf8 if name == "OpenStream" else not_utf8  # items { publish { channel } }
            for garbage in (b"\xff\xff\xff", b"\x0a" + bytes([len(bad_channel)]) + bad_channel):
                stream: Any = line.stream_stream(f"/trunkline.v1.BusService/{name}")()
                await stream.write(garbage)
                await refused(stream.read(), INVALID, "INVALID_MESSAGE")


async def test_a_stream_is_answered_in_order(stub: Any, channel: str) -> None:
    """PublishStream: pipelined, answered in order with receipts, until the caller half-closes."""
    call = stub.PublishStream()

    async def write() -> None:
        for n in range(300):
            await call.write(bus_pb2.PublishStreamRequest(publish=wanted(channel, *several(range(n % 3 + 1)))))
        await call.done_writing()

    writing = asyncio.ensure_future(write())
    answers = [answer async for answer in call]
    await writing
    assert [len(answer.published.receipts) for answer in answers] == [n % 3 + 1 for n in range(300)]
    sequences = [receipt.sequence for answer in answers for receipt in answer.published.receipts]
    assert sequences == sorted(sequences)
    assert await call.code() is grpc.StatusCode.OK


async def test_a_bad_frame_in_a_stream_is_answered_and_the_stream_goes_on(stub: Any, channel: str) -> None:
    """PublishStream: the error of that frame alone; the stream goes on; nothing of the frame was published."""
    async with subscribed(stub, channel) as subscription:
        call = stub.PublishStream()
        frames = [
            wanted(channel, message(1)),
            wanted("bad channel", message(2)),
            wanted(channel, message(3), message(3, ttl_seconds=-5)),
            None,
            wanted(channel, message(4)),
        ]
        for frame in frames:
            await call.write(bus_pb2.PublishStreamRequest(publish=frame))
        await call.done_writing()
        answers = [answer async for answer in call]
        assert [answer.WhichOneof("frame") for answer in answers] == [
            "published",
            "error",
            "error",
            "error",
            "published",
        ]
        assert [answer.error.reason for answer in answers[1:4]] == [
            "INVALID_CHANNEL",
            "INVALID_MESSAGE",
            "INVALID_MESSAGE",
        ]
        assert {answer.error.code for answer in answers[1:4]} == {grpc.StatusCode.INVALID_ARGUMENT.value[0]}
        assert await subscription.have(2) == ["1", "4"]


async def test_json_passes_as_plain_text(stub: Any, channel: str) -> None:
    """A JSON payload is passed on to the letter: big numbers, spaces and the order of its keys."""
    text = '{"b": 123456789012345678901234567890,   "a": [1e400, "\\ud83e"]}'
    async with subscribed(stub, channel) as subscription:
        await publish(stub, channel, Message(json=text))
        assert await subscription.have(1) == [text]
    assert json.loads(text)["b"] == 123456789012345678901234567890


async def test_a_stream_whose_client_vanishes_is_forgotten(stub: Any, channel: str) -> None:
    """A client that vanishes in the middle of a PublishStream: the service goes on."""
    for _ in range(5):
        call = stub.PublishStream()
        await call.write(bus_pb2.PublishStreamRequest(publish=wanted(channel, message())))
        call.cancel()
    assert len(await publish(stub, channel, message())) == 1
