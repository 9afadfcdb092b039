"""Roles that speak to our bus by its wire, past our own client: what a client would not do, or not as fast."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any, Final

import grpc

from scripts.bench.barrier import Barrier, Figures
from scripts.bench.payload import CHANNEL, DURABLE, PAYLOAD
from scripts.bench.peer import Peer
from scripts.bench.tally import IDLE_SECONDS
from trunkline.limits import FRAME_MESSAGES
from trunkline.v1 import bus_pb2, bus_pb2_grpc, durable_pb2, message_pb2
from trunkline.wire.opaque import bus_passthrough

FILLED_AT_ONCE: Final = 8
"""Calls of the filler that are under way together."""


async def stalled(peer: Peer, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """Subscribes to ours by a stream of its own, and reads it up to the `count`th message once the barrier has opened.

    Returns how many it `received`, and of how many `lost` it was notified.
    """
    received = lost = 0
    async with _channel(order) as channel:
        stream: Any = bus_pb2_grpc.BusServiceStub(channel).Subscribe()
        await stream.write(bus_pb2.SubscribeRequest(start=bus_pb2.SubscribeRequest.Start(pattern=CHANNEL)))
        await stream.read()  # Started
        await barrier()
        while received + lost < order["count"]:
            frame = await asyncio.wait_for(stream.read(), IDLE_SECONDS)
            received += len(frame.deliveries.messages)
            lost += frame.lagged.dropped
        stream.cancel()
    return {"received": received, "lost": lost}


async def filler(peer: Peer, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """Stores messages until `waiting` of them wait for our durable subscription, which it makes where there is none."""
    async with _channel(order) as channel:
        stub = bus_pb2_grpc.BusServiceStub(channel)
        position = durable_pb2.Position(all=True)
        await stub.CreateDurableSubscription(
            durable_pb2.CreateDurableSubscriptionRequest(name=DURABLE, pattern=CHANNEL, position=position)
        )
        await barrier()
        found = await stub.GetDurableSubscription(durable_pb2.GetDurableSubscriptionRequest(name=DURABLE))
        durable = found.subscription
        missing = max(0, order["waiting"] - durable.waiting - durable.leased - durable.retrying)
        publish: Any = channel.unary_unary("/trunkline.v1.BusService/Publish", None, bus_pb2.PublishResponse.FromString)
        frames = iter(range(0, missing, FRAME_MESSAGES))

        async def fill() -> None:
            for start in frames:
                await publish(_frame(min(FRAME_MESSAGES, missing - start)))

        async with asyncio.TaskGroup() as group:
            for _ in range(FILLED_AT_ONCE):
                group.create_task(fill())
    return {"filled": missing}


def _frame(count: int) -> bytes:
    """An encoded PublishRequest of messages that differ in their ids; what they share is encoded once."""
    shared = message_pb2.Message(message_type="task_result", sender_id="bench", json=PAYLOAD.decode())
    body, name = shared.SerializeToString(), uuid.uuid4().hex
    request = bus_passthrough()["PublishRequest"](channel=CHANNEL, durability=bus_pb2.DURABILITY_STORED)
    ids = (message_pb2.Message(message_id=f"{name}-{index}") for index in range(count))
    request.messages.extend(each.SerializeToString() + body for each in ids)
    encoded: bytes = request.SerializeToString()
    return encoded


def _channel(order: Mapping[str, Any]) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{order['port']}")
