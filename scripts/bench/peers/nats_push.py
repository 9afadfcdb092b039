"""nats-py given what is stored by a push subscription, instead of fetching it."""

from __future__ import annotations

import time

from nats.aio.msg import Msg

from scripts.bench.payload import DURABLE
from scripts.bench.peer import Reception
from scripts.bench.peers.nats import Nats
from scripts.bench.tally import Tally


class NatsPush(Nats):
    """The same client and server as `Nats`, with JetStream's older kind of consumer: it acks in a callback."""

    title = "nats-py, push"

    async def keep(self, channel: str) -> None:
        """What a push subscription is made with, `consume` says."""

    async def consume(self, channel: str, count: int) -> Reception:
        tally = Tally(count)

        async def on_message(message: Msg) -> None:
            tally.count(message.data)
            await message.ack()

        jetstream = self.client.jetstream()
        await jetstream.subscribe(channel, durable=DURABLE, stream=DURABLE, cb=on_message, manual_ack=True)
        received, _ = await tally.reception()
        await self.client.flush()
        return Reception(received, time.monotonic())
