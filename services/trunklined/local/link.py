"""LocalLink: the way from a store in this process to any message bus."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC

from trunkline.bus.codec import decode_message, parse_message
from trunkline.bus.message_bus import MessageBus
from trunkline.errors import BusDisconnectedError, InvalidChannelError, InvalidMessageError, MessageTooLargeError
from trunkline.v1 import message_pb2
from trunkline.wire.reconnect import reconnect_delays
from trunklined.relay.relay import RefusedError


class LocalLink:
    """Publishes through a bus that its owner connects, as stored messages.

    Args:
        bus: any, of the same event loop.
    """

    def __init__(self, bus: MessageBus) -> None:
        self.address = getattr(bus, "address", type(bus).__name__)
        self._bus = bus

    @property
    def is_connected(self) -> bool:
        """Whether the bus is connected now."""
        return self._bus.is_connected

    def start(self) -> None:
        """Does nothing: the bus is its owner's."""

    async def close(self) -> None:
        """Does nothing: the bus is its owner's."""

    async def connected(self) -> None:
        """Waits until the bus is connected; no bus says when it is, so it is looked at again and again."""
        for delay in reconnect_delays():
            if self._bus.is_connected:
                return
            await asyncio.sleep(delay)

    async def publish(self, channel: str, messages: Sequence[bytes]) -> Sequence[bool]:
        """See `trunklined.relay.relay.Publish`."""
        if not self._bus.is_connected:
            raise BusDisconnectedError("the bus is not connected")
        return [await self._publish(channel, parse_message(raw)) for raw in messages]

    async def _publish(self, channel: str, wire: message_pb2.Message) -> bool:
        deliver_at = wire.deliver_at.ToDatetime(tzinfo=UTC) if wire.HasField("deliver_at") else None
        try:
            receipt = await self._bus.publish(
                channel,
                decode_message(wire),
                stored=True,
                ordering_key=wire.ordering_key or None,
                deliver_at=deliver_at,
            )
        except (InvalidChannelError, InvalidMessageError, MessageTooLargeError) as error:
            raise RefusedError(error) from error
        return receipt.duplicate
