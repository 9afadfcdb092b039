"""nats-py asked for one message after another by `next_msg()`, instead of handing messages to a callback."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from nats.errors import TimeoutError as NoMessageError

from scripts.bench.peer import Reception
from scripts.bench.peers.nats import Nats
from scripts.bench.tally import FIRST_SECONDS, IDLE_SECONDS


class NatsNext(Nats):
    """The same client and server as `Nats`, which uses callbacks, the fastest face: this shows what the face costs."""

    title = "nats-py, next_msg()"
    messages = 150_000

    async def subscribe(self, channel: str, count: int) -> Callable[[], Awaitable[Reception]]:
        subscription = await self.client.subscribe(channel)
        await self.client.flush()

        async def reception() -> Reception:
            received = octets = 0
            patience = FIRST_SECONDS
            while received < count:
                try:
                    message = await subscription.next_msg(timeout=patience)
                except NoMessageError:
                    return Reception(received, time.monotonic() - patience)
                octets += len(message.data)
                received += 1
                patience = IDLE_SECONDS
            return Reception(received, time.monotonic())

        return reception
