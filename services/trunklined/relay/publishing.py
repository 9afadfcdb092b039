"""A stored publish to the bus: the call that hands over what is held."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import grpc
from grpc import aio

from trunkline.v1 import bus_pb2
from trunkline.wire.opaque import bus_passthrough
from trunkline.wire.status import error_from_rpc
from trunklined.relay.relay import RefusedError

METHOD: Final = "/trunkline.v1.BusService/Publish"

PUBLISH_SECONDS: Final = 10.0
"""Seconds that the bus has to take a batch of what is held; then it is sent again."""

_FOR_GOOD: Final = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED)
"""What to send it again does not help. A permission may be given later; but what waits for that would keep back all
else, until nothing more could be held."""

_PublishRequest = bus_passthrough()["PublishRequest"]


async def publish_stored(
    call: Callable[[bytes], Awaitable[bytes]], channel: str, messages: Sequence[bytes]
) -> list[bool]:
    """Stores encoded messages on a channel; see `trunklined.relay.relay.Publish`.

    Args:
        call: makes the call of METHOD, with an encoded PublishRequest.
        channel: where they are stored.
        messages: of trunkline.v1.Message.
    """
    request = _PublishRequest(channel=channel, messages=messages, durability=bus_pb2.DURABILITY_STORED)
    try:
        answer = await call(request.SerializeToString())
    except aio.AioRpcError as status:
        error = error_from_rpc(status)
        if status.code() in _FOR_GOOD:
            raise RefusedError(error) from status
        raise error from status
    return [receipt.duplicate for receipt in bus_pb2.PublishResponse.FromString(answer).receipts]
