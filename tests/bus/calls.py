"""What raw tests of the bus say over and over: messages, frames, and the errors that come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc
import pytest

from tests.patience import PATIENCE
from trunkline.errors import TrunklineError
from trunkline.v1 import bus_pb2, durable_pb2
from trunkline.v1.bus_pb2 import SubscribeRequest
from trunkline.v1.message_pb2 import Message
from trunkline.wire.status import error_from_rpc

Start, Credit, Ack = SubscribeRequest.Start, SubscribeRequest.Credit, durable_pb2.Ack


def message(n: object = 0, **fields: Any) -> Message:
    """A message whose json is the number."""
    return Message(**{"message_type": "x", "sender_id": "raw", "json": str(n)} | fields)


def start(pattern: str, group: str = "", credit: int | None = None) -> SubscribeRequest:
    return SubscribeRequest(start=Start(pattern=pattern, group=group, credit=credit))


def credit(messages: int) -> SubscribeRequest:
    return SubscribeRequest(credit=Credit(messages=messages))


class Delivered(NamedTuple):
    """One delivered message, and where it came."""

    n: str
    sequence: int
    channel: str
    priority: int


class Subscribed:
    """A Subscribe stream that has started."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.delivered: list[Delivered] = []
        self.lagged: list[int] = []

    async def read(self) -> Any:
        return await asyncio.wait_for(self.call.read(), PATIENCE)

    async def step(self) -> None:
        """Takes one frame."""
        frame = await self.read()
        assert frame is not grpc.aio.EOF, "the stream ended"
        match frame.WhichOneof("frame"):
            case "deliveries":
                several = frame.deliveries
                for offset, each in enumerate(several.messages):
                    self.delivered.append(
                        Delivered(each.json, several.first_sequence + offset, several.channel, several.priority)
                    )
            case "lagged":
                self.lagged.append(frame.lagged.dropped)
            case other:
                raise AssertionError(f"{other} was not expected")

    async def have(self, count: int) -> list[str]:
        """The payloads of what came, when there are that many."""
        while len(self.delivered) < count:
            await self.step()
        return [each.n for each in self.delivered]


@asynccontextmanager
async def subscribed(stub: Any, pattern: str, group: str = "", credit: int | None = None) -> Any:
    """A started subscription, cancelled at the end."""
    call = stub.Subscribe()
    await call.write(start(pattern, group, credit))
    frame = await asyncio.wait_for(call.read(), PATIENCE)
    assert frame.WhichOneof("frame") == "started", "Started comes before anything else"
    assert frame.started.subscription_id > 0
    try:
        yield Subscribed(call)
    finally:
        call.cancel()


async def publish(stub: Any, channel: str, *messages: Message) -> list[int]:
    """Publishes; returns the sequences of the receipts."""
    answer = await stub.Publish(bus_pb2.PublishRequest(channel=channel, messages=messages), timeout=PATIENCE)
    return [receipt.sequence for receipt in answer.receipts]


async def refused(call: Any, code: grpc.StatusCode, reason: str) -> TrunklineError:
    """Awaits a call that must be refused; returns the error that its ErrorInfo says."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call, PATIENCE)
    assert caught.value.code() is code, caught.value
    error = error_from_rpc(caught.value)
    assert error.error_code == reason
    return error


async def reached(stub: Any, wanted: Callable[[bus_pb2.GetStatsResponse], bool]) -> bus_pb2.GetStatsResponse:
    """The figures, when something is true of them."""
    async with asyncio.timeout(PATIENCE):
        while True:
            figures: bus_pb2.GetStatsResponse = await stub.GetStats(bus_pb2.GetStatsRequest())
            if wanted(figures):
                return figures
            await asyncio.sleep(0.02)


async def listed(stub: Any, pattern: str) -> list[Any]:
    """The registered subscriptions of a pattern."""
    answer = await stub.ListSubscriptions(bus_pb2.ListSubscriptionsRequest(pattern=pattern))
    return list(answer.subscriptions)


async def gone(stub: Any, pattern: str) -> None:
    """Returns when nobody subscribes to a pattern any more."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if not await listed(stub, pattern):
                return
            await asyncio.sleep(0.02)


def several(numbers: Iterable[int]) -> list[Message]:
    return [message(n) for n in numbers]
