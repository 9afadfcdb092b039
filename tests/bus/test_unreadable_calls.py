"""Messages that cannot be read, in frames that can: refused at the border, and no subscriber gets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from tests.bus.calls import message, publish, refused, subscribed
from tests.patience import PATIENCE
from trunkline.v1.bus_pb2 import Durability, SubscribeRequest
from trunkline.v1.message_pb2 import Message
from trunkline.wire.opaque import bus_passthrough

_types = bus_passthrough()
OpenStreamRequest = _types["OpenStreamRequest"]
PublishRequest = _types["PublishRequest"]
PublishStreamRequest = _types["PublishStreamRequest"]
RequestRequest = _types["RequestRequest"]

NOT_UTF8 = b"\xff\xfe"
TEXTS = {field.name: field.number for field in Message.DESCRIPTOR.fields if field.type == field.TYPE_STRING}
"""The numbers of all fields of a message that hold text, by name."""


def tagged(number: int, content: bytes) -> bytes:
    """A field with a length, as the wire has it."""
    return bytes([number << 3 | 2, len(content)]) + content


BROKEN = {
    **{f"{name} is no UTF-8": tagged(number, NOT_UTF8) for name, number in TEXTS.items()},
    "half a timestamp": tagged(7, b"\x08"),
    "half a deliver_at": tagged(14, b"\x08\xff"),
    "half a deliver_after": tagged(15, b"\x10"),
    "text that ends early": b"\x0a\x09short",
    "a group that does not end": b"\xa3\x06",
    "field 0": b"\x00\x00",
    "an unknown field that ends early": tagged(1, b"id") + b"\xa2\x06\x09",
}
WAYS = ("Publish", "stored Publish", "PublishStream", "Request", "OpenStream, publish", "OpenStream, request")


def frame_of(way: str, channel: str, body: bytes) -> tuple[str, Any]:
    """The call, and its frame around a message that is encoded already, behind one that can be read."""
    good = message("good").SerializeToString()
    publishing = PublishRequest(channel=channel, messages=[good, body])
    request = RequestRequest(channel=channel, message=body, timeout={"seconds": 5})
    match way:
        case "Publish":
            return "Publish", publishing
        case "stored Publish":
            publishing.durability = Durability.DURABILITY_STORED
            return "Publish", publishing
        case "PublishStream":
            return "PublishStream", PublishStreamRequest(publish=publishing)
        case "Request":
            return "Request", request
        case "OpenStream, publish":
            first = {"publish": {"channel": channel, "messages": [good]}}
            return "OpenStream", OpenStreamRequest(items=[first, {"id": 2, "publish": publishing}])
        case _:
            first = {"publish": {"channel": channel, "messages": [good]}}
            return "OpenStream", OpenStreamRequest(items=[first, {"id": 2, "request": request}])


async def said(line: grpc.aio.Channel, name: str, raw: bytes) -> Any:
    """Makes a call with a frame as it is; its answer, as it is."""
    method = f"/trunkline.v1.BusService/{name}"
    if name in ("Publish", "Request"):
        call: Any = line.unary_unary(method)
        return await call(raw, timeout=10)
    stream: Any = line.stream_stream(method)()
    await stream.write(raw)
    return await stream.read()


@pytest.fixture
async def line(bus_address: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(bus_address) as opened:
        yield opened


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_a_message_that_cannot_be_read_reaches_no_subscriber(
    stub: Any, line: grpc.aio.Channel, channel: str, way: str, broken: bytes
) -> None:
    """Its frame is refused as a whole with INVALID_MESSAGE: also what stands before it in the frame is not taken."""
    name, frame = frame_of(way, channel, broken)
    async with subscribed(stub, channel) as subscription:
        error = await refused(
            said(line, name, frame.SerializeToString()), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MESSAGE"
        )
        kind = type(frame).DESCRIPTOR
        assert error.message == f"the bytes are no {kind.name}: Error parsing message with type '{kind.full_name}'"
        assert error.details == {"field": "frame"}
        await publish(stub, channel, message("next"))
        assert await subscription.have(1) == ["next"]


def test_every_text_of_a_message_is_looked_at() -> None:
    """The list above is taken from the descriptor: a new field of text is tried too."""
    assert {"message_id", "json", "metadata_json", "ordering_key"} <= TEXTS.keys()
    assert max(TEXTS.values()) < 16, "a tag of one byte"


@pytest.mark.parametrize("way", WAYS)
async def test_what_the_bus_does_not_know_of_a_message_passes(
    stub: Any, line: grpc.aio.Channel, channel: str, way: str
) -> None:
    """A field of a later version, fields in another order, and one that stands there twice: passed on as they are."""
    later = b"\xa2\x06\x05later" + tagged(5, b"first") + tagged(1, channel.encode()) + tagged(5, b"second")
    name, frame = frame_of(way, channel, later)
    call = stub.Subscribe()
    await call.write(SubscribeRequest(start={"pattern": channel}))
    await call.read()
    answer = asyncio.ensure_future(said(line, name, frame.SerializeToString()))
    came: list[Message] = []
    while not any(each.json == "second" for each in came):
        came.extend((await asyncio.wait_for(call.read(), PATIENCE)).deliveries.messages)
    assert came[-1].message_id == channel
    assert b"later" in came[-1].SerializeToString()
    if way in ("Request", "OpenStream, request"):
        await publish(stub, f"{channel}:r", message("the reply", correlation_id=channel))
        assert b"the reply" in await answer
    else:
        assert await answer
    call.cancel()


@pytest.mark.parametrize("way", ["Request", "OpenStream, request"])
async def test_an_empty_message_is_a_message(stub: Any, line: grpc.aio.Channel, channel: str, way: str) -> None:
    """A request whose message says nothing is asked all the same, with an id of the bus; one without is refused."""
    name, frame = frame_of(way, channel, b"")
    async with subscribed(stub, channel) as subscription:
        answer = asyncio.ensure_future(said(line, name, frame.SerializeToString()))
        question = (await subscription.read()).deliveries.messages[-1]
        while question.json:  # published before it in the same frame
            question = (await subscription.read()).deliveries.messages[-1]
        assert question.correlation_id == question.message_id != ""
        await publish(stub, f"{channel}:r", message("the reply", correlation_id=question.correlation_id))
        assert b"the reply" in await answer
