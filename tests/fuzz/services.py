"""Sends raw bodies to services, and says what must not have happened."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf import message_factory

from tests.access.calls import SERVICES, Call
from tests.patience import PATIENCE
from trunkline.errors import InternalError
from trunkline.wire.status import error_from_item, error_from_rpc

WAITING = ("Request", "RequestStream", "AcquireLease")
"""Unary calls that may wait for as long as their caller says."""
SHORT = 0.2
"""Seconds that these, and streams, get."""
FORBIDDEN = ("INTERNAL", "UNKNOWN", "UNIMPLEMENTED")
"""What no body may be answered with. (`UNKNOWN` with a reason of ours is another.)"""

WROTE_TOO_LATE = "Internal error from Core"
"""What gRPC's client says by itself where a stream was over before it wrote to it."""


class FuzzError(AssertionError):
    """A service did what it must not do."""


async def send(channel: grpc.aio.Channel, call: Call, body: bytes) -> None:
    """Makes a call with a body that may be anything, and waits for its end, or its first answer.

    Raises:
        FuzzError: it was answered by what no body may be answered with, or not at all.
    """
    is_stream = call.method.client_streaming or call.method.server_streaming
    waits = is_stream or call.method.name in WAITING
    try:
        await _send(channel, call, body, SHORT if waits else PATIENCE)
    except grpc.aio.AioRpcError as status:
        if status.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            if not waits:
                raise FuzzError(f"{call.name} did not answer; body {body.hex()}") from status
            return
        if status.details() != WROTE_TOO_LATE and error_from_rpc(status).error_code in FORBIDDEN:
            raise FuzzError(f"{call.name}: {status.code()} {status.details()}; body {body.hex()}") from status


async def _send(channel: Any, call: Call, body: bytes, timeout: float) -> None:
    if not call.method.client_streaming:
        if not call.method.server_streaming:
            await channel.unary_unary(call.path)(body, timeout=timeout)
        else:
            await _first(channel.unary_stream(call.path)(body, timeout=timeout))
        return
    stream = channel.stream_stream(call.path)(timeout=timeout)
    if call.item:
        await stream.initial_metadata()
    with suppress(asyncio.InvalidStateError):  # it is over already: to read it says why
        await stream.write(_framed(call, body) if call.item else body)
        await stream.done_writing()
    answer = await _first(stream)
    if call.item and isinstance(answer, bytes):
        read = message_factory.GetMessageClass(call.method.output_type).FromString
        frame: Any = read(answer)
        for item in frame.items:
            if item.WhichOneof("item") == "error":
                error = error_from_item(item.error)
                if isinstance(error, InternalError):
                    raise FuzzError(f"{call.name}: {error}; body {body.hex()}")


async def _first(stream: Any) -> Any:
    try:
        return await stream.read()
    finally:
        stream.cancel()


def _framed(call: Call, body: bytes) -> bytes:
    """A frame with one item that has this body."""
    frame = call.method.input_type
    item = frame.nested_types_by_name["ClientItem"]
    inner = _field(item.fields_by_name["id"].number << 3, b"\x01") + _bytes(item.fields_by_name[call.item].number, body)
    return _bytes(frame.fields_by_name["items"].number, inner)


def _field(tag: int, value: bytes) -> bytes:
    return _varint(tag) + value


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


async def check_alive(channel: Any, service: str) -> None:
    """Raises where a service does not answer any more."""
    name = "GetStats" if service == "bus" else "GetStateStats"
    async with asyncio.timeout(PATIENCE):
        await channel.unary_unary(f"/{SERVICES[service].full_name}/{name}")(b"")
