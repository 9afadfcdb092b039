"""BusLink: a connection to the bus for what is handed to it."""

from __future__ import annotations

from collections.abc import Sequence

from trunkline.limits import KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT
from trunklined.relay.publishing import METHOD, PUBLISH_SECONDS, publish_stored
from trunklined.rpc.upstream import Upstream, upstream_options


class BusLink(Upstream):
    """Connects to a bus, and connects again whenever the connection is lost.

    Args:
        address: of the bus.
    """

    def __init__(self, address: str) -> None:
        super().__init__("bus", address, upstream_options(KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT))

    async def publish(self, channel: str, messages: Sequence[bytes]) -> Sequence[bool]:
        """See `trunklined.relay.relay.Publish`."""
        return await publish_stored(self._publish, channel, messages)

    async def _publish(self, request: bytes) -> bytes:
        response: bytes = await self.stub(METHOD)(request, timeout=PUBLISH_SECONDS, metadata=self.metadata())
        return response
